"""Where g4 keeps what outlives a run."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """The folder for state of the XDG rules."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "g4"


def sessions_folder() -> Path:
    """Where conversations are kept."""
    return state_folder() / "sessions"
