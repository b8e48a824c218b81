"""A tuning cannot begin or go on."""

from __future__ import annotations

from .base import Gemma4Error, too_large


class TuningDataError(Gemma4Error):
    """Nothing, or not all, can be learned from data: a message names it and what is wrong."""


class TuningError(Gemma4Error):
    """A tuning cannot begin or go on."""


class TuningTooLargeError(TuningError):
    """A step of a tuning needs more memory than is free. In bytes."""

    def __init__(self, what: str, needed: int, free: int, hint: str) -> None:
        self.needed = needed
        self.free = free
        super().__init__(too_large(what, needed, free, hint))
