"""How likely the tokens of an answer were, for those who ask."""

from __future__ import annotations

from collections import deque
from typing import cast

import mlx.core as mx

from ..events import TokenLogprob
from ..options import GenerateOptions

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
    logprobs = wide - mx.logsumexp(wide)
    return TokenLogprob(
        token=token,
        logprob=_finite(cast(float, logprobs[token].item())),
        likeliest=_likeliest(logprobs, min(count, logprobs.size)) if count else (),
    )


def _likeliest(logprobs: mx.array, count: int) -> tuple[TokenLogprob, ...]:
    ids = mx.argpartition(-logprobs, kth=count - 1)[:count]
    pairs = zip(
        cast("list[float]", logprobs[ids].tolist()), cast("list[int]", ids.tolist()), strict=True
    )
    ordered = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
    return tuple(TokenLogprob(token=each, logprob=_finite(value)) for value, each in ordered)


def _finite(logprob: float) -> float:
    return max(min(logprob, 0.0), _LEAST)
