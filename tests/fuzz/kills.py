"""``python -m tests.fuzz.kills``: runs killed at chosen moments, and continued.

A transcription, descriptions of a folder, a conversation being saved, and the download of a model
are ended by SIGKILL, SIGTERM and SIGINT: most of them as a file is created, written, renamed or
removed, so that short windows have their share. A run fails if what comes of continuing it
differs from an undisturbed run, if a killed process shows a traceback or does not end, or if
anything is left in TMPDIR.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import struct
import sys
import time
import wave
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.support.fake_hub import serving

from .places import Place, Undisturbed, moment_in
from .seeds import SAMPLES, TINY

_KILLS_IN_A_ROUND = 2
_TURNS = ("What is this?", "And what color?", "Say it again.")


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What one round did: the signals that came before the end of a run, by the last change of a
    file before them, and what was wrong."""

    job: str
    number: int
    kills: Counter[str]
    faults: list[str]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The folder of undisturbed runs, and each of these runs."""

    folder: Path
    runs: tuple[Undisturbed, ...]


Job = Callable[[Place, Random, Expected], None]
"""Runs and kills a command in a place, and compares what comes of it with undisturbed runs."""


def _files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def resumed(place: Place, rng: Random, expected: Expected, args: Sequence[str]) -> None:
    """Kill a command, let the same command end, and compare all files it wrote."""
    for _ in range(_KILLS_IN_A_ROUND):
        place.killed(args, moment_in(expected.runs[0], rng))
    place.whole(args)
    for name in ("work", "hub"):
        found, wanted = _files(place.folder / name), _files(expected.folder / name)
        for path in sorted(found.keys() | wanted.keys()):
            if found.get(path) != wanted.get(path):
                place.faults.append(f"{name}/{path} differs from that of an undisturbed run")


_TRANSCRIBE = ("transcribe", "talk.wav", "-m", "tiny", "--batch", "1", "-f", "all", "-o", "out")
_DESCRIBE = ("describe", "pictures", "-m", "tiny", "--max-tokens", "12", "--batch", "1")
_DESCRIBE += ("-o", "answers.txt")
_REPO = "someone/gemma"
_PULL = ("models", "pull", _REPO, "--yes")
_WEIGHTS = 40_000_000
"""Bytes, which come in four writes."""


def _transcribe(place: Place, rng: Random, expected: Expected) -> None:
    _talk(place)
    resumed(place, rng, expected, _TRANSCRIBE)


def _describe(place: Place, rng: Random, expected: Expected) -> None:
    _pictures(place)
    resumed(place, rng, expected, _DESCRIBE)


def _talk(place: Place) -> None:
    """A recording of eight sentences with pauses."""
    with wave.open(str(place.work / "talk.wav"), "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        for number in range(8):
            with wave.open(str(SAMPLES / f"speech{number:02}.wav")) as source:
                target.writeframes(source.readframes(source.getnframes()) + bytes(48_000))


def _pictures(place: Place) -> None:
    (place.work / "pictures").mkdir(exist_ok=True)
    for number in range(10):
        name = f"image{number:02}.png"
        shutil.copyfile(SAMPLES / name, place.work / "pictures" / name)


def _download(place: Place, rng: Random, expected: Expected) -> None:
    resumed(place, rng, expected, _PULL)


def _model() -> dict[str, bytes]:
    """A model's files, with weights that take a while to send."""
    header = {"x": {"dtype": "U8", "shape": [_WEIGHTS], "data_offsets": [0, _WEIGHTS]}}
    text = json.dumps(header).encode()
    weights = struct.pack("<Q", len(text)) + text + Random(0).randbytes(_WEIGHTS)
    files = {path.name: path.read_bytes() for path in TINY.iterdir() if path.is_file()}
    return {**files, "model.safetensors": weights}


def _turn(number: int) -> list[str]:
    image = ["--image", str(SAMPLES / "image03.png")] if number == 0 else []
    asked = ["--temperature", "0", "--max-tokens", "40", "-m", "tiny"]
    return ["chat", "--session", "kept", "-p", _TURNS[number], *image, *asked]


def _messages(place: Place | Path) -> list[dict[str, object]]:
    state = place.state if isinstance(place, Place) else place / "state"
    path = state / "g4" / "sessions" / "kept" / "conversation.json"
    if not path.exists() or not path.stat().st_size:
        return []
    found: list[dict[str, object]] = json.loads(path.read_bytes())["messages"]
    return found


def _session(place: Place, rng: Random, expected: Expected) -> None:
    """Kill each turn: it is saved wholly, saved cut off, or not at all; earlier ones stay."""
    wanted, copy = _messages(expected.folder), place.folder / "copy"
    for number in range(len(_TURNS)):
        shutil.rmtree(copy, ignore_errors=True)
        if place.state.exists():
            shutil.copytree(place.state, copy)
        place.killed(_turn(number), moment_in(expected.runs[number], rng))
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
    place.whole(["chat", "-p", "Hello", "-m", "tiny", "--max-tokens", "1"])
    folder = place.state / "g4" / "sessions" / "kept"
    names = {path.name for path in folder.iterdir()} - _OF_A_CONVERSATION
    if names:
        place.faults.append(f"left in the conversation's folder: {', '.join(sorted(names))}")


_OF_A_CONVERSATION = {"conversation.json", "lock", "media", "prompt-cache.safetensors"}


def _undisturbed(folder: Path, jobs: Sequence[str], env: Mapping[str, str]) -> dict[str, Expected]:
    """Every job without a kill."""
    found = {}
    commands: dict[str, tuple[Callable[[Place], None], list[Sequence[str]]]] = {
        "transcribe": (_talk, [_TRANSCRIBE]),
        "describe": (_pictures, [_DESCRIBE]),
        "session": (lambda place: None, [_turn(number) for number in range(len(_TURNS))]),
        "download": (lambda place: None, [_PULL]),
    }
    for job in jobs:
        prepare, runs = commands[job]
        place = Place(folder=folder / job, env=env)
        prepare(place)
        ended = tuple(place.whole(args) for args in runs)
        place.check_temporary()
        if place.faults:
            raise SystemExit(f"kills: {job} undisturbed: {place.faults[0]}")
        found[job] = Expected(folder=place.folder, runs=ended)
    return found


_JOBS: dict[str, Job] = {
    "transcribe": _transcribe,
    "describe": _describe,
    "session": _session,
    "download": _download,
}


def _round(
    job: str, number: int, seed: int, folder: Path, expected: Expected, env: Mapping[str, str]
) -> _Round:
    place = Place(folder=folder / f"{job}-{number}", env=env)
    _JOBS[job](place, Random(f"{job}/{seed}/{number}"), expected)
    place.check_temporary()
    shutil.rmtree(place.folder)
    return _Round(job=job, number=number, kills=place.kills, faults=place.faults)


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
    kills: dict[str, Counter[str]] = {job: Counter() for job in jobs}
    faults, start, number = 0, time.monotonic(), 0
    with TemporaryDirectory(prefix="g4-kills-") as temporary, serving() as (hub, address):
        folder = Path(temporary)
        hub.repos[_REPO] = _model()
        env = {"HF_ENDPOINT": address}
        expected = _undisturbed(folder / "undisturbed", jobs, env)
        with ThreadPoolExecutor(given.jobs) as pool:
            while sum(each.total() for each in kills.values()) < given.count:
                least = sorted(jobs, key=lambda job: kills[job].total())
                rounds = [
                    pool.submit(_round, job, number + index, given.seed, folder, expected[job], env)
                    for index, job in enumerate((least * given.jobs)[: max(given.jobs, 1)])
                ]
                number += len(rounds)
                for done in (each.result() for each in rounds):
                    kills[done.job] += done.kills
                    faults += len(done.faults)
                    for fault in done.faults:
                        print(f"{done.job} {done.number}, seed {given.seed}: {fault}", flush=True)
    for job, found in kills.items():
        after = ", ".join(f"{count} {change}" for change, count in found.most_common())
        print(f"{found.total()} of {job} killed, the last change of a file before: {after}")
    print(f"{time.monotonic() - start:.0f} s, seed {given.seed}: {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
