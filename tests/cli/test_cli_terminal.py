"""What may go to a terminal: the model's text is shown as it is, and can do nothing to it."""

from __future__ import annotations

import io
import sys

import pytest
from cli_runs import finished

from gemma4cli.cli.output.render import Renderer
from gemma4cli.cli.output.terminal import has_colour, is_animated, printable, say_error
from gemma4cli.events import Notice, TextDelta, ThoughtDelta, VideoPlanned


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def stderr_as_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Not a fixture: pytest puts its own stderr in place between the fixtures and the test."""
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


@pytest.mark.parametrize(
    "control",
    ["\x00", "\x07", "\x08", "\r", "\x0b", "\x0c", "\x1b", "\x7f", "\x80", "\x9b", "\x9f"],
)
def test_control_characters_never_reach_a_terminal(control: str) -> None:
    assert printable(f"a{control}b", Screen()) == "a\N{REPLACEMENT CHARACTER}b"
    assert printable(f"a{control}b", io.StringIO()) == f"a{control}b"


def test_all_other_characters_do() -> None:
    text = "a\tb\nc é 漢 🙂 \u00a0 \u200d [bold]"
    assert printable(text, Screen()) == text


MARKUP = ["[bold]x[/bold]", "[/INST]", "arr[i] = x[j]", "list[int]", "x[/b]", ":smile:", "**a**"]


@pytest.mark.parametrize("text", MARKUP)
@pytest.mark.parametrize("stream", [Screen, io.StringIO])
def test_markup_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, text: str, stream: type[io.StringIO]
) -> None:
    stderr_as_screen(monkeypatch)
    answer = stream()
    with Renderer(answer, quiet=False) as renderer:
        for piece in text:
            renderer.show(TextDelta(text=piece))
        renderer.show(finished(text))
    assert answer.getvalue() == f"{text}\n"


def plan_of(source: str) -> VideoPlanned:
    return VideoPlanned(
        source=source, frames=1, spacing=None, soft_tokens=64, sound_seconds=0, audio_pieces=0
    )


@pytest.mark.parametrize("text", MARKUP)
def test_markup_in_thoughts_and_notices_is_shown_as_it_is(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    screen = stderr_as_screen(monkeypatch)
    with Renderer(io.StringIO(), quiet=False) as renderer:
        renderer.show(ThoughtDelta(text=text))
        renderer.show(Notice(text=text))
        renderer.show(plan_of(text))
    assert screen.getvalue().count(text) == 3


def test_escape_sequences_of_the_model_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = stderr_as_screen(monkeypatch)
    answer = Screen()
    with Renderer(answer, quiet=False) as renderer:
        renderer.show(ThoughtDelta(text="\x1b[31mred"))
        renderer.show(Notice(text="\x1b]0;title\x07.wav: short"))
        renderer.show(plan_of("\x1b[31m"))
        renderer.show(TextDelta(text="\x1b[2Jgone"))
    assert answer.getvalue() == "\N{REPLACEMENT CHARACTER}[2Jgone\n"
    assert "\x1b[31m" not in screen.getvalue()
    assert "\x1b]0;" not in screen.getvalue()


def test_thoughts_are_dim_where_there_is_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    screen = stderr_as_screen(monkeypatch)
    with Renderer(None, quiet=False) as renderer:
        renderer.show(ThoughtDelta(text="Hm."))
    assert screen.getvalue() == "\x1b[2mHm.\x1b[0m\n"


def test_no_colour_if_unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = stderr_as_screen(monkeypatch)
    with Renderer(None, quiet=False) as renderer:
        renderer.show(ThoughtDelta(text="Hm."))
    assert screen.getvalue() == "Hm.\n"


@pytest.mark.parametrize(
    ("variables", "animated", "colour"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_colour_and_animation_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], animated: bool, colour: bool
) -> None:
    for name, value in {"NO_COLOR": "", "TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    assert (is_animated(Screen()), has_colour(Screen())) == (animated, colour)
    assert not is_animated(io.StringIO())
    assert not has_colour(io.StringIO())


def test_statistics_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = stderr_as_screen(monkeypatch)
    with Renderer(io.StringIO(), quiet=False) as renderer:
        renderer.show(finished("Done."))
    assert "9 prompt tokens (4 soft)" in screen.getvalue()
    assert "2 tokens at 16.0/s" in screen.getvalue()


def test_no_statistics_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with Renderer(sys.stdout, quiet=False) as renderer:
        renderer.show(TextDelta(text="Done."))
        renderer.show(finished("Done."))
    assert capsys.readouterr() == ("Done.\n", "")


@pytest.mark.parametrize(
    ("reason", "notice"),
    [("length", "--max-tokens"), ("context", "context is full"), ("repetition", "repeat itself")],
)
def test_cut_answers(capsys: pytest.CaptureFixture[str], reason: str, notice: str) -> None:
    with Renderer(None, quiet=False) as renderer:
        renderer.show(finished("Done.", reason=reason))  # type: ignore[arg-type]
    assert notice in capsys.readouterr().err


def test_answer_that_ends_its_line_gets_no_second_end() -> None:
    answer = io.StringIO()
    with Renderer(answer, quiet=True) as renderer:
        renderer.show(TextDelta(text="Done.\n"))
        renderer.show(finished("Done.\n"))
    assert answer.getvalue() == "Done.\n"


def test_error_with_a_line_break_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say_error("a\nb\r\nc.png: no such file")
    assert capsys.readouterr().err == "g4: a b c.png: no such file\n"
