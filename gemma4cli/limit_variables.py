"""Variables of the environment that replace a limit."""

from __future__ import annotations

import os

from .errors import OptionError


def limit_of(variable: str, default: float, unit: str, *, most: float, zero: bool = False) -> float:
    """The number in ``variable``, or ``default`` if it is empty or not set.

    It is above 0, or with ``zero`` 0 too, and at most ``most``. Raises OptionError for anything
    else.
    """
    given = os.environ.get(variable) or str(default)
    try:
        number = float(given)
    except ValueError:
        number = -1
    if not (0 < number <= most or (zero and number == 0)):
        least = "" if zero else " above 0"
        raise OptionError(f"{variable} must be a number of {unit}{least}, not {given[:40]!r}")
    return number
