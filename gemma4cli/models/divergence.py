"""How far a network's distributions of next tokens are from those of before."""

from __future__ import annotations

from functools import partial

import mlx.core as mx

from .language import LanguageModel

_LOGIT_ROWS = 128
"""Positions whose logits are in memory at once, twice: the vocabulary is large."""


def summed_divergences(model: LanguageModel, hidden: mx.array, before: mx.array) -> mx.array:
    """The sum of KL(before || now) in nats over positions, by hidden states ``[n, D]`` of both.

    In float32. A gradient, which is that of ``hidden`` alone, computes the logits of some positions
    at a time again, so that no more are ever in memory.
    """
    total = mx.array(0.0)
    for start in range(0, hidden.shape[0], _LOGIT_ROWS):
        end = start + _LOGIT_ROWS
        part = partial(_summed_divergences, model, before[start:end])
        total = total + mx.checkpoint(part)(hidden[start:end])
    return total


def _summed_divergences(model: LanguageModel, before: mx.array, hidden: mx.array) -> mx.array:
    wanted, found = (_log_likelihoods(model, each) for each in (before, hidden))
    wanted = mx.stop_gradient(wanted)
    return (mx.exp(wanted) * (wanted - found)).sum()


def _log_likelihoods(model: LanguageModel, hidden: mx.array) -> mx.array:
    logits = model.logits(hidden[None])[0].astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
