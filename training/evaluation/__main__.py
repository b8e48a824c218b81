"""Evaluate a checkpoint: tables of what is right, by task.

python -m training.evaluation gemma4cli/builtin/tiny --count 100
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import gemma4cli
from gemma4cli.options import LoadOptions

from . import pictures, speech, talk, videos
from .cases import Case, Row, table

PARTS: dict[str, Callable[[int], Iterator[Case]]] = {
    "speech": speech.cases,
    "pictures": pictures.cases,
    "videos": videos.cases,
    "talk": talk.cases,
}


def markdown(rows: dict[str, Row]) -> str:
    lines = [
        "| task | right | of | word for word | wrong words, events or answers |",
        "|-|-|-|-|-|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row.whole} | {row.cases} | {row.verbatim} | "
            f"{row.wrong} of {row.total} ({row.wrong / row.total:.1%}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a folder or a name that g4 knows")
    parser.add_argument("--count", type=int, default=100, help="cases of each kind")
    parser.add_argument("--only", choices=PARTS, action="append", help="parts to measure")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--shown", type=int, default=3, help="mistakes to print for each row")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    model = gemma4cli.load(arguments.checkpoint, options=LoadOptions(dtype=arguments.dtype))
    rows: dict[str, Row] = {}
    for part in arguments.only or PARTS:
        of_part = table(model, PARTS[part](arguments.count), shown=arguments.shown)
        print(markdown(of_part), flush=True)
        rows |= of_part
    if arguments.json:
        numbers = {name: asdict(row) for name, row in rows.items()}
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
