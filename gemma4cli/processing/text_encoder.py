"""What prompts need of a tokenizer, wherever that is; the tokenizers library is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class TextEncoder(Protocol):
    """Text to token ids, and control tokens by name."""

    @property
    def source(self) -> str:
        """Its name in errors, usually the file."""

    def encode(self, text: str) -> list[int]:
        """The ids of plain text, never those of control tokens."""

    def encode_each(self, texts: Sequence[str]) -> list[list[int]]:
        """``encode`` for several texts at once."""

    def has_control(self, name: str) -> bool:
        """Whether the vocabulary has this control token."""

    def control_id(self, name: str) -> int:
        """The id of a control token, "<|turn>" for example. Raises CheckpointError."""


def well_formed(text: str) -> str:
    """``text`` without lone surrogates, which no tokenizer and no terminal can encode.

    They come from invalid file names and from JSON escapes: the pair "\\ud83d\\ude00" becomes one
    emoji, a lone surrogate becomes U+FFFD.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
