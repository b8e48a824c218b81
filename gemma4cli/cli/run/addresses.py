"""Media arguments that may be addresses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from ...errors import MediaError, OptionError
from ...messages import Source
from .inputs import Kind, address_source, source_of

_MOST_SECONDS = 1e6
_DOWNLOADS = ExitStack()


def check_allowed(*, allow_urls: bool, offline: bool) -> None:
    """Raise OptionError if both are asked for."""
    if allow_urls and offline:
        raise OptionError("--allow-urls and --offline exclude each other")


def media_source(name: str, *, fetches: bool) -> Source:
    """A media argument; an address is downloaded if g4 ``fetches`` them. Raises MediaError."""
    from ...media.urls import is_url

    return fetched(address_source(name), fetches=fetches) if is_url(name) else source_of(name)


def opener(kind: Kind, *, fetches: bool) -> Callable[[Source], Source]:
    """``fetched`` for the inputs of a command, of which a folder has no files of the kind."""

    def opened(source: Source) -> Source:
        if source.path is not None and os.path.isdir(source.path):
            raise MediaError(source.name, kind.missing_in(source.path))
        return fetched(source, fetches=fetches)

    return opened


def fetched(source: Source, *, fetches: bool) -> Source:
    """A source as it is, unless it is an address, which is downloaded. Raises MediaError."""
    if source.address is None:
        return source
    if not fetches:
        raise MediaError(source.name, "is an address: --allow-urls lets g4 fetch it")
    from ...media.downloads import fetch
    from ...media.pace import Pace

    return fetch(source.address, folder=_folder(), pace=Pace(total=_seconds()))


def _seconds() -> float:
    """How long a download may take. Raises OptionError."""
    from ...limit_variables import limit_of

    return limit_of("G4_URL_TIMEOUT", 600, "seconds", most=_MOST_SECONDS)


@contextmanager
def removing_downloads() -> Iterator[None]:
    """Remove what ``fetched`` has downloaded when this ends."""
    try:
        yield
    finally:
        _DOWNLOADS.close()
        _folder.cache_clear()


@cache
def _folder() -> Path:
    """Where downloads are until the command ends."""
    from ...leftovers import temporary_folder

    return _DOWNLOADS.enter_context(temporary_folder())
