"""What it takes to find the answers of an interrupted run again.

    python benchmarks/journal.py
    python benchmarks/journal.py --answers 10000 100000

For each number of answers, a journal of that many answers about as many empty files is made in a
temporary folder. A process of its own then opens it as ``g4 describe`` does, which finds the inputs
that need no answer, and reads the answers in order. Times are CPU seconds; memory is the peak above
that of the process before. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gemma4cli.cli.answers.journal import answer_journal
from gemma4cli.cli.run.inputs import Input
from gemma4cli.errors import JournalError
from gemma4cli.records import Answer

JOB = {"question": {"prompt": "What is this?"}}
TEXT = "A red circle is on the left of a blue square, and below both is a green line."


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """CPU seconds and bytes to open a journal, and CPU seconds to read all of its answers."""

    answers: int
    file: int
    opening: float
    reading: float
    memory: int


def inputs_in(folder: Path, count: int) -> list[Input]:
    return [
        Input(given=f"{folder}/{number // 1000:04}/{number:07}.png", label=f"{number:07}")
        for number in range(count)
    ]


def fail(problem: JournalError | str) -> None:
    raise SystemExit(str(problem))


def fill(folder: Path, count: int) -> int:
    """Make the files and the journal, without waiting for the disk; returns its bytes."""
    inputs = inputs_in(folder, count)
    for each in inputs:
        path = Path(each.given)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    os.fsync = lambda handle: None  # type: ignore[assignment]
    usage = {"prompt_tokens": 280, "soft_tokens": 256, "completion_tokens": 20}
    with answer_journal(
        folder / "state", JOB, inputs, restart=False, not_kept=fail, damaged=fail
    ) as journal:
        assert journal is not None
        for number, each in enumerate(inputs):
            record = {"file": each.given, "text": TEXT, "finish_reason": "stop", "usage": usage}
            journal.add(number, Answer(text=TEXT, record=record))
        journal.stays = True
    return sum(each.stat().st_size for each in (folder / "state").iterdir())


def find(folder: Path, count: int, size: int) -> Found:
    """Open the journal in this process, and read it."""
    inputs = inputs_in(folder, count)
    peak, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with answer_journal(
        folder / "state", JOB, inputs, restart=False, not_kept=fail, damaged=fail
    ) as journal:
        assert journal is not None and len(journal.known) == count
        opened = time.process_time()
        for number in sorted(journal.known):
            assert journal.answer(number).text == TEXT
        read = time.process_time()
        journal.stays = True
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    return Found(
        answers=count, file=size, opening=opened - start, reading=read - opened, memory=grown * 1024
    )


def measured(count: int) -> Found:
    """Each step in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        step = [sys.executable, __file__, "--folder", folder, "--answers", str(count)]
        size = subprocess.run([*step, "--fill"], check=True, capture_output=True, text=True).stdout
        found = subprocess.run(
            [*step, "--size", size.strip()], check=True, capture_output=True, text=True
        )
        return Found(**json.loads(found.stdout))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--answers", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.fill:
        print(fill(asked.folder, asked.answers[0]))
    elif asked.folder is not None:
        print(json.dumps(asdict(find(asked.folder, asked.answers[0], asked.size))))
    else:
        rows = [measured(count) for count in asked.answers]
        for row in rows:
            print(
                f"{row.answers:9,} answers, {row.file / 1e6:6.1f} MB: found in {row.opening:.2f} s "
                f"with {row.memory / 1e6:.0f} MB, read in {row.reading:.2f} s"
            )
        print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
