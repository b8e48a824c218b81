"""How likely the tokens of an answer were, for those who ask."""

from __future__ import annotations

from collections import deque
from typing import cast

import mlx.core as mx

from ..events import TokenLogprob
from ..options import GenerateOptions
from .sampling import likeliest

_LEAST = -9999.0
"""OpenAI's value for what is all but impossible; -inf is not JSON."""


class SeenLogits:
    """Logits from which tokens are chosen, kept until each token is known."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen: deque[mx.array] = deque()

    @classmethod
    def of(cls, options: GenerateOptions) -> SeenLogits | None:
        """None if nobody asks."""
        return None if options.logprobs is None else cls(options.logprobs)

    def add(self, logits: mx.array) -> None:
        """Keep logits ``[V]``, before a schema excludes any."""
        self._seen.append(logits)

    def take(self, token: int) -> TokenLogprob:
        """How likely the next token was, which turned out to be this one."""
        return token_logprob(self._seen.popleft(), token, self._count)


def token_logprob(logits: mx.array, token: int, count: int) -> TokenLogprob:
    """How likely a token was by logits ``[V]``, and the ``count`` likeliest ones."""
    wide = logits.astype(mx.float32)
    total = mx.logsumexp(wide)
    values, ids = likeliest(wide, 1.0, min(count, wide.size)) if count else (wide[:0], wide[:0])
    own = wide[token] - total
    values = values - total
    mx.eval(own, values, ids)
    pairs = zip(cast("list[float]", values.tolist()), cast("list[int]", ids.tolist()), strict=True)
    ordered = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
    return TokenLogprob(
        token=token,
        logprob=_finite(cast(float, own.item())),
        likeliest=tuple(
            TokenLogprob(token=each, logprob=_finite(value)) for value, each in ordered
        ),
    )


def _finite(logprob: float) -> float:
    return max(min(logprob, 0.0), _LEAST)
