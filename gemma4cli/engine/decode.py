"""Token by token from a filled cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mlx.core as mx

from ..errors import NonFiniteError
from ..models.gemma4 import Gemma4
from ..models.language import Cache
from ..models.masks import Masks
from .sampling import Sampler

_NO_MASKS = Masks(full=None, sliding=None)


def decode_tokens(
    network: Gemma4,
    cache: Sequence[Cache],
    logits: mx.array,
    sampler: Sampler,
    *,
    bias: mx.array | None = None,
    lookahead: bool,
) -> Iterator[int]:
    """Yield token ids without end; ``logits`` ``[V]`` are those of the last prompt position.

    ``bias`` is added to all logits. With ``lookahead`` the next step is computed while the caller
    handles this one's token: right for a GPU, at the price of one step too many at the end.
    Raises NonFiniteError.
    """

    def choose(logits: mx.array) -> tuple[mx.array, mx.array]:
        # A single NaN or infinity makes the sum so.
        finite = mx.isfinite(logits.sum())
        token = sampler(logits if bias is None else logits + bias)
        mx.async_eval(token, finite)
        return token, finite

    def advance(token: mx.array) -> mx.array:
        return network(*network.embed(token), cache, _NO_MASKS)[0, -1]

    token, finite = choose(logits)
    while True:
        ahead = choose(advance(token)) if lookahead else None
        if not finite.item():
            raise NonFiniteError("decoding")
        yield int(token.item())
        token, finite = ahead or choose(advance(token))
