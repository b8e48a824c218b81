"""Media that a request names by an address are downloaded first, from public hosts only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..leftovers import temporary_folder
from ..media.downloads import fetch
from ..media.pace import Pace
from ..messages import Message, Part, Source, TextPart, sources_of

_MOST_BYTES = 256 << 20
_MOST_SECONDS = 60.0


@contextmanager
def fetching(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The messages with files in place of addresses; they are removed when this ends.

    Raises MediaError.
    """
    if not any(source.address for each in messages for source in sources_of(each.parts)):
        yield messages
        return
    with temporary_folder() as folder:
        yield [
            replace(each, content=tuple(_fetched(part, folder) for part in each.parts))
            for each in messages
        ]


def _fetched(part: Part, folder: Path) -> Part:
    if isinstance(part, TextPart) or part.source is None or part.source.address is None:
        return part
    return replace(part, source=_download(part.source, folder))


def _download(source: Source, folder: Path) -> Source:
    assert source.address is not None
    return fetch(
        source.address,
        folder=folder,
        most_bytes=_MOST_BYTES,
        pace=Pace(total=_MOST_SECONDS),
        only_public=True,
    )
