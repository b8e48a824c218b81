"""How long 20,000 small files keep a run from its first answer, and the memory that they take.

    python benchmarks/many_files.py
    python benchmarks/many_files.py --files 100000 --answers 500
    python benchmarks/many_files.py --listed 1000000

The files, pictures of one color and recordings of one short sentence, are made in a temporary
folder. Each row is a process of the real program with the built-in model, which is killed after
``--answers`` results. Times are of the CPU, since other work on the machine does not change these;
the cost of a result is that of the results after the first. ``resumed`` is a run that finds
``--kept`` answers of an earlier one, and its first result is the one after these. The last
line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from gemma4cli.cli.run.shards import Shard

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "fixtures" / "samples" / "speech00.wav"
IN_A_FOLDER = 1000
G4 = [sys.executable, "-m", "gemma4cli"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """CPU seconds up to the first result, and milliseconds for each later one; MB at most."""

    first: float
    each: float
    memory: float


def make(folder: Path, count: int, suffix: str) -> None:
    """Write files that all differ in name, in folders of a thousand."""
    speech = SPEECH.read_bytes() if suffix == ".wav" else b""
    for number in range(count):
        path = folder / f"{number // IN_A_FOLDER:03}" / f"{number:06}{suffix}"
        if number % IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        if speech:
            path.write_bytes(speech)
        else:
            color = (number % 256, number // 256 % 256, 90)
            Image.new("RGB", (48, 48), color).save(path)


def cpu(process: int) -> float:
    """Seconds of CPU time that a running process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> float:
    """The most MB that a running process has had."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run(arguments: Sequence[str], state: Path, answers: int, passed: int = 0) -> Row:
    """Run g4 up to a number of results; the first ``passed`` are those of an earlier run."""
    process = subprocess.Popen(
        [*G4, arguments[0], "-m", "tiny", "--json", "--batch", "1", "-q", *arguments[1:]],
        stdout=subprocess.PIPE,
        env={**os.environ, "XDG_STATE_HOME": str(state)},
    )
    assert process.stdout is not None
    try:
        for _ in range(passed):
            assert process.stdout.readline(), "the run ended early"
        assert process.stdout.readline()
        first = cpu(process.pid)
        for _ in range(answers):
            assert process.stdout.readline(), "the run ended early"
        last, most = cpu(process.pid), memory(process.pid)
    finally:
        process.kill()
        process.communicate()
    return Row(first=first, each=(last - first) / answers * 1000, memory=most)


LISTING = """
import resource, sys, time
from gemma4cli.cli.run.inputs import Kind
from gemma4cli.cli.run.listing import Listing
from gemma4cli.cli.run.shards import shard_of
from gemma4cli.cli.run.shares import share_of
from gemma4cli.media.kinds import IMAGE_SUFFIXES
begun = time.process_time()
kind = Kind(plural="images", suffixes=IMAGE_SUFFIXES)
share = share_of(shard_of(sys.argv[2]), Listing([sys.argv[1]], kind, print))
seconds = time.process_time() - begun
print(len(share.inputs), seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def list_only(folder: Path, count: int) -> dict[str, dict[str, float]]:
    """What it takes to list empty files, hard links in folders of a thousand."""
    for number in range(count):
        path = folder / "many" / f"{number // IN_A_FOLDER:04}" / f"{number:07}.jpg"
        if number % IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
            first = path
            path.touch()
        else:
            os.link(first, path)
    print(f"{'':<10} {'files':>10} {'CPU s':>8} {'MB':>8}")
    found = {}
    for shard in ("1/1", "1/8", "1/64"):
        command = [sys.executable, "-c", LISTING, str(folder / "many"), shard]
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        files, seconds, most = map(float, done.stdout.split())
        print(f"{shard:<10} {files:>10,.0f} {seconds:>8.1f} {most:>8.0f}", flush=True)
        found[shard] = {"files": files, "seconds": seconds, "memory": most}
    return found


def rows(folder: Path, options: argparse.Namespace) -> dict[str, Row]:
    found: dict[str, Row] = {}

    def measure(name: str, *arguments: str, passed: int = 0, answers: int = 0) -> None:
        state = folder / "state"
        row = run(arguments, state, answers or options.answers, passed)
        found[name] = row
        print(f"{name:<44} {row.first:8.2f} {row.each:8.1f} {row.memory:8.0f}", flush=True)

    print(f"{'':<44} {'first s':>8} {'each ms':>8} {'MB':>8}")
    many = folder / "many.png"
    if options.resume_only:
        make(many, options.files, ".png")
    each = (("describe", ".png"), ("transcribe", ".wav"))
    for command, suffix in () if options.resume_only else each:
        few, all_of_them = folder / f"few{suffix}", folder / f"many{suffix}"
        make(few, options.answers + 1, suffix)
        make(all_of_them, options.files, suffix)
        measure(f"{command}, {options.answers + 1} files", command, str(few))
        measure(f"{command}, {options.files} files", command, str(all_of_them))
        measure(f"{command}, shard 1/8", command, str(all_of_them), "--shard", "1/8")
    short = ("describe", str(many), "--max-tokens", "1", "--batch", "64")
    measure("describe one token, to be killed", *short, answers=options.kept)
    measure(f"describe one token, {options.kept} resumed", *short, passed=options.kept)
    return found


def spread(files: int, count: int = 8) -> list[int]:
    """How many of the files each shard has."""
    shards = [Shard(number=number, count=count) for number in range(1, count + 1)]
    places = (f"{number // IN_A_FOLDER:03}/{number:06}.png" for number in range(files))
    found = Counter(next(s.number for s in shards if s.has(place)) for place in places)
    return [found[shard.number] for shard in shards]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--answers", type=int, default=100, help="results to wait for in each run")
    parser.add_argument("--resume-only", action="store_true", help="only the last two rows")
    parser.add_argument("--kept", type=int, default=10_000, help="answers to resume after")
    parser.add_argument("--listed", type=int, default=0, help="only list so many empty files")
    options = parser.parse_args()
    if options.listed:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(list_only(Path(folder), options.listed)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = rows(Path(folder), options)
    shares = spread(options.files)
    print(f"files in each of 8 shards: {' '.join(map(str, shares))}")
    print(json.dumps({**{name: asdict(row) for name, row in found.items()}, "shards": shares}))


if __name__ == "__main__":
    main()
