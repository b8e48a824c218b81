"""Messages and their parts, with media named but not opened.

Knows no model, no prompt format and no decoded media.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
MediaKind = Literal["image", "audio", "video"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The file or bytes of one media item.

    Attributes:
        name: The name that the user gave, shown in errors; "-" without path and data is standard
            input.
        path: The file; None if ``data`` holds the bytes.
        data: The bytes of a file, such as a recording.
        page: The page of a file of several pictures, from 1; None is the main one.
        address: The URL to download it from, credentials included; ``name`` has none.
    """

    name: str
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    page: int | None = None
    address: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, value: Source | str | Path | bytes, name: str | None = None) -> Source:
        """A source from a path or from bytes; a source is returned unchanged."""
        if isinstance(value, Source):
            return value
        if isinstance(value, bytes):
            return cls(name=name or "<bytes>", data=value)
        return cls(name=name or str(value), path=Path(value))


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePart:
    source: Source


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioPart:
    """A recording, or what is between two of its seconds, as players show them."""

    source: Source
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoPart:
    """A clip, or frames that are already sampled, with their times in seconds."""

    source: Source | None = None
    frames: tuple[Source, ...] = ()
    timestamps: tuple[float, ...] = ()


MediaPart = ImagePart | AudioPart | VideoPart
Part = TextPart | MediaPart


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A function call by the model; ``arguments`` is a mapping, never a JSON string."""

    name: str
    arguments: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message.

    Attributes:
        role: Who sent it.
        content: Text, or text and media as parts.
        thoughts: The reasoning before an assistant's answer.
        tool_calls: The function calls in an assistant's message.
        tool_call_id: The call that a tool's message answers.
        name: The function that a tool's message comes from.
    """

    role: Role
    content: str | tuple[Part, ...]
    thoughts: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts."""
        if isinstance(self.content, str):
            return (TextPart(text=self.content),)
        return self.content


Media = Source | str | Path | bytes
"""A file, its bytes, or a source."""


def content_of(
    prompt: str,
    *,
    images: Sequence[Media] = (),
    audio: Sequence[Media] = (),
    videos: Sequence[Media] = (),
) -> tuple[Part, ...]:
    """The parts of a user message in the model card's order: images, videos, text, audio."""
    return (
        *(ImagePart(source=Source.of(item)) for item in images),
        *(VideoPart(source=Source.of(item)) for item in videos),
        TextPart(text=prompt),
        *(AudioPart(source=Source.of(item)) for item in audio),
    )


def sources_of(parts: Sequence[Part]) -> list[Source]:
    """The sources of the media among ``parts``."""
    media = [part for part in parts if not isinstance(part, TextPart)]
    clips = [part for part in media if isinstance(part, VideoPart)]
    whole = [part.source for part in media if part.source is not None]
    return [*whole, *(frame for clip in clips for frame in clip.frames)]
