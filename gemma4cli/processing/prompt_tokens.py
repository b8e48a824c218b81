"""The intermediate form of a prompt: text, control tokens and media, not yet token ids.

Text and control tokens are different things here, so text can never turn into a control token.
Knows no tokenizer and no conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..messages import MediaKind


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text, encoded as such."""

    text: str


@dataclass(frozen=True, slots=True)
class Control:
    """One control token, by its name in the vocabulary."""

    name: str


@dataclass(frozen=True, slots=True)
class Media:
    """The place of media item number ``item``, counted over the whole conversation."""

    kind: MediaKind
    item: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Placeholders:
    """``count`` placeholders in a row: one image, one video frame or one audio clip."""

    kind: MediaKind
    count: int
    item: int
    frame: int | None = None


Piece = Text | Control | Media
"""What the template makes of a conversation."""

Expanded = Text | Control | Placeholders
"""The same once the number of soft tokens is known."""


def merged(pieces: Iterable[Expanded]) -> Iterator[Expanded]:
    """Pieces with neighbouring texts joined and empty texts dropped.

        Text("A") Text("00:00 ") Control("<|image>")  ->  Text("A00:00 ") Control("<|image>")

    The reference tokenises the whole rendered string, which only control tokens cut; so every
    stretch of text between two of them has to be encoded as one.
    """
    texts: list[str] = []
    for piece in pieces:
        if isinstance(piece, Text):
            texts.append(piece.text)
            continue
        if joined := "".join(texts):
            yield Text(joined)
        texts.clear()
        yield piece
    if joined := "".join(texts):
        yield Text(joined)
