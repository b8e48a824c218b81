"""The parts of a turn: its text and media."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...errors import MediaDecodeError
from ...media.recognition import kind_of
from ...media.sources import settle
from ...messages import AudioPart, ImagePart, MediaKind, Part, Source, TextPart, VideoPart
from ..run.addresses import media_source
from ..run.pages import Pages, page_sources

MEDIA_PARTS: Mapping[str, Callable[[Source], Part]] = {
    "image": lambda source: ImagePart(source=source),
    "audio": lambda source: AudioPart(source=source),
    "video": lambda source: VideoPart(source=source),
}
"""The part that an option (``--image``) or a slash command (``/image``) attaches."""


def part_of(option: str, name: str, *, fetches: bool) -> Part:
    """The medium that ``--image NAME`` and the like attach; ``--attach`` looks what kind it is.

    Raises MediaError, above all for an address unless g4 ``fetches`` them.
    """
    if option in MEDIA_PARTS:
        return MEDIA_PARTS[option](media_source(name, fetches=fetches))
    source, kind = medium(name, fetches=fetches)
    return MEDIA_PARTS[kind](source)


def medium(name: str, *, fetches: bool) -> tuple[Source, MediaKind]:
    """A medium and its kind. Raises MediaError."""
    source = settle(media_source(name, fetches=fetches))
    kind = kind_of(source)
    if kind is None:
        raise MediaDecodeError(source.name, not_a_medium("--file"))
    return source, kind


def not_a_medium(attaches_text: str) -> str:
    """What is wrong with a file of another kind; ``attaches_text`` is for it if it is text."""
    return f"is not an image, audio or video file; {attaches_text} attaches text"


def with_pages_of_images(parts: Sequence[Part], pages: Pages) -> list[Part]:
    """The parts, with one for each chosen page of an image file. Raises MediaError."""
    return [
        page
        for part in parts
        for page in (
            [ImagePart(source=source) for source in page_sources(part.source, pages)]
            if isinstance(part, ImagePart)
            else [part]
        )
    ]


def in_card_order(text: str, media: Sequence[Part]) -> tuple[Part, ...]:
    """Images and videos before the text, audio after it, as the model card recommends."""
    audio = [part for part in media if isinstance(part, AudioPart)]
    visual = [part for part in media if not isinstance(part, AudioPart)]
    return (*visual, TextPart(text=text), *audio)
