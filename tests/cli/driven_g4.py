"""g4 as a process, in ways that tests need: ``driven_g4.py WAYS ARGUMENT...``.

plain     as the program is
tty       standard input becomes the controlling terminal, so that its Ctrl-C comes as a signal
endless   nothing ends an answer, neither the model nor that it repeats itself
modules   at the end, the names of all imported modules go to stderr
"""

from __future__ import annotations

import fcntl
import sys
import termios
from dataclasses import replace
from typing import Any

from gemma4cli.cli.app import main


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
try:
    main()
finally:
    if "modules" in ways:
        sys.stderr.write("\n".join(sorted(sys.modules)))
