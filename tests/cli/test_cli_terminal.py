"""What may go to a terminal: the model's text is shown as it is, and can do nothing to it."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from typing import TextIO

import pytest
from cli_runs import Tty, environment, finished

from gemma4cli.cli.answers.writer import AnswerWriter
from gemma4cli.cli.environment import Environment
from gemma4cli.cli.escapes import Escaping, block, one_line, printable
from gemma4cli.cli.output.logs import lines_of_logs
from gemma4cli.cli.output.progress import Spinner
from gemma4cli.cli.output.results import write_json
from gemma4cli.events import Event, LoadProgress, Notice, TextDelta, ThoughtDelta, VideoPlanned


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


def test_loading_shows_a_bar_of_the_bytes_that_are_read() -> None:
    screen = Tty()
    env = environment(stderr=screen, TERM="xterm", NO_COLOR="1", COLUMNS="60")
    with Spinner(env, quiet=False) as spinner:
        spinner.update(0, LoadProgress(stage="weights", model="e2b\x1b"))
        spinner.update(0, LoadProgress(stage="weights", model="e2b", done=10**9, total=4 * 10**9))
        assert spinner._status is not None
        spinner._status._live.refresh()
    shown = screen.getvalue()
    assert "loading e2b" in shown and "\x1b[" in shown and "e2b\x1b" not in shown
    assert "━━━━" in shown and "1.00 GB of 4.00 GB" in shown


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


UNSEEN = {
    "\x1b": "\\x1B",
    "\x07": "\\x07",
    "\x9b": "\\x9B",
    "\x90": "\\x90",
    "\u202e": "\\u202E",
    "\u2067": "\\u2067",
    "\u200f": "\\u200F",
    "\u061c": "\\u061C",
    "\u200b": "\\u200B",
    "\u200d": "\\u200D",
    "\u2060": "\\u2060",
    "\ufeff": "\\uFEFF",
    "\u00ad": "\\xAD",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
    "\u3164": "\\u3164",
    "\U000e0041": "\\U000E0041",
    "\udcff": "\\xFF",
}
"""What cannot be seen in a name, and how it is shown."""
NAME = "".join(UNSEEN)
SHOWN = "".join(UNSEEN.values())


def test_what_cannot_be_seen_in_a_name_is_escaped(subtests: pytest.Subtests) -> None:
    for sign, shown in UNSEEN.items():
        with subtests.test(sign=shown):
            assert one_line(f"a{sign}b") == block(f"a{sign}b") == f"a{shown}b"
    assert one_line("a\nb\tc") == "a\\nb\\tc"
    assert block("a\nb\tc") == "a\nb\tc"
    seen = "é 漢 שלום \u2764\ufe0f \u0301 \u00a0"
    assert one_line(seen) == seen


def test_every_way_to_write_a_name_escapes_it(subtests: pytest.Subtests) -> None:
    def raised() -> ValueError:
        try:
            raise ValueError(NAME)
        except ValueError as error:
            return error

    ways = {
        "line": lambda env: env.say(NAME),
        "error": lambda env: env.say_error(NAME, about=NAME),
        "traceback": lambda env: env.say_error(raised(), debug=True),
        "question": lambda env: env.confirm(NAME),
        "row": lambda env: env.echo_row(f"{NAME}\n{NAME}"),
        "lines": lambda env: env.echo(NAME),
        "path": lambda env: env.echo_path(Path(NAME)),
        "library": lambda env: Escaping(env.stderr).write(NAME),
    }
    for way, write in ways.items():
        with subtests.test(way=way):
            env = environment(stdout=Tty(), stderr=Tty())
            write(env)
            text = env.stdout.getvalue() + env.stderr.getvalue()  # type: ignore[attr-defined]
            assert not set(text) & {*NAME}
            assert SHOWN in text.replace("\u2028", "") or way == "error"


def test_messages_of_libraries_are_lines_that_do_nothing() -> None:
    record = logging.LogRecord("av", logging.WARNING, "", 1, "%s: cut\noff", (NAME,), None)
    screen = Tty()
    quiet = lines_of_logs(environment(stderr=screen, TERM="xterm"), debug=False)
    assert not set(quiet.format(record)[len("\r\x1b[2K") :]) & {*NAME, "\n"}
    try:
        raise ValueError(NAME)
    except ValueError:
        record.exc_info = sys.exc_info()
    plain = lines_of_logs(environment(), debug=True).format(record)
    assert plain.startswith("av: ")
    assert not set(plain) & {*NAME}
    assert f"ValueError: {SHOWN}" in plain


def test_json_on_a_terminal_escapes_what_cannot_be_seen_and_keeps_the_values() -> None:
    value = {"input": f"{NAME}\n", "text": "é 🙂"}
    screen, pipe = Tty(), io.StringIO()
    write_json(screen, value)
    write_json(pipe, value)
    assert not set(screen.getvalue()) & {*NAME}
    assert json.loads(screen.getvalue()) == json.loads(pipe.getvalue())
    assert "\u202e" in pipe.getvalue()


def test_a_pipe_gets_names_as_they_are() -> None:
    env = environment()
    env.echo("a\x1b\u202eb")
    env.echo_row("a\nb")
    assert env.stdout.getvalue() == "a\x1b\u202eb\na\nb\n"  # type: ignore[attr-defined]


def test_directions_in_an_answer_end_with_their_line(subtests: pytest.Subtests) -> None:
    for given, shown in [
        ("\u202eabc\nd", "\u202eabc\u202c\nd"),
        ("\u2067a\u202bb", "\u2067a\u202bb\u202c\u2069"),
        ("\u2067a\u202bb\u2069c\n", "\u2067a\u202bb\u2069c\n"),
        ("\u202aa\u202cb\u2029c", "\u202aa\u202cb\u2029c"),
        ("\u202aa\u2029c", "\u202aa\u202c\u2029c"),
        ("\u202ca\u2069", "\u202ca\u2069"),
        ("\u2066\u202aa\u202c\u202cb", "\u2066\u202aa\u202c\u202cb\u2069"),
    ]:
        with subtests.test(given=given):
            assert printable(given, Tty()) == shown
            assert printable(given, io.StringIO()) == given
            screen = Tty()
            written(*(TextDelta(text=each) for each in given), finished(given), answer=screen)
            assert screen.getvalue() == shown.removesuffix("\n") + "\n"


def test_directions_end_in_thoughts_and_in_markdown() -> None:
    assert written(ThoughtDelta(text="\u202eabc")) == "\u202eabc\u202c\n"
    screen = Tty()
    env = environment(stdout=screen, stderr=Tty(), TERM="xterm")
    with (
        Spinner(env, quiet=True) as spinner,
        AnswerWriter(env, spinner, screen, quiet=True, markdown=True) as writer,
    ):
        writer.show(TextDelta(text="# \u202eabc"))
    line, _, rest = screen.getvalue().partition("\n")
    assert line.index("\u202e") < line.index("\u202c")
    assert "\u202c" not in rest
