"""Encode media features to soft tokens, each distinct item once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import mlx.core as mx

from ..errors import NonFiniteError, PlaceholderMismatchError
from ..events import EncodeProgress
from ..machine.memory import PATCHES_AT_ONCE
from ..models.gemma4 import SoftTokens
from ..processing.inputs import AudioFeatures, ImageFeatures, MediaFeatures, ModelInputs
from .model import LoadedModel

_CLIP_TOKENS_AT_ONCE = 1500
"""Soft tokens of clips that go through the tower together, padding included: a minute of sound."""


def encode_media(
    model: LoadedModel, inputs: ModelInputs
) -> Iterator[EncodeProgress | list[SoftTokens]]:
    """Yield progress, then the soft tokens: one entry per span, in order.

    Raises the errors of ``encode_features`` and ``arrange_soft_tokens``.
    """
    for step in encode_features(model, inputs.features):
        yield step if isinstance(step, EncodeProgress) else arrange_soft_tokens(inputs, step)


def encode_features(
    model: LoadedModel, features: Sequence[MediaFeatures]
) -> Iterator[EncodeProgress | dict[str, mx.array]]:
    """Yield progress, then the soft tokens ``[n, D]`` of each distinct item by digest.

    Items in the model's cache are not encoded again. Raises NonFiniteError.
    """
    total = len(features)
    known: dict[str, mx.array] = {}
    for feature in features:
        kept = model.soft_tokens.get(feature.digest)
        if kept is not None:
            known[feature.digest] = kept
    done = 0
    for batch in _batches([f for f in features if f.digest not in known]):
        yield EncodeProgress(done=done, total=total)
        for feature, values in zip(batch, _encode(model, batch), strict=True):
            mx.eval(values)
            known[feature.digest] = values
            model.soft_tokens.put(feature.digest, values)
        done += len(batch)
    if total:
        yield EncodeProgress(done=total, total=total)
    yield known


def arrange_soft_tokens(inputs: ModelInputs, known: Mapping[str, mx.array]) -> list[SoftTokens]:
    """The soft tokens of a prompt: one entry per span, in order.

    Raises PlaceholderMismatchError if a tower produced a different number than the prompt has
    placeholders.
    """
    result = []
    for span, feature in zip(inputs.spans, inputs.features, strict=True):
        values = known[feature.digest]
        if values.shape[0] != span.end - span.start:
            raise PlaceholderMismatchError(span.kind, span.end - span.start, values.shape[0])
        result.append(SoftTokens(start=span.start, values=values))
    return result


def _batches(features: Sequence[MediaFeatures]) -> Iterator[list[MediaFeatures]]:
    """Group distinct features: images with the same grid, and clips."""
    waiting = list({f.digest: f for f in features}.values())
    while waiting:
        batch = waiting[:1]
        others: list[MediaFeatures] = []
        for feature in waiting[1:]:
            (batch if _fits(batch, feature) else others).append(feature)
        yield batch
        waiting = others


def _fits(batch: Sequence[MediaFeatures], feature: MediaFeatures) -> bool:
    first, count = batch[0], len(batch) + 1
    if isinstance(first, ImageFeatures) and isinstance(feature, ImageFeatures):
        patches = count * math.prod(feature.grid)
        return first.grid == feature.grid and patches <= PATCHES_AT_ONCE
    if isinstance(first, AudioFeatures) and isinstance(feature, AudioFeatures):
        longest = max(f.soft_tokens for f in (*batch, feature))
        return count * longest <= _CLIP_TOKENS_AT_ONCE
    return False


def _encode(model: LoadedModel, batch: Sequence[MediaFeatures]) -> list[mx.array]:
    """Soft tokens ``[n, D]`` of each item in a batch."""
    first = batch[0]
    if isinstance(first, AudioFeatures):
        model.unread.read(model.network, "audio")
        clips = [mx.array(f.frames) for f in batch if isinstance(f, AudioFeatures)]
        values = model.network.encode_clips(clips)
    else:
        model.unread.read(model.network, "vision")
        patches = mx.stack([mx.array(f.patches()) for f in batch if isinstance(f, ImageFeatures)])
        values = list(model.network.encode_images(patches, first.grid))
    finite = mx.all(mx.stack([mx.isfinite(v).all() for v in values]))
    if not finite.item():
        raise NonFiniteError("encoding media")
    return values
