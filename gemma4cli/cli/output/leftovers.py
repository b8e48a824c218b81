"""Names of unfinished files, and the removal of those that killed runs left behind."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from pathlib import Path

_HOST = re.sub(r"\W", "", platform.node())[:32]
"""In the name, since a folder may be shared by machines whose processes have the same numbers."""


def prefix() -> str:
    """How the name of an unfinished file of this process begins.

    The name of the result is not part of it: that may be as long as the file system allows.
    """
    return f".g4-{_HOST}-{os.getpid()}-"


def remove_leftovers(folder: Path) -> None:
    """Remove what runs on this machine that are no more have left unfinished in a folder."""
    ours = re.compile(rf"\.g4-{_HOST}-(\d{{1,9}})-\w+")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = ours.fullmatch(entry.name)
            if found and not _is_running(int(found[1])):
                with suppress(OSError):
                    os.unlink(entry.path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
