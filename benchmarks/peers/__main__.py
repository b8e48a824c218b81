"""g4 and its peers on the same work, in turn, on one machine.

    python benchmarks/peers                                  # everything; the first time, an hour
    python benchmarks/peers --engines g4 llama.cpp --cases text decode-32

Builds llama.cpp, installs mlx-lm and mlx-vlm, and writes checkpoints of a published shape with
random weights, all once and in a folder outside the repository. Every run is a process of its own;
the engines take turns, and a figure is the median of its runs. g4 is what the environment of this
script has. A Markdown table, and as the last line of stdout one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import limits
import machine
import table
from engines import G4, Engine, MlxLm, MlxVlm
from llama import Llama
from prepare import ROOT, Prepared, prepare
from process import run
from work import E2B_CASES, Case, GivenUp, Result, cases

ENGINES: dict[str, Callable[[Prepared], Engine]] = {
    "g4": G4,
    "llama.cpp": Llama,
    "mlx-lm": MlxLm,
    "mlx-vlm": MlxVlm,
}
LONG = 30.0
"""Seconds from which on one run is enough."""
PATCHES = 9
"""Patches in a soft token."""


def default_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "g4-peers"


def parse() -> argparse.Namespace:
    names = [case.name for case in E2B_CASES]
    parser = argparse.ArgumentParser(
        prog="peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=default_folder())
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--cases", nargs="+", choices=names, default=names, metavar="CASE")
    parser.add_argument("--shape", choices=("E2B", "12B"), default="E2B")
    parser.add_argument("--repeat", type=int, default=5, help="runs of what is short")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one run")
    parser.add_argument("--no-amx", action="store_true", help="build llama.cpp without AMX")
    parser.add_argument("--prepare", action="store_true", help="only make what is needed")
    return parser.parse_args()


def take_turns(
    engines: Sequence[Engine], case: Case, repeat: int, limit: float
) -> dict[tuple[str, str], list[Result | GivenUp]]:
    """All runs of one case: one of each engine, then again, until each has had enough."""
    runs: dict[tuple[str, str], list[Result | GivenUp]] = defaultdict(list)
    waiting = list(engines)
    for _ in range(repeat):
        for engine in list(waiting):
            result = engine.measure(case, limit)
            runs[engine.name, case.name].append(result)
            said = result.reason if isinstance(result, GivenUp) else f"{result.value:.3f}"
            print(f"{case.name} {engine.name}: {said} {case.unit}", file=sys.stderr, flush=True)
            if isinstance(result, GivenUp) or result.shortened or result.seconds > LONG:
                waiting.remove(engine)
    return runs


def versions(made: Prepared) -> dict[str, str]:
    """Of all that is compared; of g4 also what computes."""
    git = ("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    code = "from gemma4cli.doctor.native_part import native_part; print(native_part().value)"
    native = run((sys.executable, "-c", code), 60).out.strip()
    return {"g4": f"{commit} (native part: {native})", **made.versions}


def main() -> None:
    arguments = parse()
    chosen = [name for name in ENGINES if name in arguments.engines]
    chosen_cases = [case for case in cases(arguments.shape) if case.name in arguments.cases]
    folder: Path = arguments.folder.resolve()
    made = prepare(folder, arguments.shape, chosen, amx=not arguments.no_amx)
    if arguments.prepare:
        return
    engines: list[Engine] = [ENGINES[name](made) for name in chosen]
    busy = os.getloadavg()[0]
    before = machine.rates()
    results: dict[tuple[str, str], list[Result | GivenUp]] = {}
    for case in chosen_cases:
        results |= take_turns(engines, case, arguments.repeat, arguments.limit)
    # The better of two: other work on the machine can only lower them.
    after = machine.rates()
    best = machine.Machine(
        read=max(before.read, after.read), product=max(before.product, after.product)
    )
    report(made, table.rows(chosen_cases, chosen, results), chosen, best, busy)


def report(
    made: Prepared,
    lines: Sequence[table.Row],
    engines: Sequence[str],
    best: machine.Machine,
    busy: float,
) -> None:
    """Print a section for docs/performance.md, and the JSON line."""
    soft = next(case.soft for case in E2B_CASES if case.kind == "picture")
    load = limits.of_checkpoint(made.checkpoint, PATCHES * soft)
    reached = table.reached(lines, best, load)
    about = versions(made)
    print(f"{date.today()}; {machine.description()}; load average before {busy:.1f}.")
    print("; ".join(f"{name} {version}" for name, version in about.items()), end=".\n\n")
    print(table.compared(lines, engines), end="\n\n")
    if notes := table.shortened(lines):
        print(f"≈: shortened. {notes}\n")
    image = f", the picture {load.image / 1e9:,.0f} in its tower" if load.image else ""
    print(f"Memory is read at {best.read:.1f} GB/s, {load.step / 1e9:.2f} GB per decoded token.")
    print(f"NumPy multiplies float32 at {best.product:.0f} GFLOP/s; a token of a prompt takes")
    print(f"{load.token / 1e9:.2f} GFLOP{image}.\n")
    print(table.percentages(reached, engines))
    document = {
        "machine": machine.description(),
        "versions": about,
        "limits": asdict(best) | asdict(load),
        "rows": table.records(lines),
        "reached": reached,
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
