"""The parts of a prompt before tokenization: text, control tokens and media.

Text and control tokens have different types, so text cannot turn into a control token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..messages import MediaKind


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text; control tokens that are spelled out in it stay text."""

    text: str


@dataclass(frozen=True, slots=True)
class Control:
    """One control token, by its name in the vocabulary."""

    name: str


@dataclass(frozen=True, slots=True)
class Media:
    """Media item ``item``, counted over the whole conversation."""

    kind: MediaKind
    item: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Placeholders:
    """``count`` placeholders in a row: one image, one video frame or one audio clip."""

    kind: MediaKind
    count: int
    item: int
    frame: int | None = None


PromptPart = Text | Control | Media
"""What the template yields."""

ExpandedPart = Text | Control | Placeholders
"""The same with media expanded to their placeholders."""


def merged(parts: Iterable[ExpandedPart]) -> Iterator[ExpandedPart]:
    """Parts with adjacent texts joined and empty texts dropped.

        Text("A") Text("00:00 ") Control("<|image>")  ->  Text("A00:00 ") Control("<|image>")

    The reference tokenizes the whole rendered string, which only control tokens split; so all text
    between two of them must be encoded at once.
    """
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            texts.append(part.text)
            continue
        if joined := "".join(texts):
            yield Text(joined)
        texts.clear()
        yield part
    if joined := "".join(texts):
        yield Text(joined)
