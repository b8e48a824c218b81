"""What may go to a terminal: the model's text is shown as it is, and can do nothing to it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TextIO

import pytest
from cli_runs import Tty, environment, finished

from gemma4cli.cli.answers.writer import AnswerWriter
from gemma4cli.cli.environment import Environment, printable
from gemma4cli.cli.output.progress import Spinner
from gemma4cli.events import Event, Notice, TextDelta, ThoughtDelta, VideoPlanned


def written(
    *events: Event, answer: TextIO | None = None, quiet: bool = False, **variables: str
) -> str:
    """What the writer of an answer puts on a terminal's stderr."""
    screen = Tty()
    env = environment(stderr=screen, **{"TERM": "xterm", "NO_COLOR": "1", **variables})
    with (
        Spinner(env, quiet=quiet) as spinner,
        AnswerWriter(env, spinner, answer, quiet=quiet) as writer,
    ):
        for event in events:
            writer.show(event)
    return screen.getvalue()


def test_control_characters_never_reach_a_terminal(subtests: pytest.Subtests) -> None:
    for control in [
        "\x00",
        "\x07",
        "\x08",
        "\r",
        "\x0b",
        "\x0c",
        "\x1b",
        "\x7f",
        "\x80",
        "\x9b",
        "\x9f",
    ]:
        with subtests.test(control=control):
            assert printable(f"a{control}b", Tty()) == "a\N{REPLACEMENT CHARACTER}b"
            assert printable(f"a{control}b", io.StringIO()) == f"a{control}b"


def test_all_other_characters_reach_a_terminal() -> None:
    text = "a\tb\nc é 漢 🙂 \u00a0 \u200d [bold]"
    assert printable(text, Tty()) == text


MARKUP = ["[bold]x[/bold]", "[/INST]", "arr[i] = x[j]", "list[int]", "x[/b]", ":smile:", "**a**"]


def test_markup_is_shown_as_it_is(subtests: pytest.Subtests) -> None:
    for text in MARKUP:
        for stream in [Tty, io.StringIO]:
            with subtests.test(text=text, stream=stream):
                answer = stream()
                written(*(TextDelta(text=each) for each in text), finished(text), answer=answer)
                assert answer.getvalue() == f"{text}\n"


def plan_of(source: str) -> VideoPlanned:
    return VideoPlanned(
        source=source, frames=1, spacing=None, soft_tokens=64, sound_seconds=0, audio_pieces=0
    )


def test_markup_in_thoughts_and_notices_is_shown_as_it_is(subtests: pytest.Subtests) -> None:
    for text in MARKUP:
        with subtests.test(text=text):
            shown = written(
                ThoughtDelta(text=text), Notice(text=text), plan_of(text), answer=io.StringIO()
            )
            assert shown.count(text) == 3


def test_escape_sequences_of_the_model_do_nothing() -> None:
    answer = Tty()
    shown = written(
        ThoughtDelta(text="\x1b[31mred"),
        Notice(text="\x1b]0;title\x07.wav: short"),
        plan_of("\x1b[31m"),
        TextDelta(text="\x1b[2Jgone"),
        answer=answer,
    )
    assert answer.getvalue() == "\N{REPLACEMENT CHARACTER}[2Jgone\n"
    assert "\x1b[31m" not in shown
    assert "\x1b]0;" not in shown


def test_thoughts_are_dim_where_there_is_color() -> None:
    assert written(ThoughtDelta(text="Hm."), NO_COLOR="") == "\x1b[2mHm.\x1b[0m\n"


def test_thoughts_have_no_color_with_no_color_set() -> None:
    assert written(ThoughtDelta(text="Hm.")) == "Hm.\n"


def test_color_and_animation_of_a_terminal(subtests: pytest.Subtests) -> None:
    for variables, animated, color in [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
    ]:
        with subtests.test(variables=variables, animated=animated, color=color):
            env = environment(**{"TERM": "xterm", **variables})
            assert (env.is_animated(Tty()), env.has_color(Tty())) == (animated, color)
            assert not env.is_animated(io.StringIO())
            assert not env.has_color(io.StringIO())


def test_a_terminal_gets_statistics() -> None:
    shown = written(finished("Done."), answer=io.StringIO())
    assert "9 prompt tokens (4 soft)" in shown
    assert "2 tokens at 16.0/s" in shown


def test_statistics_are_dim_where_there_is_color() -> None:
    shown = written(finished("Done."), answer=io.StringIO(), NO_COLOR="")
    assert shown.startswith("\x1b[2m9 prompt tokens") and shown.endswith("/s\x1b[0m\n")
    assert written(finished("Done."), answer=io.StringIO(), quiet=True) == ""


def test_a_pipe_gets_no_statistics() -> None:
    env, answer = environment(TERM="xterm"), io.StringIO()
    with Spinner(env, quiet=False) as spinner, AnswerWriter(env, spinner, answer, quiet=False) as w:
        w.show(TextDelta(text="Done."))
        w.show(finished("Done."))
    assert (answer.getvalue(), env.stderr.getvalue()) == ("Done.\n", "")  # type: ignore[attr-defined]


def test_a_truncated_answer_says_why(subtests: pytest.Subtests) -> None:
    for reason, notice in [
        ("length", "--max-tokens"),
        ("context", "context is full"),
        ("repetition", "repeated itself"),
    ]:
        with subtests.test(reason=reason, notice=notice):
            assert notice in written(finished("Done.", reason=reason))


def test_an_answer_that_ends_its_line_gets_one_newline() -> None:
    answer = io.StringIO()
    written(TextDelta(text="Done.\n"), finished("Done.\n"), answer=answer, quiet=True)
    assert answer.getvalue() == "Done.\n"


def test_an_error_with_a_line_break_stays_one_line() -> None:
    screen = Tty()
    environment(stderr=screen).say_error("a\nb\r\nc.png: no such file")
    assert screen.getvalue() == "g4: a b c.png: no such file\n"


def test_the_process_is_the_usual_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    env = Environment.of_process()
    assert (env.stdout, env.folder) == (sys.stdout, tmp_path)
    assert env.config_file.parts[-2:] == ("g4", "config.toml")
