"""Make the built-in models from nothing: all stages in order, two at a time.

    python -m training WORK FOLDER

Every stage keeps its state in WORK and goes on where it was stopped; what is done is not done
again. The checkpoints are written to FOLDER/tiny and FOLDER/tiny-unified.
"""

from __future__ import annotations

import argparse
import ctypes.util
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .amounts import RECIPE, TRIAL, Amounts
from .cores import half_the_cores
from .device import on_gpu, steps_of


@dataclass(frozen=True, slots=True)
class Stage:
    """A module to run with WORK and these arguments, by as many processes as share it."""

    module: str
    arguments: tuple[str, ...] = ()
    processes: int = 1

    def command(self, work: Path) -> list[str]:
        launcher = [self.module]
        if self.processes > 1:
            # Standalone, each of two stages side by side has a port of its own.
            run = ["torch.distributed.run", "--standalone", "--nproc-per-node"]
            launcher = [*run, f"{self.processes}", "-m", "--", self.module]
        return [sys.executable, "-u", "-m", *launcher, str(work), *self.arguments]


Chain = tuple[Stage, ...]

_MOST_TOGETHER = 4
"""Processes that share a step of 24 conversations."""


def chains(folder: Path, amounts: Amounts) -> tuple[tuple[Chain, ...], ...]:
    """What can run side by side, in the order in which one needs the other.

    The twin learns beside the vision tower, which takes longest. The language model needs both
    towers, and has the machine for itself.
    """
    clips = _options(count=amounts.clips, asked=amounts.asked, unbroken=amounts.unbroken)
    pictures = _options(count=amounts.pictures, stills=amounts.stills)
    beside, cores = half_the_cores(), os.cpu_count() or 1
    together = 1 if on_gpu() else min(_MOST_TOGETHER, cores)
    hearing_and_twin: Chain = (
        Stage("training.speech.shards", clips),
        Stage(
            "training.speech.audio_tower",
            _options(steps=amounts.audio_tower, clips=amounts.clips),
        ),
        Stage("training.speech.audio_features", clips, beside),
        Stage("training.twin.digits", _options(voices=amounts.voices)),
        Stage("training.twin.train", _options(steps=steps_of(amounts.twin))),
        Stage("training.twin.export", (str(folder / "tiny-unified"),)),
    )
    seeing: Chain = (
        Stage(
            "training.pictures.vision_tower",
            (*_options(steps=steps_of(amounts.vision_tower)), "--held-out-every", "0"),
        ),
    )
    language: Chain = (
        Stage("training.pictures.features", pictures, cores),
        Stage("training.language.stage", _options(steps=steps_of(amounts.language)), together),
        Stage("training.export", (str(folder / "tiny"),)),
    )
    return (((Stage("training.tokenizer"),),), (hearing_and_twin, seeing), (language,))


def _options(**counts: int) -> tuple[str, ...]:
    return tuple(text for name, count in counts.items() for text in (f"--{name}", f"{count}"))


def environment() -> dict[str, str]:
    """One thread for each process. tcmalloc, where it is installed, halves the time of a step:
    the system's allocator gives large blocks back after every operation, and fetches them anew.
    """
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    allocator = ctypes.util.find_library("tcmalloc_minimal")
    if allocator and "LD_PRELOAD" not in variables:
        variables["LD_PRELOAD"] = allocator
    return variables


def run(chain: Sequence[Stage], work: Path) -> None:
    """The stages of a chain; each writes its log to WORK/logs. Raises CalledProcessError."""
    logs = work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for stage in chain:
        print(f"{stage.module} ...", flush=True)
        with (logs / f"{stage.module}.txt").open("a") as log:
            subprocess.run(
                stage.command(work),
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
            )
        print(f"{stage.module} is done", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder for data, states and logs (6 GB)")
    parser.add_argument("folder", type=Path, help="folder for the finished checkpoints")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--trial",
        action="store_true",
        help="a few steps of every stage, to see in minutes that all of them run",
    )
    length.add_argument(
        "--times",
        type=float,
        default=1.0,
        help="make so many times as much of everything, and practise as much longer",
    )
    arguments = parser.parse_args()
    if arguments.times <= 0:
        parser.error("--times has to be more than 0")
    amounts = TRIAL if arguments.trial else RECIPE.times(arguments.times)
    for side_by_side in chains(arguments.folder, amounts):
        with ThreadPoolExecutor(len(side_by_side)) as pool:
            running = [pool.submit(run, chain, arguments.work) for chain in side_by_side]
            for done in running:
                done.result()


if __name__ == "__main__":
    main()
