"""How long the program takes to say something: its version, its help, a first short answer.

    python benchmarks/startup.py

Medians of ``--repeat`` runs of the real program, in seconds of wall and of CPU time; the last line
of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

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


def measure(arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-m", "gemma4cli", *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    results = {}
    print(f"{'':<42} {'wall s':>8} {'CPU s':>8}")
    for label, arguments in CASES.items():
        runs = [measure(arguments) for _ in range(repeat)]
        wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
        results[label] = {"wall": round(wall, 3), "cpu": round(cpu, 3)}
        print(f"{label:<42} {wall:8.3f} {cpu:8.3f}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
