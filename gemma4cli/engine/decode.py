"""Decode from a filled cache, one token at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import mlx.core as mx

from ..errors import NonFiniteError
from ..models.gemma4 import Gemma4
from ..models.language import Cache
from ..models.masks import NO_MASKS, Masks
from .cache_room import make_room
from .constrain import Constraint
from .freed_buffers import release_buffers
from .logprobs import SeenLogits
from .sampling import Sampler, are_finite, step_is_finite

STEPS_UNTIL_CLEARED = 256
"""After so many steps, freed buffers go back to the device: arrays of a longer cache do not fit."""


def decode_tokens(
    network: Gemma4,
    cache: Sequence[Cache],
    logits: mx.array,
    sampler: Sampler,
    *,
    bias: mx.array | None = None,
    constraint: Constraint | None = None,
    lookahead: bool,
    seen: SeenLogits | None = None,
) -> Iterator[int]:
    """Yield token ids endlessly; ``logits`` ``[V]`` are those of the last prompt position.

    ``bias`` is added to all logits. With ``lookahead`` the device computes the next step while the
    caller handles the current token, which keeps a GPU busy and wastes one step at the end. With a
    ``constraint``, which may replace a token, only the logits are computed ahead: which tokens are
    allowed depends on the current one. ``seen`` gets the logits of each token. Raises
    NonFiniteError.
    """

    def choose(logits: mx.array, finite: mx.array) -> tuple[mx.array, mx.array]:
        if seen is not None:
            seen.add(logits)
        if constraint is not None:
            logits = only(constraint.allowed().mask(), logits)
        token = sampler(logits)
        mx.async_eval(token, finite)
        return token, finite

    def advance(token: mx.array) -> tuple[mx.array, mx.array]:
        make_room(cache, 1)
        _, logits, finite = run_tokens(network, cache, token, bias)
        logits = logits[0, -1]
        if constraint is not None:
            # The device computes while the host determines the allowed tokens.
            mx.async_eval(logits)
        return logits, finite

    token, finite = choose(logits if bias is None else logits + bias, are_finite(logits))
    for number in count():
        if constraint is not None and finite.item():
            token = mx.array(constraint.push(int(token)), token.dtype)
        ahead = None
        if lookahead:
            following = advance(token)
            ahead = choose(*following) if constraint is None else None
        if not finite.item():
            raise NonFiniteError("decoding")
        yield int(token)
        if number % STEPS_UNTIL_CLEARED == 0:
            release_buffers()
        if not lookahead:
            following = advance(token)
        token, finite = ahead or choose(*following)


def only(allowed: mx.array, logits: mx.array) -> mx.array:
    """``logits`` ``[..., V]`` of the ``allowed`` tokens, and -inf for all others."""
    return mx.where(allowed, logits, -mx.inf)


def run_tokens(
    network: Gemma4,
    cache: Sequence[Cache],
    tokens: mx.array,
    bias: mx.array | None,
    masks: Masks = NO_MASKS,
) -> tuple[mx.array, mx.array, mx.array]:
    """Run ``L`` tokens of an answer; ``masks`` are for more than one.

    Returns the normalized hidden states ``[1, L, D]``, the logits ``[1, L, V]`` after each token,
    plus ``bias``, and whether the numbers of each are finite, ``[1, L]``.
    """
    text = network.language_model
    hidden = text.model(*network.embed(tokens), cache, masks)
    logits = text.logits(hidden, bias)
    return hidden, logits, step_is_finite(hidden, logits)
