"""Media features to soft tokens, once for each distinct item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mlx.core as mx

from ..errors import NonFiniteError, PlaceholderMismatchError
from ..events import EncodeProgress
from ..models.gemma4 import SoftTokens
from ..processing.inputs import AudioFeatures, ImageFeatures, MediaFeatures, ModelInputs
from .model import LoadedModel

_PATCHES_AT_ONCE = 4096
"""Patches of equal images (video frames, mostly) that go through the tower together."""


def encode_media(
    model: LoadedModel, inputs: ModelInputs
) -> Iterator[EncodeProgress | list[SoftTokens]]:
    """Yield progress, at last the soft tokens, one entry per span, in order.

    What was encoded before is taken from the model's cache. Raises NonFiniteError, and
    PlaceholderMismatchError should a tower give another number of soft tokens than was counted.
    """
    total = len(inputs.features)
    known: dict[str, mx.array] = {}
    for feature in inputs.features:
        kept = model.soft_tokens.get(feature.digest)
        if kept is not None:
            known[feature.digest] = kept
    done = 0
    for batch in _batches([f for f in inputs.features if f.digest not in known]):
        yield EncodeProgress(done=done, total=total)
        for feature, values in zip(batch, _encode(model, batch), strict=True):
            mx.eval(values)
            known[feature.digest] = values
            model.soft_tokens.put(feature.digest, values)
        done += len(batch)
    if total:
        yield EncodeProgress(done=total, total=total)
    result = []
    for span, feature in zip(inputs.spans, inputs.features, strict=True):
        values = known[feature.digest]
        if values.shape[0] != span.end - span.start:
            raise PlaceholderMismatchError(span.kind, span.end - span.start, values.shape[0])
        result.append(SoftTokens(start=span.start, values=values))
    yield result


def _batches(features: Sequence[MediaFeatures]) -> Iterator[list[MediaFeatures]]:
    """Distinct features, neighbours of one grid together."""
    batch: list[MediaFeatures] = []
    for feature in {f.digest: f for f in features}.values():
        if batch and not _fits(batch, feature):
            yield batch
            batch = []
        batch.append(feature)
    if batch:
        yield batch


def _fits(batch: Sequence[MediaFeatures], feature: MediaFeatures) -> bool:
    first = batch[0]
    if not isinstance(first, ImageFeatures) or not isinstance(feature, ImageFeatures):
        return False
    patches = (len(batch) + 1) * len(feature.patches)
    return first.grid == feature.grid and patches <= _PATCHES_AT_ONCE


def _encode(model: LoadedModel, batch: Sequence[MediaFeatures]) -> list[mx.array]:
    """Soft tokens ``[n, D]`` of each item of a batch."""
    first = batch[0]
    if isinstance(first, AudioFeatures):
        values = [model.network.encode_audio(mx.array(first.frames))]
    else:
        patches = mx.stack([mx.array(f.patches) for f in batch if isinstance(f, ImageFeatures)])
        values = list(model.network.encode_images(patches, first.grid))
    finite = mx.all(mx.stack([mx.isfinite(v).all() for v in values]))
    if not finite.item():
        raise NonFiniteError("encoding media")
    return values
