"""How many processes the machine's cores are for."""

from __future__ import annotations

import os


def half_the_cores() -> int:
    """How many processes of one stage leave room for another stage beside them."""
    return max(1, (os.cpu_count() or 1) // 2)
