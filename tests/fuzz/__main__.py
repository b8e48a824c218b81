"""``python -m tests.fuzz``: damaged inputs, and what g4 does with them.

    python -m tests.fuzz                                     2,000 inputs of all kinds
    python -m tests.fuzz --count 100000 --kind pictures --seed 7
    python -m tests.fuzz --replay build/fuzz/pictures-7-123  one that failed, once more

An input fails if its command crashes, takes more than 10 seconds (of the processor, if the machine
is busy) or 1 GB, ends with an exception that is not one of g4's, says nothing about an error,
leaves temporary files, keeps a good conversation or journal from being used, or answers otherwise
with a drafter than without. Its folder stays below build/fuzz. Linux only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

# What tests set before they import anything: see tests/conftest.py.
os.environ.update(HF_HUB_OFFLINE="1", OPENBLAS_NUM_THREADS="1")

from .kinds import KINDS, make_case, save_case
from .pool import Pool, in_process
from .seeds import ROOT, make_seeds
from .worker import ERRORS_FILE, OUTPUT_FILE, Task, Verdict

KEPT = ROOT / "build" / "fuzz"
_SHOWN = 3
"""Inputs to name for each fault."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; the status is 1 if any input failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz g4.")
    parser.add_argument("--count", type=int, default=2000, help="inputs, of all kinds together")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="of these kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="an input that failed")
    given = parser.parse_args(args)
    KEPT.mkdir(parents=True, exist_ok=True)
    if given.replay is not None:
        return _replay(given.replay.resolve())
    kinds = given.kind or list(KINDS)
    tasks = [
        Task(kind=kinds[number % len(kinds)], seed=given.seed, number=number // len(kinds))
        for number in range(given.count)
    ]
    with TemporaryDirectory(prefix="g4-fuzz-") as folder:
        seeds = Path(folder) / "seeds"
        in_process(make_seeds, seeds)
        return _run(tasks, jobs=given.jobs, seeds=seeds)


def _run(tasks: Sequence[Task], *, jobs: int, seeds: Path) -> int:
    start = time.monotonic()
    failed: dict[str, list[Verdict]] = {}
    for verdict in Pool(jobs=jobs, root=KEPT, seeds=seeds).run(tasks):
        if verdict.fault:
            keep(verdict, KEPT, seeds)
            failed.setdefault(verdict.signature, []).append(verdict)
    counts = Counter(task.kind for task in tasks)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    seconds = time.monotonic() - start
    print(f"{len(tasks)} inputs of seed {tasks[0].seed} in {seconds:.0f} s: {kinds}")
    for signature, found in sorted(failed.items(), key=lambda each: -len(each[1])):
        print(f"\n{len(found)} x {found[0].fault}: {signature}")
        for verdict in found[:_SHOWN]:
            folder = verdict.task.folder(KEPT).relative_to(ROOT)
            print(f"    python -m tests.fuzz --replay {folder}")
    return 1 if failed else 0


def keep(verdict: Verdict, root: Path, seeds: Path) -> None:
    """Put a failed input's folder back as it was before the run, with what came of it."""
    task = verdict.task
    folder = task.folder(root)
    case = make_case(task.kind, task.seed, task.number, folder=folder, seeds=seeds)
    save_case(case, folder.name, fault=verdict.fault)
    (folder / "report.txt").write_text(verdict.about + "\n", encoding="utf-8", errors="replace")


def _replay(folder: Path) -> int:
    """Run a kept input again where it is, show what comes of it, and restore its folder."""
    with TemporaryDirectory(prefix="g4-fuzz-") as temporary:
        copy = Path(temporary) / "copy"
        shutil.copytree(folder, copy, symlinks=True)
        try:
            task = Task(kind="", saved=folder)
            (verdict,) = Pool(jobs=1, root=KEPT, seeds=folder).run([task])
            said = [folder / OUTPUT_FILE, folder / ERRORS_FILE]
            print(*(path.read_text("utf-8", "replace") for path in said if path.exists()), sep="")
        finally:
            shutil.rmtree(folder)
            shutil.copytree(copy, folder, symlinks=True)
    print(f"{verdict.fault}: {verdict.signature}" if verdict.fault else "ended as documented")
    return 1 if verdict.fault else 0


if __name__ == "__main__":
    sys.exit(main())
