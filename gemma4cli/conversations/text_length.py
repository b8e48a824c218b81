"""Rejects text that is far too long, without reading all of it as tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ContextLengthError
from ..messages import Message, TextPart

if TYPE_CHECKING:
    from ..engine.model import LoadedModel

_CHUNK = 1 << 15
"""Characters that are encoded at a time."""

_CUT_TOKENS = 64
"""How many tokens more there may be because a text is cut between two chunks."""

_SHORT = 2
"""Characters per token of the context; shorter texts are left to the check of the whole prompt."""


def require_text_fits(model: LoadedModel, message: Message) -> None:
    """Raise ContextLengthError if the text of a message alone is longer than the context.

    At most about as much of it is encoded as the context holds.
    """
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    total, limit = sum(map(len, texts)), model.context_length
    if total <= _SHORT * limit:
        return
    tokens = seen = 0
    for text in texts:
        for at in range(0, len(text), _CHUNK):
            chunk = text[at : at + _CHUNK]
            tokens += max(0, len(model.processor.tokenizer.encode(chunk)) - _CUT_TOKENS)
            seen += len(chunk)
            if tokens > limit:
                raise ContextLengthError(
                    _rounded(tokens * total // seen), limit, "use less text", estimated=True
                )


def _rounded(number: int) -> int:
    """Two digits and zeros."""
    digits = str(number)
    return int(digits[:2].ljust(len(digits), "0"))
