"""Answers that fit a JSON Schema, whatever the model would like to say.

At each step only tokens are open that can still lead to a valid document; llguidance knows which.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from ..errors import OptionError
from ..processing.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLTokenizer


class Constraint:
    """A schema on its way through one answer."""

    def __init__(
        self, schema: str, tokenizer: Tokenizer, *, vocab_size: int, stop_ids: frozenset[int]
    ) -> None:
        """``vocab_size`` is that of the logits. Raises OptionError for what is no JSON Schema."""
        from llguidance import LLMatcher

        # White space has no meaning, and a model that may write some might not stop.
        try:
            grammar = LLMatcher.grammar_from_json_schema(
                schema, overrides={"whitespace_flexible": False}
            )
        except ValueError as exc:
            raise OptionError(f"the schema is no JSON object: {_line(exc)}") from exc
        vocabulary = _vocabulary(tokenizer, vocab_size, tuple(sorted(stop_ids)))
        self._matcher = LLMatcher(vocabulary, grammar, log_level=0)
        self._vocab_size = vocab_size
        self._stop_ids = stop_ids
        self._check()

    def open_tokens(self) -> mx.array:
        """Which tokens may come next: bool ``[V]``.

        The host finds them, one bit a token; the bits are unpacked on the device, in the graph of
        what asks for them. llguidance.mlx has a kernel for that, which needs Metal.
        """
        octets = mx.array(np.frombuffer(self._matcher.compute_bitmask(), np.uint8))
        self._check()
        bits = (octets[:, None] >> mx.arange(8, dtype=mx.uint8)) & 1
        return bits.flatten()[: self._vocab_size].astype(mx.bool_)

    def push(self, token: int) -> None:
        """Take note of the token that was chosen."""
        if token not in self._stop_ids:
            self._matcher.consume_token(token)
            self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise OptionError(f"the schema cannot be followed: {_line(self._matcher.get_error())}")


@lru_cache(maxsize=2)
def _vocabulary(tokenizer: Tokenizer, vocab_size: int, stop_ids: tuple[int, ...]) -> LLTokenizer:
    """The tokens' bytes, as llguidance wants them; reading a large vocabulary takes a second."""
    from llguidance import LLTokenizer

    return LLTokenizer(
        tokenizer.serialized(),
        n_vocab=vocab_size,
        eos_token=list(stop_ids),
        slices=LLTokenizer.json_slices(),
    )


def _line(problem: object) -> str:
    return " ".join(str(problem).split())
