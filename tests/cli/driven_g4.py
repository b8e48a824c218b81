"""g4 as a process, in ways that tests need: ``driven_g4.py WAYS ARGUMENT...``.

plain     as the program is
tty       standard input becomes the controlling terminal, so that its Ctrl-C comes as a signal
endless   nothing ends an answer, neither the model nor that it repeats itself
imports   at the end, what was imported goes to stderr, as one line of JSON: the modules that came
          ("modules"), and the names that statements of g4 itself import ("asked")
"""

from __future__ import annotations

import builtins
import fcntl
import json
import sys
import termios
from dataclasses import replace
from typing import Any


def note_imports() -> set[str]:
    """A set that fills with the names that modules of g4 import from outside the package."""
    asked = set()
    plain = builtins.__import__

    def noting(
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        importer = (globals or {}).get("__name__", "")
        if not level and importer.partition(".")[0] == "gemma4cli":
            asked.add(name)
        return plain(name, globals, locals, fromlist, level)

    builtins.__import__ = noting
    return asked


def end_no_answer() -> None:
    from gemma4cli import api

    load = api.load

    def load_endless(*args: Any, **options: Any) -> Any:
        from gemma4cli.engine import generate

        generate.is_repeating = lambda ids: False
        model = load(*args, **options)
        return replace(model, generation=replace(model.generation, stop_ids=frozenset()))

    api.load = load_endless


ways = sys.argv[1].split(",")
sys.argv = ["g4", *sys.argv[2:]]
if "tty" in ways:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if "endless" in ways:
    end_no_answer()
before, asked = set(sys.modules), note_imports()
try:
    from gemma4cli.cli.app import main

    main()
finally:
    if "imports" in ways:
        imported = {"modules": sorted({*sys.modules} - before), "asked": sorted(asked)}
        sys.stderr.write(json.dumps(imported) + "\n")
