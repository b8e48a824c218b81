"""How long Python takes to build a step of decoding, and how many operations it has, beside mlx-lm.

A GPU waits for the step to be built where that takes longer than the step itself. Networks have the
published sizes and no weights; nothing is computed, so this runs on any machine. Both take turns,
so that other work on the machine slows both, and the fastest of each counts.

    python benchmarks/steps.py [--repeat 30]
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.graphs import (
    Pair,
    Step,
    as_on_gpu,
    our_step,
    pair_of,
    primitives,
    step_of_mlx_lm,
)

NAMES = ("E2B", "12B", "31B")
BEFORE = 1500
"""Positions in the caches."""


def milliseconds(step: Step, cache: Any) -> float:
    gc.collect()
    started = time.perf_counter()
    outputs = step(cache)
    elapsed = time.perf_counter() - started
    del outputs
    return elapsed * 1e3


def measured(pair: Pair, temperature: float, repeat: int) -> dict[str, float]:
    steps = our_step(pair.ours, temperature), step_of_mlx_lm(pair.theirs, temperature)
    with as_on_gpu():
        counts = [
            len(primitives(*step(cache)))
            for step, cache in zip(steps, pair.caches(BEFORE), strict=True)
        ]
        times: list[list[float]] = [[], []]
        for _ in range(repeat + 1):  # the first compiles
            for taken, step, cache in zip(times, steps, pair.caches(BEFORE), strict=True):
                taken.append(milliseconds(step, cache))
    ours, theirs = (min(taken) for taken in times)
    return {
        "operations": counts[0],
        "of_mlx_lm": counts[1],
        "ms": round(ours, 2),
        "ms_of_mlx_lm": round(theirs, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=30)
    repeat = parser.parse_args().repeat
    results = []
    for name in NAMES:
        pair = pair_of(f"google__gemma-4-{name}-it")
        for temperature in (0.0, 1.0):
            row = measured(pair, temperature, repeat)
            print(f"{name:4} temperature {temperature}", *(f"{k} {v:>6}" for k, v in row.items()))
            results.append({"model": name, "temperature": temperature, **row})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
