"""Writes the references made from the commands: ``python docs/generate.py``.

With ``--check`` nothing is written, and the exit status is 1 if a file is stale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from cli_page import reference
from g4_commands import program
from man_page import manual

ROOT = Path(__file__).parents[1]


def pages() -> dict[str, str]:
    """The text of each file, by its path in the repository."""
    group = program()
    return {"completions/g4.1": manual(group), "docs/cli.md": reference(group)}


def stale() -> Iterator[str]:
    """The files that are missing or differ from what the commands say."""
    for name, text in pages().items():
        path = ROOT / name
        if not path.is_file() or path.read_text("utf-8") != text:
            yield name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    if parser.parse_args().check:
        outdated = list(stale())
        for name in outdated:
            sys.stderr.write(f"{name} is stale: run python docs/generate.py\n")
        sys.exit(1 if outdated else 0)
    for name, text in pages().items():
        (ROOT / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
