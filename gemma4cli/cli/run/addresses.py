"""Media arguments that may be addresses."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import MediaError
from ...messages import Source
from .runner import source_of


def media_source(name: str, *, fetches: bool) -> Source:
    """A media argument; an address is downloaded if g4 ``fetches`` them. Raises MediaError."""
    from ...media.urls import fetch, is_url

    if not is_url(name):
        return source_of(name)
    if not fetches:
        raise MediaError(name, "is an address: --allow-urls lets g4 fetch it")
    return fetch(name, folder=Path(_folder().name))


@cache
def _folder() -> TemporaryDirectory[str]:
    """Where downloads are until the program ends."""
    return TemporaryDirectory(prefix="g4.")
