"""Files among the words of a question: dropped by a terminal, or typed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.samples import sample

from gemma4cli.cli.chat.dropped import Dropped, find_dropped, is_file
from gemma4cli.cli.chat.file_names import path_of, split_names

QUESTION = "What color is it?"


def picture(name: str) -> Path:
    """An image of this name in the current folder."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(sample("image00.png"), path)
    return path


def images(dropped: Dropped) -> list[str]:
    assert {kind for kind, _ in dropped.files} <= {"image"}
    return [str(path) for _, path in dropped.files]


AWKWARD = [
    "plain.png",
    "no suffix",
    "my pictures/it's é.png",
    'a "quoted" name.png',
    "[1] (copy), new; old.png",
    "日本の 写真.png",
    "🙂 smile.png",
    "cafe\u0301.png",
    "Screenshot 2026-02-13 at 10.14.25\u202fPM.png",
    "Snímek\u00a0obrazovky 1.png",
    "wide\u3000space.png",
    "back\\slash.png",
    "50% off.png",
    "~tilde.png",
    "what?.png",
]


def quoted(path: Path) -> str:
    """As GNOME's terminal and shells quote."""
    return "'" + str(path).replace("'", "'\\''") + "'"


def escaped(path: Path) -> str:
    """As macOS escapes."""
    special = " '\"\\()[];?~%&$`!*<>|\u00a0"
    return "".join(f"\\{each}" if each in special else each for each in str(path))


def in_double_quotes(path: Path) -> str:
    return '"' + "".join(f"\\{each}" if each in '"\\$`' else each for each in str(path)) + '"'


WAYS = [str, quoted, escaped, in_double_quotes, Path.as_uri]


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("way", WAYS)
def test_a_dropped_file_is_attached_with_and_without_a_question(name: str, way: object) -> None:
    path = picture(name).absolute()
    assert callable(way)
    written = way(path)
    assert find_dropped(f"{written} ") == Dropped(text="", files=(("image", path),))
    for line in (f"{written} {QUESTION}", f"{QUESTION} {written}", f"{written}\n{QUESTION}"):
        assert find_dropped(line) == Dropped(text=QUESTION, files=(("image", path),))


@pytest.mark.parametrize("name", AWKWARD)
def test_several_dropped_files_keep_their_order(name: str) -> None:
    first, second = picture(name).absolute(), picture("b c.png").absolute()
    for way in (quoted, escaped, Path.as_uri):
        dropped = find_dropped(f"{way(first)} {way(second)} compare them")
        assert images(dropped) == [str(first), str(second)]
        assert dropped.text == "compare them"


def test_quoted_runs_are_one_name_as_in_a_shell() -> None:
    picture("it's.png")
    for written in ("'it'\\''s.png'", "\"it's\"'.png'", "it\\'s'.png'", "$'it\\'s.png'"):
        assert images(find_dropped(f"{written} {QUESTION}")) == ["it's.png"]


def test_bytes_that_are_not_utf_8_in_a_file_url() -> None:
    path = Path(os.fsdecode(b"caf\xe9.png"))
    shutil.copy(sample("image00.png"), path)
    url = f"file://localhost{Path.cwd()}/caf%E9.png"
    assert images(find_dropped(f"{url} {QUESTION}")) == [str(path.absolute())]


def test_an_ordinary_space_finds_the_space_that_looks_like_it() -> None:
    for name in ("at 10.14\u202fPM.png", "cafe\u0301 1.png"):
        path = picture(name)
        typed = name.replace("\u202f", " ").replace("e\u0301", "é")
        assert images(find_dropped(f"{typed} {QUESTION}")) == [str(path)]
        assert path_of(typed) == path


SENTENCES = {
    "scene.png, what is it": "what is it",
    "scene.png: what is it?": "what is it?",
    "(scene.png) what is it?": "what is it?",
    "what is it? scene.png": "what is it?",
    "what is it (scene.png)": "what is it",
    "What is in scene.png?": "What is in scene.png?",
    "What does ./scene.png show?": "What does scene.png show?",
    "Is it on scene.png, too?": "Is it on scene.png, too?",
    "scene.png\u3000これは何": "これは何",
    "scene.png这是什么": "这是什么",
    "看scene.png是什么": "看scene.png是什么",
    "scene.png?": "",
    '"scene.png"': "",
    "`scene.png` what is it?": "what is it?",
    "& 'scene.png'": "",
    "& 'scene.png' what is it?": "what is it?",
}


@pytest.mark.parametrize("typed", SENTENCES)
def test_the_question_is_clean_of_a_name_at_its_start_or_end(typed: str) -> None:
    picture("scene.png")
    dropped = find_dropped(typed)
    assert images(dropped) == ["scene.png"]
    assert (dropped.text, dropped.problems) == (SENTENCES[typed], ())


def test_names_that_a_sentence_compares_stay_in_it() -> None:
    picture("a.png"), picture("b.png")
    dropped = find_dropped("Compare a.png with b.png")
    assert images(dropped) == ["a.png", "b.png"]
    assert dropped.text == "Compare a.png with b.png"


def test_a_word_without_a_slash_or_a_dot_names_a_file_only_alone() -> None:
    picture("photo")
    assert images(find_dropped("photo")) == ["photo"]
    assert find_dropped("Is this a photo or not").files == ()
    assert images(find_dropped("Is ./photo a drawing?")) == ["photo"]


MISSING = {
    "missing.png what is it?": ("missing.png", "no such file"),
    "what is in missing.jpg?": ("missing.jpg", "no such file"),
    "scen.png": ("scen.png", "no such file; did you mean scene.png?"),
    "see file:///nowhere/x": ("file:///nowhere/x", "no such file"),
    "look at /tmp/nothing/here.png now": ("/tmp/nothing/here.png", "no such file"),
    "~/nothing/here": ("~/nothing/here", "no such file"),
    "what is /tmp/nothing/here": ("/tmp/nothing/here", "no such file"),
    "'no file.mp3' transcribe": ("no file.mp3", "no such file"),
    "pics/ describe": ("pics/", "is a folder; name a file in it"),
    "notes.txt summarize": (
        "notes.txt",
        "is not an image, audio or video file; /file attaches text",
    ),
    "empty.png": ("empty.png", "is empty"),
    "broken.png?": ("broken.png", "is not an image, audio or video file; /file attaches text"),
    "https://a.example/b.png?": (
        "https://a.example/b.png",
        "is an address: --allow-urls lets g4 fetch it",
    ),
}


@pytest.mark.parametrize("typed", MISSING)
def test_a_name_that_cannot_be_attached_is_reported(typed: str) -> None:
    picture("scene.png")
    Path("pics").mkdir()
    Path("notes.txt").write_text("One.")
    Path("broken.png").write_text("no image")
    Path("empty.png").touch()
    dropped = find_dropped(typed)
    assert [(each.name, each.problem) for each in dropped.problems] == [MISSING[typed]]
    assert (dropped.text, dropped.files) == (typed, ())


@pytest.mark.parametrize(
    "typed",
    [
        "and/or, TCP/IP, 60 km/h, 1/2, n/a",
        "is node.js or Vue.js better, e.g. for v1.2?",
        "GET /api/v1/users and /r/programming /s",
        "https://example.com/page is a page, ftp://x/y is not",
        "what is the difference between .png and .jpg?",
        "I'm sure it's 'fine'. isn't it? a\\b ~ ... / . ..",
        "main.ts and abc.net.au",
        "what do cd /tmp and ls / do, and ./configure && make",
        "is /usr/local/nothing or ~/.nothing on the path?",
        "what is pics for?",
    ],
)
def test_words_that_only_look_like_paths_are_not_reported(typed: str) -> None:
    Path("pics").mkdir()
    assert find_dropped(typed) == Dropped(text=typed)


def test_names_in_quoted_material_are_not_reported() -> None:
    trace = "\n".join(f"File /usr/lib/x{number}.png" for number in range(5))
    for text in (trace, f"```\n{trace[:20]}.png\n```"):
        assert find_dropped(text) == Dropped(text=text)


def test_addresses_are_given_to_be_fetched() -> None:
    dropped = find_dropped("https://a.example/b.png what is it?", fetches=True)
    assert dropped == Dropped(text="what is it?", addresses=("https://a.example/b.png",))


def test_a_long_text_is_looked_through_at_its_ends_only() -> None:
    picture("scene.png")
    text = "\n".join(["word scene.png word " * 10] * 1000)
    dropped = find_dropped(f"{QUESTION}\n{text}\nscene.png")
    assert images(dropped) == ["scene.png"]
    assert find_dropped("x" * 200_000).files == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            ["'", '"', "\\", " ", "\n", "/", "~", "$'", "it's", "a.b", "?", "\0", "\u202f", "("]
        ),
        max_size=12,
    ).map("".join)
    | st.sampled_from(["~nobody/x", "~\0", "x" * 5000])
)
def test_words_that_do_not_name_a_file_stay_as_they_are(text: str) -> None:
    dropped = find_dropped(text)
    assert (dropped.text, dropped.files) == (text, ())
    split_names(text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(["What", "is", "isn't", "that?", '"so"']), min_size=1),
    at=st.integers(0, 5),
)
def test_the_words_around_a_dropped_file_stay(words: list[str], at: int) -> None:
    picture("ball.png")
    dropped = find_dropped(" ".join([*words[:at], "ball.png", *words[at:]]))
    assert images(dropped) == ["ball.png"]
    assert dropped.text.replace("ball.png ", "") == " ".join(words)


def test_a_line_that_begins_with_a_file_is_no_command() -> None:
    path = picture("scene.png").absolute()
    assert is_file(str(path)) and is_file(f"{path} {QUESTION}")
    assert not is_file("/image scene.png") and not is_file("/help")


def test_the_names_after_a_command_may_have_spaces() -> None:
    picture("a b.png"), picture("c.png")
    for typed in ("a b.png c.png", "'a b.png' c.png", "a\\ b.png c.png"):
        assert split_names(typed) == ["a b.png", "c.png"]
    assert split_names("no where.png it's") == ["no", "where.png", "it's"]
    assert split_names("new.json") == ["new.json"]
