"""Shards of many pictures that are killed again and again: what it costs, and that nothing is lost.

    python benchmarks/killed_shards.py
    python benchmarks/killed_shards.py --files 2000 --shards 3 --kills 5

The pictures are of one color each, made in a temporary folder, and each is asked for one token. The
shards run at once, as processes of the real program with the built-in model; at random times all of
them are killed (``kill -9``), and the same commands run again, until they end by themselves. Each
row is such a round: the answers that were kept before it, and of one shard the CPU seconds and the
seconds until its journal has a new one. At last the joined lines are compared with those of a run
without shards over one picture of each color: each file is there once, with its color's answer.
The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from many_files import IN_A_FOLDER, cpu
from PIL import Image

G4 = [sys.executable, "-m", "gemma4cli", "describe", "-m", "tiny", "-q"]
ASKED = ["--max-tokens", "1", "--budget", "70", "--batch", "64", "--temperature", "0"]
COLORS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """From a start of all shards to their end: ``resume`` are CPU seconds, ``waited`` seconds."""

    kept: int
    resume: float
    waited: float
    killed: bool


def color_of(number: int) -> tuple[int, int, int]:
    kind = number % COLORS
    return (kind % 4 * 85, kind // 4 * 85, 90)


def make(folder: Path, count: int) -> None:
    for number in range(count):
        path = folder / f"{number // IN_A_FOLDER:03}" / f"{number:06}.png"
        if number % IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        Image.new("RGB", (48, 48), color_of(number)).save(path)


def kept(journals: Path) -> int:
    """Answers in all journals."""
    found = journals.glob("*.jsonl") if journals.exists() else ()
    return sum(path.read_bytes().count(b"\n") - 1 for path in found)


def start(commands: Sequence[Sequence[str]], env: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    return [subprocess.Popen(command, env=env) for command in commands]


def one_round(commands: Sequence[Sequence[str]], state: Path, seconds: float | None) -> Round:
    """Run all shards; with ``seconds`` kill them so long after the first new answer."""
    journals = state / "g4" / "answers"
    before = kept(journals)
    begun = time.monotonic()
    running = start(commands, {**os.environ, "XDG_STATE_HOME": str(state)})
    first = None
    while any(process.poll() is None for process in running):
        if first is None and kept(journals) > before:
            used = max(cpu(each.pid) for each in running if each.poll() is None)
            first = (used, time.monotonic())
        if first is not None and seconds is not None and time.monotonic() > first[1] + seconds:
            for process in running:
                process.kill()
        time.sleep(0.05)
    codes = {process.wait() for process in running}
    assert codes <= {0, -9}, codes
    used, at = first or (0.0, begun)
    return Round(kept=before, resume=used, waited=at - begun, killed=-9 in codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--longest", type=float, default=60, help="seconds until a kill, at most")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photos, few = folder / "photos", folder / "few"
        make(photos, options.files)
        make(few, COLORS)
        outputs = [folder / f"{n}.jsonl" for n in range(1, options.shards + 1)]
        commands = [
            [*G4, str(photos), *ASKED, "--shard", f"{n}/{options.shards}", "-o", str(output)]
            for n, output in enumerate(outputs, start=1)
        ]
        state = folder / "state"
        rounds = []
        print(f"{'answers kept':>12} {'CPU s':>8} {'s':>8}  until a new answer")
        while not rounds or rounds[-1].killed:
            may_kill = len(rounds) < options.kills
            seconds = draw.uniform(0, options.longest) if may_kill else None
            rounds.append(one_round(commands, state, seconds))
            last = rounds[-1]
            print(f"{last.kept:>12,} {last.resume:>8.2f} {last.waited:>8.2f}", flush=True)
        whole = subprocess.run([*G4, str(few), *ASKED, "--json"], capture_output=True, check=True)
        texts = {Path(each["input"]).name: each["text"] for each in _lines(whole.stdout)}
        found = [line for output in outputs for line in _lines(output.read_bytes())]
        times = Counter(each["input"] for each in found)
        wrong = sum(
            each["text"] != texts[f"{int(Path(each['input']).stem) % COLORS:06}.png"]
            for each in found
        )
        missing, doubled = options.files - len(times), len(found) - len(times)
    print(f"{len(found):,} lines: {missing} missing, {doubled} twice, {wrong} with another answer")
    result = {"missing": missing, "doubled": doubled, "wrong": wrong}
    print(json.dumps({"rounds": [asdict(each) for each in rounds], **result}))
    sys.exit(bool(missing or doubled or wrong))


def _lines(content: bytes) -> list[dict[str, str]]:
    return [json.loads(line) for line in content.splitlines()]


if __name__ == "__main__":
    main()
