"""Decode from a filled cache, one token at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mlx.core as mx

from ..errors import NonFiniteError
from ..models.gemma4 import Gemma4
from ..models.language import Cache
from ..models.masks import NO_MASKS
from .constrain import Constraint
from .sampling import Sampler, are_finite


def decode_tokens(
    network: Gemma4,
    cache: Sequence[Cache],
    logits: mx.array,
    sampler: Sampler,
    *,
    bias: mx.array | None = None,
    constraint: Constraint | None = None,
    lookahead: bool,
) -> Iterator[int]:
    """Yield token ids endlessly; ``logits`` ``[V]`` are those of the last prompt position.

    ``bias`` is added to all logits. With ``lookahead`` the device computes the next step while the
    caller handles the current token, which keeps a GPU busy and wastes one step at the end. With a
    ``constraint``, which may replace a token, only the logits are computed ahead: which tokens are
    allowed depends on the current one. Raises NonFiniteError.
    """

    def choose(logits: mx.array) -> tuple[mx.array, mx.array]:
        finite = are_finite(logits)
        if bias is not None:
            logits = logits + bias
        if constraint is not None:
            logits = mx.where(constraint.allowed_tokens(), logits, -mx.inf)
        token = sampler(logits)
        mx.async_eval(token, finite)
        return token, finite

    def advance(token: mx.array) -> mx.array:
        logits = network(*network.embed(token), cache, NO_MASKS)[0, -1]
        if constraint is not None:
            # The device computes while the host determines the allowed tokens.
            mx.async_eval(logits)
        return logits

    token, finite = choose(logits)
    while True:
        if constraint is not None and finite.item():
            token = mx.array(constraint.push(int(token)), token.dtype)
        ahead = None
        if lookahead:
            logits = advance(token)
            ahead = choose(logits) if constraint is None else None
        if not finite.item():
            raise NonFiniteError("decoding")
        yield int(token)
        if not lookahead:
            logits = advance(token)
        token, finite = ahead or choose(logits)
