"""How long the program takes to say something: its version, its help, a first short answer.

    python benchmarks/startup.py
    python benchmarks/startup.py --vlm /path/to/an/environment/bin/python

Medians of ``--repeat`` runs of the real program, in seconds of wall and of CPU time. Two ratios
follow, in CPU time of runs that alternate: the help to that of a bare Typer program, and a picture
described to the same by mlx_vlm.generate, with the same model, in an environment that has mlx-vlm.
The last line of stdout is one JSON document.
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
from collections.abc import Sequence
from pathlib import Path

from gemma4cli import model_path

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

G4 = [sys.executable, "-m", "gemma4cli"]
PICTURE = "fixtures/scene.png"
DESCRIBE = [*G4, "describe", PICTURE, "-m", "tiny", "-q"]
CASES = {
    "g4 --version": [*G4, "--version"],
    "g4 --help": [*G4, "--help"],
    "g4 models list": [*G4, "models", "list"],
    "g4 chat -m tiny -p Hello": [*G4, "chat", "-m", "tiny", "-p", "Hello", "-q"],
    f"g4 describe {PICTURE} -m tiny": DESCRIBE,
}


def measure(command: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    # An installed program has its bytecode cached, and so it should be here.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=variables
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def medians(commands: Sequence[Sequence[str]], repeat: int) -> list[tuple[float, float]]:
    """Wall and CPU seconds of each command; their runs alternate, after one that warms up."""
    for each in commands:
        measure(each)
    rounds = [[measure(each) for each in commands] for _ in range(repeat)]
    return [
        (statistics.median(wall for wall, _ in runs), statistics.median(cpu for _, cpu in runs))
        for runs in zip(*rounds, strict=True)
    ]


def cpu_ratio(command: Sequence[str], other: Sequence[str], repeat: int) -> float:
    (_, own), (_, others) = medians([command, other], repeat)
    return own / others


def help_over_bare(repeat: int) -> float:
    """CPU time of ``g4 --help``, as a multiple of a bare program's."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE, "utf-8")
        return cpu_ratio([*G4, "--help"], [sys.executable, str(bare), "--help"], repeat)


def describe_over_vlm(python: str, repeat: int) -> float:
    """CPU time of ``g4 describe``, as a multiple of that of mlx_vlm.generate."""
    vlm = [python, "-m", "mlx_vlm.generate", "--model", str(model_path("tiny"))]
    vlm += ["--image", PICTURE, "--prompt", "Describe this image.", "--temperature", "0"]
    return cpu_ratio(DESCRIBE, [*vlm, "--max-tokens", "64"], repeat)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--vlm", metavar="PYTHON", help="the Python of an environment with mlx-vlm")
    options = parser.parse_args()
    results: dict[str, object] = {}
    print(f"{'':<42} {'wall s':>8} {'CPU s':>8}")
    for label, (wall, cpu) in zip(
        CASES, medians(list(CASES.values()), options.repeat), strict=True
    ):
        results[label] = {"wall": round(wall, 3), "cpu": round(cpu, 3)}
        print(f"{label:<42} {wall:8.3f} {cpu:8.3f}")
    ratios = {"g4 --help over a bare Typer program": help_over_bare(options.repeat)}
    if options.vlm:
        ratios["g4 describe over mlx_vlm.generate"] = describe_over_vlm(options.vlm, options.repeat)
    for label, ratio in ratios.items():
        results[label] = round(ratio, 2)
        print(f"{label:<42} {'':8} {ratio:7.2f}x")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
