"""The program ``g4``, also as ``python -m gemma4cli``.

Importing the command line takes a while, and so does the end of a process. Signals end the program
without a traceback then, too; in between, a command handles them.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from types import TracebackType


def main() -> None:
    """Run the program."""
    # At once: what handles the signal has to be imported first.
    sys.excepthook = _quiet_about_interrupts
    from .interrupts import ignore, leave_at_once, status_of

    leave_at_once()
    # Python would give the signals back to the system before its end, which then decides on the
    # status. Registered first, so it is called last.
    atexit.register(ignore)
    try:
        from .cli.app import main as run

        run()
    except KeyboardInterrupt as stop:
        sys.exit(status_of(stop))
    finally:
        leave_at_once()
        # Otherwise the interpreter looks for cycles among all objects once more before it ends.
        gc.freeze()


def _quiet_about_interrupts(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        # Otherwise Python sends itself the signal, and the status depends on who asks for it.
        from .interrupts import status_of

        os._exit(status_of(error))
    sys.__excepthook__(kind, error, traceback)


if __name__ == "__main__":
    main()
