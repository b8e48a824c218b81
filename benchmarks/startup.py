"""How long the program takes to say something: its version, its help, a first short answer.

    python benchmarks/startup.py

Medians of ``--repeat`` runs of the real program, in seconds of wall and of CPU time. The help is
also compared with that of a bare Typer program, in CPU time; their runs alternate. The last line of
stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """\
import typer

app = typer.Typer(add_completion=False)


@app.command()
def one(name: str = "") -> None:
    pass


@app.command()
def two(count: int = 1) -> None:
    pass


app()
"""
"""The least that a program with Typer's help can be."""

G4 = ["-m", "gemma4cli"]
CASES = {
    "g4 --version": ["--version"],
    "g4 --help": ["--help"],
    "g4 chat -m tiny -p Hello": ["chat", "-m", "tiny", "-p", "Hello", "-q"],
    "g4 describe fixtures/scene.png -m tiny": [
        "describe",
        "fixtures/scene.png",
        "-m",
        "tiny",
        "-q",
    ],
}


def measure(program: list[str], arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    # An installed program has its bytecode cached, and so it should be here.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *program, *arguments],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=variables,
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def help_over_bare(repeat: int) -> float:
    """CPU time of ``g4 --help``, as a multiple of a bare program's."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE, "utf-8")
        programs = (G4, [str(bare)])
        runs = [[measure(each, ["--help"])[1] for each in programs] for _ in range(repeat)]
    g4, other = (statistics.median(column) for column in zip(*runs, strict=True))
    return g4 / other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=9)
    repeat = parser.parse_args().repeat
    results: dict[str, object] = {}
    measure(G4, ["--help"])
    print(f"{'':<42} {'wall s':>8} {'CPU s':>8}")
    for label, arguments in CASES.items():
        runs = [measure(G4, arguments) for _ in range(repeat)]
        wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        results[label] = {"wall": round(wall, 3), "cpu": round(cpu, 3)}
        print(f"{label:<42} {wall:8.3f} {cpu:8.3f}")
    ratio = help_over_bare(repeat)
    results["g4 --help over a bare Typer program"] = round(ratio, 2)
    print(f"{'g4 --help over a bare Typer program':<42} {'':8} {ratio:7.2f}x")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
