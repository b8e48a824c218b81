"""A place to run g4 in, with folders of its own, and to kill it at a chosen moment."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from .changes import Changes
from .seeds import ROOT

_ENDS_WITHIN = 10.0
"""Seconds that a process has to end after a signal."""
_PATIENCE = 120.0
_BY_TIME = 0.25
"""The share of kills that come at any time; the others come at a change of a file."""
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A run to its end: the seconds it took, and how often files changed in which way."""

    seconds: float
    changes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When which signal is sent.

    ``after`` so many seconds from the start; or, of ``change``, from the time it comes for the
    ``number``-th time.
    """

    signal: signal.Signals
    after: float
    change: str = ""
    number: int = 0


def moment_in(run: Undisturbed, rng: Random) -> Moment:
    """A moment of a run: every kind of change has the same share, however short it takes."""
    number = rng.choice(_SIGNALS)
    if not run.changes or rng.random() < _BY_TIME:
        return Moment(signal=number, after=rng.uniform(0.02, run.seconds))
    change = rng.choice(sorted(run.changes))
    at = rng.randint(1, run.changes[change])
    return Moment(signal=number, after=rng.choice((0, 0, 0.001)), change=change, number=at)


@dataclass(kw_only=True)
class Place:
    """Folders of one run after the other: g4's state, temporary files, inputs and results.

    ``kills`` counts the signals that came before the end of a run by the last change before them.
    """

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    program: Sequence[str] = (sys.executable, "-m", "gemma4cli")
    faults: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for name in ("work", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def _start(self, args: Sequence[str]) -> subprocess.Popen[bytes]:
        env = {name: text for name, text in os.environ.items() if not name.startswith("G4_")}
        for name in ("CONFIG", "DATA", "STATE", "CACHE"):
            env[f"XDG_{name}_HOME"] = str(self.folder / name.lower())
        env |= {"TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(ROOT)}
        env |= {"HF_HUB_CACHE": str(self.folder / "hub"), **self.env}
        return subprocess.Popen(
            [*self.program, *args],
            cwd=self.work,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def whole(self, args: Sequence[str]) -> Undisturbed:
        """Run a command to its end."""
        start = time.monotonic()
        with Changes(self.folder) as changes:
            process = self._start(args)
            found: Counter[str] = Counter()
            while _runs(process, changes, start + _PATIENCE):
                found.update(changes.read())
            found.update(changes.read())
        _, said = process.communicate(timeout=_PATIENCE)
        if process.returncode:
            self.faults.append(f"ends with {process.returncode}: {said.decode()[-300:]}")
        self._look_at(said)
        return Undisturbed(seconds=time.monotonic() - start, changes=found)

    def killed(self, args: Sequence[str], moment: Moment) -> None:
        """Run a command and send it a signal at a moment, or none if that does not come."""
        with Changes(self.folder) as changes:
            process = self._start(args)
            last = self._wait(process, changes, moment)
        if process.poll() is None:
            process.send_signal(moment.signal)
        try:
            _, said = process.communicate(timeout=_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
            self.faults.append(f"does not end within {_ENDS_WITHIN:.0f} s of {moment.signal.name}")
        self._look_at(said)
        self.kills[last] += process.returncode != 0

    def _wait(self, process: subprocess.Popen[bytes], changes: Changes, moment: Moment) -> str:
        """Wait for a moment, or for the end; returns the last change before."""
        start, last, seen = time.monotonic(), "nothing", 0
        until = start + (_PATIENCE if moment.change else moment.after)
        while time.monotonic() < until and _runs(process, changes, until):
            for last in changes.read():
                seen += last == moment.change
                if moment.change and seen == moment.number:
                    time.sleep(moment.after)
                    return last
        return last

    def _look_at(self, said: bytes) -> None:
        # Before a line of g4 runs, Ctrl-C ends Python's own start with a traceback.
        before_g4 = b"KeyboardInterrupt" in said and b"gemma4cli" not in said
        if (b"Traceback" in said and not before_g4) or b"unexpected error" in said:
            self.faults.append(said.decode("utf-8", "replace")[-600:])

    def check_temporary(self) -> None:
        left = sorted(path.name for path in (self.folder / "tmp").iterdir())
        if left:
            self.faults.append(f"left in TMPDIR: {', '.join(left)}")


def _runs(process: subprocess.Popen[bytes], changes: Changes, until: float) -> bool:
    """Wait for a change, the end of the process, or a time; whether it was a change."""
    handle = os.pidfd_open(process.pid)
    try:
        seconds = max(0.0, until - time.monotonic())
        ready, _, _ = select.select([changes, handle], [], [], seconds)
    finally:
        os.close(handle)
    return handle not in ready and bool(ready)
