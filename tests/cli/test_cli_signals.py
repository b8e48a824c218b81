"""Signals at every moment of real processes: the right status, and nothing left behind or torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from threading import Thread, Timer

import pytest
from cli_runs import ROOT
from support.samples import sample

DRIVER = Path(__file__).with_name("signaled_g4.py")
PATIENCE = 20.0
OLD = "what was there before"

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
SIGNALS = ([INT], [TERM], [HUP], [INT, INT], [INT, INT, INT], [TERM, TERM, INT], [INT, TERM, HUP])
GAPS = (0.0, 0.002, 0.02)
"""Seconds between signals: also in the middle of what the first one ends."""

COMMANDS = {
    "describe": (["describe", sample("image00.png")], None),
    "transcribe": (["transcribe", "-"], "speech00.wav"),
    "video": (["video", sample("video00.mp4")], None),
    "chat": (["chat", "--session", "kept", "-p", "What is it?", "-a", "-"], "image00.png"),
}
"""Arguments, and what comes through a pipe as standard input."""

MOMENTS = ("start", "loading", "decoding", "writing")


def cases() -> list[tuple[str, str, list[signal.Signals], float]]:
    """Every command at every moment, with every series of signals at some of them."""
    moments = [(command, moment) for command in COMMANDS for moment in MOMENTS]
    found = zip(moments, cycle(SIGNALS), cycle(GAPS), strict=False)
    return [(*moment, numbers, gap) for moment, numbers, gap in found]


def named(case: object) -> str:
    return "+".join(each.name[3:] for each in case) if isinstance(case, list) else str(case)


class Place:
    """Folders of one run: temporary files, state, results."""

    def __init__(self, folder: Path) -> None:
        self.temporary, self.work, self.state = (folder / name for name in ("t", "w", "s"))
        for each in (self.temporary, self.work):
            each.mkdir()
        self.result = self.work / "result.txt"
        self.result.write_text(OLD)

    def start(self, moment: str, *args: str) -> subprocess.Popen[bytes]:
        named = {"TMPDIR": self.temporary, "XDG_STATE_HOME": self.state, "PYTHONPATH": ROOT}
        return subprocess.Popen(
            [sys.executable, str(DRIVER), moment, *args, "-m", "tiny"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **{name: str(path) for name, path in named.items()}},
        )

    def check(self, process: subprocess.Popen[bytes], numbers: list[signal.Signals]) -> None:
        status, said = ended(process)
        text = said.decode()
        # Of signals that come at once, any may be the first to be handled.
        assert status in {128 + number for number in numbers}, text
        assert "Traceback" not in text and "unexpected" not in text, text
        assert list(self.temporary.iterdir()) == [], text
        assert list(self.work.iterdir()) == [self.result], text


def feed(process: subprocess.Popen[bytes], piped: str | None) -> None:
    """Write what comes through the pipe, as far as it is read."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.write(b"" if piped is None else Path(sample(piped)).read_bytes())
        process.stdin.close()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """The status, and what came on stderr."""
    watch = Timer(PATIENCE, process.kill)
    watch.start()
    try:
        assert process.stderr is not None
        said = process.stderr.read()
        return process.wait(), said
    finally:
        watch.cancel()


def signaled(process: subprocess.Popen[bytes], numbers: list[signal.Signals], gap: float) -> None:
    for number in numbers:
        process.send_signal(number)
        time.sleep(gap)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "moment", "numbers", "gap"), cases(), ids=named)
def test_a_signal_at_any_moment(
    tmp_path: Path, command: str, moment: str, numbers: list[signal.Signals], gap: float
) -> None:
    place = Place(tmp_path)
    args, piped = COMMANDS[command]
    with place.start(moment, *args, "-o", str(place.result)) as process:
        assert process.stdout is not None
        Thread(target=feed, args=(process, piped), daemon=True).start()
        assert process.stdout.read(1) == b"!"
        signaled(process, numbers, gap)
        place.check(process, numbers)
    assert place.result.read_text(), "a partial answer, or what was there before"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["transcribe", "describe", "chat"])
def test_a_signal_while_standard_input_has_no_end(tmp_path: Path, command: str) -> None:
    """It may come just before g4 waits for more, when nothing would notice it."""
    place = Place(tmp_path)
    first = ["-p", "What?"] if command == "chat" else ["-"]
    with place.start("start", command, *first, "-o", str(place.result)) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.read(1) == b"!"
        process.stdin.write(Path(sample("speech00.wav")).read_bytes())
        process.stdin.flush()
        signaled(process, [TERM], 0.0)
        place.check(process, [TERM])
    assert place.result.read_text() == OLD
