"""``python -m tests.fuzz.kills``: runs killed at random moments, and continued.

A transcription, descriptions of a folder, and a conversation being saved are ended by SIGKILL,
SIGTERM and SIGINT. A run fails if what comes of continuing it differs from an undisturbed run, if
a killed process shows a traceback or does not end, or if anything is left in TMPDIR.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from .seeds import ROOT, SAMPLES

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_ENDS_WITHIN = 10.0
"""Seconds that a process has to end after a signal."""
_PATIENCE = 120.0
_KILLS_IN_A_ROUND = 2
_TURNS = ("What is this?", "And what color?", "Say it again.")


@dataclass(kw_only=True)
class _Place:
    """Folders of one run after the other: g4's state, temporary files, inputs and results."""

    folder: Path
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("work", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def start(self, args: Sequence[str]) -> subprocess.Popen[bytes]:
        env = {name: text for name, text in os.environ.items() if not name.startswith("G4_")}
        for name in ("CONFIG", "DATA", "STATE", "CACHE"):
            env[f"XDG_{name}_HOME"] = str(self.folder / name.lower())
        env |= {"TMPDIR": str(self.folder / "tmp"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "gemma4cli", *args],
            cwd=self.work,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def whole(self, args: Sequence[str]) -> float:
        """Run a command to its end; returns the seconds it took."""
        start = time.monotonic()
        process = self.start(args)
        _, said = process.communicate(timeout=_PATIENCE)
        if process.returncode:
            self.faults.append(f"ends with {process.returncode}: {said.decode()[-300:]}")
        self._look_at(said)
        return time.monotonic() - start

    def killed(self, args: Sequence[str], number: signal.Signals, after: float) -> bool:
        """Run a command and send it a signal; whether that came before its end."""
        process = self.start(args)
        try:
            process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        try:
            _, said = process.communicate(timeout=_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
            self.faults.append(f"does not end within {_ENDS_WITHIN:.0f} s of {number.name}")
        self._look_at(said)
        return process.returncode != 0

    def _look_at(self, said: bytes) -> None:
        # Before a line of g4 runs, Ctrl-C ends Python's own start with a traceback.
        before_g4 = b"KeyboardInterrupt" in said and b"gemma4cli" not in said
        if (b"Traceback" in said and not before_g4) or b"unexpected error" in said:
            self.faults.append(said.decode("utf-8", "replace")[-600:])

    def check_temporary(self) -> None:
        left = sorted(path.name for path in (self.folder / "tmp").iterdir())
        if left:
            self.faults.append(f"left in TMPDIR: {', '.join(left)}")


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What one round did: how many signals came before the end of a run, and what was wrong."""

    job: str
    number: int
    kills: int
    faults: list[str]


Job = Callable[[_Place, Random, Path], int]
"""Runs and kills a command in a place, given the folder of an undisturbed run; returns kills."""


def _files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _resumed(place: _Place, rng: Random, expected: Path, args: Sequence[str]) -> int:
    """Kill a command, let the same command end, and compare all files it wrote."""
    seconds = float((expected / "seconds").read_text())
    kills = sum(
        place.killed(args, rng.choice(_SIGNALS), rng.uniform(0.02, seconds))
        for _ in range(_KILLS_IN_A_ROUND)
    )
    place.whole(args)
    found, wanted = _files(place.work), _files(expected / "work")
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            place.faults.append(f"{name} differs from that of an undisturbed run")
    return kills


_TRANSCRIBE = ("transcribe", "talk.wav", "-m", "tiny", "--batch", "1", "-f", "all", "-o", "out")
_DESCRIBE = ("describe", "pictures", "-m", "tiny", "--max-tokens", "12", "--batch", "1")
_DESCRIBE += ("-o", "answers.txt")


def _transcribe(place: _Place, rng: Random, expected: Path) -> int:
    _talk(place)
    return _resumed(place, rng, expected, _TRANSCRIBE)


def _describe(place: _Place, rng: Random, expected: Path) -> int:
    _pictures(place)
    return _resumed(place, rng, expected, _DESCRIBE)


def _talk(place: _Place) -> None:
    """A recording of eight sentences with pauses."""
    with wave.open(str(place.work / "talk.wav"), "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        for number in range(8):
            with wave.open(str(SAMPLES / f"speech{number:02}.wav")) as source:
                target.writeframes(source.readframes(source.getnframes()) + bytes(48_000))


def _pictures(place: _Place) -> None:
    (place.work / "pictures").mkdir(exist_ok=True)
    for number in range(10):
        name = f"image{number:02}.png"
        shutil.copyfile(SAMPLES / name, place.work / "pictures" / name)


def _turn(number: int) -> list[str]:
    image = ["--image", str(SAMPLES / "image03.png")] if number == 0 else []
    asked = ["--temperature", "0", "--max-tokens", "40", "-m", "tiny"]
    return ["chat", "--session", "kept", "-p", _TURNS[number], *image, *asked]


def _messages(place: _Place | Path) -> list[dict[str, object]]:
    state = place.state if isinstance(place, _Place) else place / "state"
    path = state / "g4" / "sessions" / "kept" / "conversation.json"
    if not path.exists() or not path.stat().st_size:
        return []
    found: list[dict[str, object]] = json.loads(path.read_bytes())["messages"]
    return found


def _session(place: _Place, rng: Random, expected: Path) -> int:
    """Kill each turn: it is saved wholly, saved cut off, or not at all; earlier ones stay."""
    seconds, wanted = float((expected / "seconds").read_text()), _messages(expected)
    kills, copy = 0, place.folder / "copy"
    for number in range(len(_TURNS)):
        shutil.rmtree(copy, ignore_errors=True)
        if place.state.exists():
            shutil.copytree(place.state, copy)
        after = rng.uniform(0.02, seconds / len(_TURNS))
        kills += place.killed(_turn(number), rng.choice(_SIGNALS), after)
        found = _messages(place)
        if found[: 2 * number] != wanted[: 2 * number]:
            place.faults.append(f"turns before number {number + 1} have changed")
        if len(found) not in (2 * number, 2 * number + 2):
            place.faults.append(f"{len(found)} messages after a kill in turn {number + 1}")
        cut, answer = found[2 * number :], str(wanted[2 * number + 1]["content"])
        if cut and not answer.startswith(str(cut[1]["content"]).rstrip()):
            place.faults.append(f"turn {number + 1} was saved with another answer")
        if cut and cut[1] == wanted[2 * number + 1]:
            continue
        # Once more from before it, since a cut answer is part of what the next turn is about.
        shutil.rmtree(place.state, ignore_errors=True)
        if copy.exists():
            shutil.copytree(copy, place.state)
        place.whole(_turn(number))
    if _messages(place) != wanted:
        place.faults.append("the conversation differs from that of an undisturbed run")
    # The next start removes what killed processes left.
    place.whole(["chat", "--list"])
    folder = place.state / "g4" / "sessions" / "kept"
    names = {path.name for path in folder.iterdir()} - {"conversation.json", "lock", "media"}
    if names:
        place.faults.append(f"left in the conversation's folder: {', '.join(sorted(names))}")
    return kills


def _undisturbed(folder: Path) -> dict[str, Path]:
    """The results of every job without a kill, and the seconds that each took."""
    found = {}
    commands: dict[str, tuple[Callable[[_Place], None], list[Sequence[str]]]] = {
        "transcribe": (_talk, [_TRANSCRIBE]),
        "describe": (_pictures, [_DESCRIBE]),
        "session": (lambda place: None, [_turn(number) for number in range(len(_TURNS))]),
    }
    for job, (prepare, runs) in commands.items():
        place = _Place(folder=folder / job)
        prepare(place)
        seconds = sum(place.whole(args) for args in runs)
        place.check_temporary()
        if place.faults:
            raise SystemExit(f"kills: {job} undisturbed: {place.faults[0]}")
        (place.folder / "seconds").write_text(str(seconds))
        found[job] = place.folder
    return found


_JOBS: dict[str, Job] = {"transcribe": _transcribe, "describe": _describe, "session": _session}


def _round(job: str, number: int, seed: int, folder: Path, expected: Path) -> _Round:
    place = _Place(folder=folder / f"{job}-{number}")
    kills = _JOBS[job](place, Random(f"{job}/{seed}/{number}"), expected)
    place.check_temporary()
    shutil.rmtree(place.folder)
    return _Round(job=job, number=number, kills=kills, faults=place.faults)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; the status is 1 if anything was lost, left or different."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description="Kill g4.")
    parser.add_argument("--count", type=int, default=60, help="signals, of all jobs together")
    parser.add_argument("--job", action="append", choices=sorted(_JOBS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at once")
    given = parser.parse_args(args)
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jobs = given.job or list(_JOBS)
    kills, faults, start, number = dict.fromkeys(jobs, 0), 0, time.monotonic(), 0
    with TemporaryDirectory(prefix="g4-kills-") as temporary:
        folder = Path(temporary)
        expected = _undisturbed(folder / "undisturbed")
        with ThreadPoolExecutor(given.jobs) as pool:
            while sum(kills.values()) < given.count:
                least = sorted(jobs, key=lambda job: kills[job])
                rounds = [
                    pool.submit(_round, job, number + index, given.seed, folder, expected[job])
                    for index, job in enumerate((least * given.jobs)[: max(given.jobs, 1)])
                ]
                number += len(rounds)
                for done in (each.result() for each in rounds):
                    kills[done.job] += done.kills
                    faults += len(done.faults)
                    for fault in done.faults:
                        print(f"{done.job} {done.number}: {fault}")
    killed = ", ".join(f"{count} of {job}" for job, count in kills.items())
    print(f"{killed} killed in {time.monotonic() - start:.0f} s: {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
