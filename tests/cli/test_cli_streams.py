"""Standard streams: pipes that close, signals, encodings, terminals.

The slow tests run g4 as a process; beside each is one that shows the same with streams in memory.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64decode
from pathlib import Path
from typing import TextIO

import pytest
from cli_runs import Exchange, Terminal, command_line, environment, g4_at_a_terminal, run_g4
from support.samples import TEXT_OF, sample
from typer.testing import CliRunner

from gemma4cli.cli.app import app

STAR, STAR_TEXT = sample("image01.png"), TEXT_OF["image01.png"]
ENDLESS = ("-m", "tiny", "--max-tokens", "8000")
"""With the way "endless": after its answer the model continues for a minute, without text."""


def start(*args: str | Path, ways: str = "plain") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command_line(*args, ways=ways), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_closed_pipe_ends_quietly() -> None:
    """At a high temperature the model never stops talking, so it must find the pipe closed."""
    with start("describe", STAR, *ENDLESS, "--temperature", "5", ways="endless") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(1)) == 1
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_closed_pipe_of_a_short_answer() -> None:
    with start("models", "list") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("arguments", [["--help"], ["describe", "-h"], []])
def test_closed_pipe_of_help(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as closed:
        run = subprocess.run(
            command_line(*arguments), stdout=closed, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.slow
def test_an_interrupt_keeps_the_partial_answer() -> None:
    with start("describe", STAR, *ENDLESS, ways="endless") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.read(len(STAR_TEXT))
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said += process.stdout.read()
        assert process.wait(60) == 130
        assert said.decode() == f"{STAR_TEXT}\n"
        assert process.stderr.read() == b"interrupted: the answer is incomplete\n"


@pytest.mark.slow
def test_an_interrupt_keeps_the_partial_answer_in_a_file() -> None:
    with start("describe", STAR, *ENDLESS, "-o", "out.txt", ways="endless") as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size >= len(STAR_TEXT) for path in Path().iterdir()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not Path("out.txt").exists()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert os.listdir() == ["out.txt"]
    assert Path("out.txt").read_text("utf-8") == f"{STAR_TEXT}\n"


@pytest.mark.parametrize("variables", [{"NO_COLOR": "", "TERM": "xterm"}, {"TERM": "dumb"}])
@pytest.mark.slow
def test_a_pipe_gets_no_escape_codes(variables: dict[str, str]) -> None:
    done = run_g4("video", "-m", "tiny", sample("video00.mp4"), env=variables)
    assert done.stdout.decode() == TEXT_OF["video00.mp4"] + "\n"
    plan = "6 frames, one every 0.50 s, 384 soft tokens"
    assert done.stderr.decode() == f"{sample('video00.mp4')}: {plan}\n"


def plain(text: str) -> str:
    """What a terminal shows in the end, roughly: without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r\n", "\n")


def shown(terminal: Terminal) -> str:
    assert terminal.wait() == 0
    return plain(terminal.output)


def test_a_dumb_terminal_gets_the_answer_without_escape_codes(sent: Exchange) -> None:
    run = g4_at_a_terminal("describe", "-m", "tiny", "a.png", TERM="dumb")
    assert (run.exit_code, run.stdout, run.stderr) == (0, "Done.\n", "")


def test_a_terminal_gets_progress_and_statistics_beside_the_answer() -> None:
    run = g4_at_a_terminal("describe", "-m", "tiny", STAR)
    assert run.stdout == f"{STAR_TEXT}\n"
    text = plain(run.stderr)
    assert "reading the prompt 78/78" in text
    assert "78 prompt tokens (63 soft)" in text
    assert set(re.findall(r"\x1b\[([0-9;]*)m", run.stderr)) <= {"", "0"}  # NO_COLOR is set


def test_a_quiet_run_shows_a_terminal_the_answer_alone(sent: Exchange) -> None:
    run = g4_at_a_terminal("describe", "-m", "tiny", "a.png", "-q")
    assert (run.exit_code, run.stdout, run.stderr) == (0, "Done.\n", "")


def describe_to(stdout: TextIO, *arguments: str) -> tuple[int, str]:
    """The exit status and stderr of an answer that is written to ``stdout``."""
    stderr = io.StringIO()
    env = environment(stdout=stdout, stderr=stderr)
    command = ["describe", "-m", "tiny", *arguments]
    result = CliRunner().invoke(app, command, obj=env, catch_exceptions=False)
    return result.exit_code, stderr.getvalue()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_answer_that_the_disk_does_not_hold_is_an_error(sent: Exchange) -> None:
    with open("/dev/full", "w") as full:
        status = describe_to(full, "a.png")
    assert status == (1, "g4: the answer cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    ("encoding", "name"), [("ascii", "é.png"), ("utf-8", os.fsdecode(b"\xff.png"))]
)
def test_json_holds_any_file_name_in_any_encoding(sent: Exchange, encoding: str, name: str) -> None:
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding=encoding, errors="backslashreplace")
    assert describe_to(stdout, name, "--json") == (0, "")
    record = json.loads(written.getvalue().decode(encoding))
    assert record["input"] == name
    if "input_bytes" in record:
        assert b64decode(record["input_bytes"]) == os.fsencode(name)


@pytest.mark.slow
def test_a_dumb_terminal_gets_no_escape_codes() -> None:
    with Terminal("describe", "-m", "tiny", STAR, env={"TERM": "dumb"}) as terminal:
        assert shown(terminal) == f"{STAR_TEXT}\n"
        assert "\x1b" not in terminal.output


@pytest.mark.slow
def test_terminal_sees_progress_answer_and_statistics() -> None:
    with Terminal("describe", "-m", "tiny", STAR) as terminal:
        text = shown(terminal)
    assert "loading tiny" in text
    assert f"{STAR_TEXT}\n" in text
    assert "78 prompt tokens (63 soft)" in text
    colors = re.findall(r"\x1b\[([0-9;]*)m", terminal.output)
    assert set(colors) <= {"", "0"}  # NO_COLOR is set


@pytest.mark.slow
def test_quiet_terminal_sees_the_answer_alone() -> None:
    with Terminal("describe", "-m", "tiny", STAR, "-q") as terminal:
        assert shown(terminal) == f"{STAR_TEXT}\n"


@pytest.mark.slow
def test_question_without_a_model_stays_off_standard_output() -> None:
    with (
        Path("answer.txt").open("wb") as file,
        Terminal("describe", STAR, stdout=file) as terminal,
    ):
        terminal.expect("Download it? [y/N] ")
        terminal.type("n\n")
        terminal.expect("short speech? [y/N] ")
        terminal.type("y\n")
        assert terminal.wait() == 0
    assert Path("answer.txt").read_text("utf-8") == f"{STAR_TEXT}\n"


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.slow
def test_closed_streams(closing: str) -> None:
    arguments = command_line("describe", "-m", "tiny", STAR, "-o", "out.txt")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closing}', "sh", *arguments],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert Path("out.txt").read_text("utf-8") == f"{STAR_TEXT}\n"


@pytest.mark.slow
def test_letters_that_the_encoding_lacks() -> None:
    shutil.copy(STAR, "é.png")
    variables = {"PYTHONIOENCODING": "ascii"}
    done = run_g4("describe", "-m", "tiny", "é.png", "nowhere", "--json", env=variables)
    answered, failed = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
    assert (answered["input"], answered["text"]) == ("é.png", STAR_TEXT)
    assert failed["error"]["code"] == 3


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
@pytest.mark.slow
def test_a_file_name_that_is_not_text_is_kept() -> None:
    shutil.copy(STAR, b"\xff.png")
    arguments = ("describe", "-m", "tiny", os.fsdecode(b"\xff.png"), "--json")
    done = run_g4(*arguments, env={"PYTHONIOENCODING": "utf-8"})
    record = json.loads(done.stdout.decode("utf-8"))
    assert os.fsencode(record["input"]) == b"\xff.png"
    assert record["text"] == STAR_TEXT


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.slow
def test_full_disk() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command_line("describe", "-m", "tiny", STAR),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"g4: the answer cannot be written: No space left on device\n"
