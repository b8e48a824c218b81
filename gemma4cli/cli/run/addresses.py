"""Media arguments that may be addresses."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import MediaError
from ...messages import Source
from .inputs import source_of


def media_source(name: str, *, fetches: bool) -> Source:
    """A media argument; an address is downloaded if g4 ``fetches`` them. Raises MediaError."""
    from ...media.urls import is_url

    return fetched(Source(name=name), fetches=fetches) if is_url(name) else source_of(name)


def fetched(source: Source, *, fetches: bool) -> Source:
    """A source as it is, unless it is an address, which is downloaded. Raises MediaError."""
    from ...media.urls import fetch, is_url

    if source.path is not None or not is_url(source.name):
        return source
    if not fetches:
        raise MediaError(source.name, "is an address: --allow-urls lets g4 fetch it")
    return fetch(source.name, folder=Path(_folder().name))


@cache
def _folder() -> TemporaryDirectory[str]:
    """Where downloads are until the program ends."""
    return TemporaryDirectory(prefix="g4.")
