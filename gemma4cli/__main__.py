"""The program ``g4``, also as ``python -m gemma4cli``.

Importing the command line takes a while, and so does the end of a process. Ctrl-C ends the program
without a traceback then, too; in between, a command handles it.
"""

from __future__ import annotations

import sys

from .cli.interrupts import STATUS, leave_at_once


def main() -> None:
    """Run the program."""
    leave_at_once()
    try:
        from .cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(STATUS)
    finally:
        leave_at_once()


if __name__ == "__main__":
    main()
