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

from .cores import half_the_cores


@dataclass(frozen=True, slots=True)
class Stage:
    """A module to run with WORK and these arguments, by one process or as many as share it.

    ``small`` are arguments that make a trial of it.
    """

    module: str
    arguments: tuple[str, ...] = ()
    shared: bool = False
    small: tuple[str, ...] = ()

    def command(self, work: Path, *, trial: bool) -> list[str]:
        count = f"{half_the_cores()}"
        # Standalone, each of two stages side by side has a port of its own.
        run = ["torch.distributed.run", "--standalone", "--nproc-per-node", count, "-m", "--"]
        launcher = [*run, self.module] if self.shared else [self.module]
        arguments = (*self.arguments, *(self.small if trial else ()))
        return [sys.executable, "-u", "-m", *launcher, str(work), *arguments]


Chain = tuple[Stage, ...]

_FEW_STEPS = ("--steps", "4")
_FEW_CLIPS = ("--count", "500", "--asked", "500", "--unbroken", "500")
TOKENIZER: Chain = (Stage("training.tokenizer"),)
HEARING: Chain = (
    Stage("training.speech.shards", small=_FEW_CLIPS),
    Stage("training.speech.audio_tower", small=(*_FEW_STEPS, "--clips", "500")),
    Stage("training.speech.audio_features", shared=True, small=_FEW_CLIPS),
)
SEEING: Chain = (
    Stage("training.pictures.vision_tower", small=_FEW_STEPS),
    Stage("training.pictures.features", shared=True, small=("--count", "200", "--stills", "200")),
)


def chains(folder: Path) -> tuple[tuple[Chain, ...], ...]:
    """What can run side by side, in the order in which one needs the other."""
    language: Chain = (
        Stage("training.language.stage", small=_FEW_STEPS),
        Stage("training.export", (str(folder / "tiny"),)),
    )
    twin: Chain = (
        Stage("training.twin.digits", small=("--voices", "20")),
        Stage("training.twin.train", small=_FEW_STEPS),
        Stage("training.twin.export", (str(folder / "tiny-unified"),)),
    )
    return ((TOKENIZER,), (HEARING, SEEING), (language, twin))


def environment() -> dict[str, str]:
    """One thread for each process. tcmalloc, where it is installed, halves the time of a step:
    the system's allocator gives large blocks back after every operation, and fetches them anew.
    """
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    allocator = ctypes.util.find_library("tcmalloc_minimal")
    if allocator and "LD_PRELOAD" not in variables:
        variables["LD_PRELOAD"] = allocator
    return variables


def run(chain: Sequence[Stage], work: Path, *, trial: bool) -> None:
    """The stages of a chain; each writes its log to WORK/logs. Raises CalledProcessError."""
    logs = work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for stage in chain:
        print(f"{stage.module} ...", flush=True)
        with (logs / f"{stage.module}.txt").open("a") as log:
            subprocess.run(
                stage.command(work, trial=trial),
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
            )
        print(f"{stage.module} is done", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder for data, states and logs (20 GB)")
    parser.add_argument("folder", type=Path, help="folder for the finished checkpoints")
    parser.add_argument(
        "--trial",
        action="store_true",
        help="a few steps of every stage, to see in minutes that all of them run",
    )
    arguments = parser.parse_args()
    for side_by_side in chains(arguments.folder):
        with ThreadPoolExecutor(len(side_by_side)) as pool:
            running = [
                pool.submit(run, chain, arguments.work, trial=arguments.trial)
                for chain in side_by_side
            ]
            for done in running:
                done.result()


if __name__ == "__main__":
    main()
