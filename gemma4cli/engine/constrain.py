"""Constrain an answer to a JSON Schema.

At each step only tokens that can still lead to a valid document are allowed. llguidance computes
which.
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
    """The state of a schema's grammar within one answer."""

    def __init__(
        self, schema: str, tokenizer: Tokenizer, *, vocab_size: int, stop_ids: frozenset[int]
    ) -> None:
        """``vocab_size`` is that of the logits. Raises OptionError for an invalid schema."""
        from llguidance import LLMatcher

        # Whitespace carries no meaning, and a model that is allowed any may write it forever.
        try:
            grammar = LLMatcher.grammar_from_json_schema(
                schema, overrides={"whitespace_flexible": False}
            )
        except ValueError as exc:
            raise OptionError(f"the schema is not a JSON object: {_line(exc)}") from exc
        vocabulary = _vocabulary(tokenizer, vocab_size, tuple(sorted(stop_ids)))
        self._matcher = LLMatcher(vocabulary, grammar, log_level=0)
        self._vocab_size = vocab_size
        self._stop_ids = stop_ids
        self._check()

    def allowed_tokens(self) -> mx.array:
        """Which tokens may come next: bool ``[V]``.

        The host computes one bit per token; the device unpacks the bits as part of the caller's
        graph. llguidance.mlx has a kernel for this, but it needs Metal.
        """
        octets = mx.array(np.frombuffer(self._matcher.compute_bitmask(), np.uint8))
        self._check()
        bits = (octets[:, None] >> mx.arange(8, dtype=mx.uint8)) & 1
        return bits.flatten()[: self._vocab_size].astype(mx.bool_)

    def push(self, token: int) -> None:
        """Advance by the chosen token."""
        if token not in self._stop_ids:
            self._matcher.consume_token(token)
            self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise OptionError(f"the schema is not supported: {_line(self._matcher.get_error())}")


@lru_cache(maxsize=2)
def _vocabulary(tokenizer: Tokenizer, vocab_size: int, stop_ids: tuple[int, ...]) -> LLTokenizer:
    """The tokenizer in llguidance's form; cached, as a large vocabulary takes a second to read."""
    from llguidance import LLTokenizer

    return LLTokenizer(
        tokenizer.serialized(),
        n_vocab=vocab_size,
        eos_token=list(stop_ids),
        slices=LLTokenizer.json_slices(),
    )


def _line(problem: object) -> str:
    return " ".join(str(problem).split())
