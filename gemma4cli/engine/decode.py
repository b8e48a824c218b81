"""Token by token from a filled cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mlx.core as mx

from ..errors import NonFiniteError
from ..models.gemma4 import Gemma4
from ..models.language import Cache
from ..models.masks import Masks
from .constrain import Constraint
from .sampling import Sampler

_NO_MASKS = Masks(full=None, sliding=None)


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
    """Yield token ids without end; ``logits`` ``[V]`` are those of the last prompt position.

    ``bias`` is added to all logits. With ``lookahead`` the next step is computed while the caller
    handles this one's token: right for a GPU, at the price of one step too many at the end. Of a
    ``constraint`` the step's logits are computed ahead, but its token is not: that takes knowing
    the one before. Raises NonFiniteError.
    """

    def choose(logits: mx.array) -> tuple[mx.array, mx.array]:
        # A single NaN or infinity makes the sum so.
        finite = mx.isfinite(logits.sum())
        if bias is not None:
            logits = logits + bias
        if constraint is not None:
            logits = mx.where(constraint.open_tokens(), logits, -mx.inf)
        token = sampler(logits)
        mx.async_eval(token, finite)
        return token, finite

    def advance(token: mx.array) -> mx.array:
        logits = network(*network.embed(token), cache, _NO_MASKS)[0, -1]
        if constraint is not None:
            # The device has work while the host looks for the open tokens.
            mx.async_eval(logits)
        return logits

    token, finite = choose(logits)
    while True:
        ahead = None
        if lookahead:
            logits = advance(token)
            ahead = choose(logits) if constraint is None else None
        if not finite.item():
            raise NonFiniteError("decoding")
        chosen = int(token)
        if constraint is not None:
            constraint.push(chosen)
        yield chosen
        if not lookahead:
            logits = advance(token)
        token, finite = ahead or choose(logits)
