"""Markdown as it streams: what a terminal shows in the end, however the text came."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.markdown.inline import LONGEST, spans_of
from gemma4cli.markdown.stream import MarkdownStream, Size

pyte = pytest.importorskip("pyte")

ANSWER = """\
# Heading *one*

Some **bold** text with `code [x]`, a [link](http://a.b/c) and [brackets], [bold]x[/bold],
2*3*4, **kwargs and snake_case. A line that is longer than the terminal is wide, so it is broken.
Next ***both*** and ~~gone~~ \\*no\\* \\(x\\) <div>html</div> ![alt](p.png) [

- one **two
- *three* four, so long that it must be broken into more lines than fit on one
  - nested
12. twelfth

> quoted **text** that is also too long for one line, so that it goes on
> - list

| Name | Age | Note |
|------|----:|:--:|
| Al | 3 | `a|b` |
| Bartholomew **bold** | 30 | 漢字 |

- - -

    indented *code*

    more of it

```python
def f(x):
    \"\"\"doc
    string\"\"\"
    return [x[0] for x in y]  # comment
```
漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字
| no table
  ```
  fence
"""


def streamed(parts: list[str], columns: int = 60, rows: int = 80) -> str:
    stream = MarkdownStream(lambda: Size(columns=columns, rows=rows))
    return "".join(stream.feed(part) for part in parts) + stream.finish()


class Emulator:
    """A terminal that remembers what it shows, styles and all."""

    def __init__(self, columns: int = 60, rows: int = 80) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str) -> None:
        self._stream.feed(text.replace("\n", "\r\n"))

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def cells(self) -> list[object]:
        rows = range(self.screen.lines)
        return [dict(self.screen.buffer[row]) for row in rows]


def shown(text: str, columns: int = 60) -> list[str]:
    """The lines on the screen, without the empty ones below."""
    emulator = Emulator(columns)
    emulator.write(streamed([text], columns))
    return "\n".join(emulator.lines).rstrip("\n").split("\n")


MARKERS = st.sampled_from(
    ["*", "**", "_", "~~", "`", "```", "```python\n", "[", "](u)", "\\", "<", "|", "|---|---|\n"]
)
LAYOUT = st.sampled_from(["\n", "\n\n", " ", "- ", "1. ", "> ", "# ", "    ", "  - ", "- - -\n"])
WORDS = st.sampled_from(["word", "漢字", "x", "longer than the others", "🙂"])
LINES = st.sampled_from([f"{line}\n" for line in ANSWER.split("\n")])
TEXTS = st.lists(MARKERS | LAYOUT | WORDS | LINES, max_size=25).map("".join)


@st.composite
def parts(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> list[str]:
    """A text, cut anywhere."""
    text = draw(texts)
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return [text[start:end] for start, end in pairwise([0, *places, len(text)])]


@given(deltas=parts(TEXTS | st.just(ANSWER)) | TEXTS.map(list))
def test_the_screen_does_not_depend_on_how_the_text_is_cut(deltas: list[str]) -> None:
    whole, streaming = Emulator(), Emulator()
    whole.write(streamed(["".join(deltas)]))
    streaming.write(streamed(deltas))
    assert streaming.lines == whole.lines
    assert streaming.cells == whole.cells


def test_the_screen_does_not_depend_on_single_letters() -> None:
    whole, streaming = Emulator(), Emulator()
    whole.write(streamed([ANSWER]))
    streaming.write(streamed(list(ANSWER)))
    assert (streaming.lines, streaming.cells) == (whole.lines, whole.cells)


def test_spaces_that_come_apart_stay_as_many() -> None:
    assert streamed(["a ", " b"]) == streamed(["a  b"]) == "a  b\n"


def test_only_tables_are_written_again() -> None:
    without_table = "\n".join(line for line in ANSWER.split("\n") if not line.startswith("|"))
    written = streamed(list(without_table))
    assert re.sub(r"\x1b\[[0-9;]*m", "", written).count("\x1b") == 0
    assert written == streamed([without_table])


def test_text_is_written_as_soon_as_its_words_are_whole() -> None:
    stream = MarkdownStream(lambda: Size(columns=60, rows=24))
    assert stream.feed("One tw") == "One"
    assert stream.feed("o **thr") == " two"
    assert stream.feed("ee** four ") == " \x1b[1mthree\x1b[0m four"


def test_brackets_are_shown_as_they_are(subtests: pytest.Subtests) -> None:
    for text in ["[link]", "[bold]", "[/INST]", "arr[i] = x[j]", "list[int]"]:
        with subtests.test(text=text):
            assert shown(f"Say {text} twice {text}") == [f"Say {text} twice {text}"]


def test_text_that_only_resembles_markup_is_shown_as_it_is(subtests: pytest.Subtests) -> None:
    for text in [
        "2*3*4",
        "**kwargs and *args",
        "snake_case_name",
        "x**2 + y**2",
        "a * b * c",
        "\\(x\\)",
        "<b>bold</b>",
        "&amp;",
        "#tag",
        "-5 degrees",
        "1.5 million",
        "~5 or ~~",
        "`open",
        "[a](b",
    ]:
        with subtests.test(text=text):
            assert shown(text) == [text]


def test_inline_markup_gives_styles(subtests: pytest.Subtests) -> None:
    for text, plain, styles in [
        ("**a**", "a", ("1",)),
        ("*a*", "a", ("3",)),
        ("_a_", "a", ("3",)),
        ("***a***", "a", ("1", "3")),
        ("~~a~~", "a", ("9",)),
        ("`` a`b ``", "a`b", ("36",)),
        ("**重**", "重", ("1",)),
        ("[https://a.b](https://a.b)", "https://a.b", ("4",)),
    ]:
        with subtests.test(text=text, plain=plain, styles=styles):
            assert [(span.text, span.styles) for span in spans_of(text)] == [(plain, styles)]


def test_markup_inside_markup() -> None:
    spans = spans_of("**a *b***")
    assert [(span.text, span.styles) for span in spans] == [("a ", ("1",)), ("b", ("1", "3"))]


def test_a_link_shows_where_it_leads() -> None:
    assert shown('See [the docs](https://a.b/c "Docs").') == ["See the docs (https://a.b/c)."]


def test_a_marker_that_nothing_closes_holds_text_back_for_a_while_only() -> None:
    text = "**" + "word " * LONGEST
    stream = MarkdownStream(lambda: Size(columns=60, rows=24))
    assert stream.feed(text[:100]) == ""
    assert stream.feed(text[100 : LONGEST + 20]).startswith("**word")


def test_long_lines_are_broken_between_words_and_hang() -> None:
    assert shown("- one two three four five six", 20) == ["• one two three four", "  five six"]
    assert shown("> one two three four five", 20) == ["│ one two three four", "│ five"]


def test_lists_and_headings() -> None:
    text = "## Plan\n* one\n  + two\n3) three\n\n\n\nEnd"
    assert shown(text) == ["Plan", "• one", "  • two", "3) three", "", "End"]


def test_table_is_aligned() -> None:
    table = "| n | m | k |\n|---|--:|:-:|\n| x | 12345 | a |\n| y | 1 | bcdef |"
    assert shown(table) == [
        "n   │     m │   k",
        "────┼───────┼──────",
        "x   │ 12345 │   a",
        "y   │     1 │ bcdef",
    ]


def test_cells_of_a_table_that_is_too_wide_are_broken() -> None:
    lines = shown("| a | b |\n|---|---|\n| one two three four | 1 |\n", 18)
    assert lines == ["a            │ b", "─────────────┼────", "one two      │ 1", "three four   │"]


def test_table_grows_while_it_streams() -> None:
    emulator = Emulator(40, 10)
    stream = MarkdownStream(lambda: Size(columns=40, rows=10))
    emulator.write(stream.feed("Before\n| n | m |\n|---|---|\n| x | 1 |\n"))
    assert emulator.lines[:4] == ["Before", "n   │ m", "────┼────", "x   │ 1"]
    emulator.write(stream.feed("| longer | 2 |\n"))
    assert emulator.lines[:5] == [
        "Before",
        "n      │ m",
        "───────┼────",
        "x      │ 1",
        "longer │ 2",
    ]


def test_table_that_is_longer_than_the_screen() -> None:
    rows = [f"| {number} | {'x' * (number % 30)} |" for number in range(30)]
    text = "\n".join(["Before", "| n | x |", "|---|---|", *rows, "", "After"])
    screen = pyte.HistoryScreen(40, 10, history=200)
    stream = pyte.Stream(screen)
    markdown = MarkdownStream(lambda: Size(columns=40, rows=10))
    for letter in text:
        stream.feed(markdown.feed(letter).replace("\n", "\r\n"))
    stream.feed(markdown.finish().replace("\n", "\r\n"))
    above = ["".join(row[x].data for x in range(40)).rstrip() for row in screen.history.top]
    lines = [*above, *(line.rstrip() for line in screen.display)]
    assert lines[lines.index("After") - 3 : lines.index("After")] == [
        f"28  │ {'x' * 28}",
        f"29  │ {'x' * 29}",
        "",
    ]
    whole = lines[lines.index("29  │ " + "x" * 29) - 31 :]
    assert [line.split()[0] for line in whole[2:32]] == [str(number) for number in range(30)]


def test_code_keeps_its_text_and_its_fences() -> None:
    code = "```python\nif x:\n    y = [1]\n\n\tz()\n```\nEnd"
    assert shown(code) == ["```python", "if x:", "    y = [1]", "", "    z()", "```", "End"]


def test_code_has_colors() -> None:
    assert "\x1b[" in streamed(["```python\ndef f(): pass\n"]).split("\n")[1]
    assert streamed(["```nonsense\ndef f(): pass\n"]).split("\n")[1] == "def f(): pass"


def test_a_fence_inside_a_list() -> None:
    assert shown("- one\n  ```\n  a\n    b\n  ```\n- two") == [
        "• one",
        "  ```",
        "  a",
        "    b",
        "  ```",
        "• two",
    ]


@pytest.mark.parametrize("narrow", [20, 41])
def test_a_resize_changes_only_later_lines(narrow: int) -> None:
    width = 60
    stream = MarkdownStream(lambda: Size(columns=width, rows=24))
    emulator = Emulator(60, 24)
    emulator.write(stream.feed("word " * 20))
    before = emulator.lines[0]
    width = narrow
    emulator.screen.resize(24, narrow)
    emulator.write(stream.feed("more " * 20) + stream.finish())
    assert emulator.lines[0] == before[:narrow].rstrip()
    assert " ".join(emulator.lines).split().count("more") == 20
