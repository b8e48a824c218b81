"""The parts of a turn: its text, media, and the text of attached files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...errors import ConversationError
from ...messages import AudioPart, ImagePart, Part, Source, TextPart, VideoPart

MEDIA_PARTS: Mapping[str, Callable[[Source], Part]] = {
    "image": lambda source: ImagePart(source=source),
    "audio": lambda source: AudioPart(source=source),
    "video": lambda source: VideoPart(source=source),
}
"""The part that an option (``--image``) or a slash command (``/image``) attaches."""

_LONGEST_FILE = 1 << 20
"""Bytes of text; more than fits any context."""


def in_card_order(text: str, media: Sequence[Part]) -> tuple[Part, ...]:
    """Images and videos before the text, audio after it, as the model card recommends."""
    audio = [part for part in media if isinstance(part, AudioPart)]
    visual = [part for part in media if not isinstance(part, AudioPart)]
    return (*visual, TextPart(text=text), *audio)


def sources_of(parts: Sequence[Part]) -> list[Source]:
    """The sources of the media among ``parts``."""
    media = [part for part in parts if not isinstance(part, TextPart)]
    clips = [part for part in media if isinstance(part, VideoPart)]
    whole = [part.source for part in media if part.source is not None]
    return [*whole, *(frame for clip in clips for frame in clip.frames)]


def with_attached_text(question: str, attached: Sequence[str]) -> str:
    """A question followed by the attached texts; the same format as -p with a pipe."""
    return "\n\n".join(text for text in (question, *attached) if text)


def read_text_file(path: Path, name: str) -> str:
    """A text file to attach, headed by its name. Raises ConversationError."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_FILE + 1)
    except OSError as exc:
        raise ConversationError(f"{name}: {exc.strerror or exc}") from exc
    if len(content) > _LONGEST_FILE:
        raise ConversationError(f"{name}: is longer than any context; attach a part of it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConversationError(f"{name}: is not text; attach media with /image or /audio") from exc
    return f"{path.name}:\n{text.rstrip()}"
