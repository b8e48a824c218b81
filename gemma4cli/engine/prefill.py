"""Prefill the prompt into the cache, in chunks that never split an image block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import mlx.core as mx

from ..events import PrefillProgress
from ..models.gemma4 import Gemma4, SoftTokens
from ..models.language import Cache
from ..models.masks import Masks, make_masks
from ..processing.inputs import ModelInputs
from ..processing.prompt import MediaSpan
from .cache_room import make_room
from .freed_buffers import release_buffers
from .model import LoadedModel


def chunk_ends(length: int, step: int, spans: Sequence[MediaSpan]) -> list[int]:
    """The end positions of chunks of up to ``step`` tokens; the last one is ``length``.

    The last token is a separate chunk, because only its logits are read. A chunk that would end
    inside an image ends before the image instead, or after it if the chunk starts with the image.

        length 10, step 4, image [2, 7)   ->   [2, 7, 9, 10]
    """
    images = [span for span in spans if span.kind != "audio"]
    ends: list[int] = []
    start = 0
    while start < length:
        end = min(start + step, length if start >= length - 1 else length - 1)
        for span in images:
            if span.start < end < span.end:
                end = span.start if span.start > start else span.end
        ends.append(end)
        start = end
    return ends


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prefill:
    """The prefill of one prompt.

    The first ``start`` tokens are in the cache already; ``soft_tokens`` holds no images from that
    part. The last chunk starts at ``tail``, by default the last token; chunks end at ``stops``
    before it too. ``blocks_on_full_layers``: see ``make_masks``.
    """

    network: Gemma4
    ids: Sequence[int]
    spans: Sequence[MediaSpan]
    soft_tokens: Sequence[SoftTokens]
    step: int
    blocks_on_full_layers: bool = False
    start: int = 0
    tail: int | None = None
    stops: Sequence[int] = ()

    def run(self, cache: Sequence[Cache]) -> Iterator[PrefillProgress | mx.array]:
        """Fill ``cache``; yield progress, then the last position's hidden state ``[1, 1, D]``.

        The cache holds whole chunks whenever progress is reported.
        """
        total = len(self.ids) - self.start
        make_room(cache, total)
        for start, end in self._chunks():
            yield PrefillProgress(done=start - self.start, total=total)
            hidden = self._compute(start, end, cache)
        yield PrefillProgress(done=total, total=total)
        assert hidden is not None
        yield hidden

    def run_chunk(self, cache: Sequence[Cache]) -> tuple[int, mx.array | None]:
        """Compute the first chunk after ``start``; returns its end.

        Also the last position's hidden state ``[1, 1, D]``, if it ends the prompt.
        """
        start, end = next(self._chunks())
        return end, self._compute(start, end, cache)

    def _compute(self, start: int, end: int, cache: Sequence[Cache]) -> mx.array | None:
        text = self.network.language_model.model
        inputs = self.network.embed(self.ids[start:end], self.soft_tokens, start)
        masks = self._masks(start, end)
        if end == len(self.ids):
            return text(*inputs, cache, masks)[:, -1:]
        text.fill(*inputs, cache, masks)
        mx.eval([layer.state for layer in cache])
        # Free the chunk's buffers: later chunks have different sizes.
        release_buffers()
        return None

    def all_logits(self, cache: Sequence[Cache]) -> mx.array:
        """Fill ``cache``; return the logits ``[S, V]`` of all positions from ``start`` on."""
        text = self.network.language_model
        rows: list[mx.array] = []
        for start, end in self._chunks():
            inputs = self.network.embed(self.ids[start:end], self.soft_tokens, start)
            hidden = text.model(*inputs, cache, self._masks(start, end))
            rows.append(text.logits(hidden)[0])
            mx.eval(rows[-1])
        return mx.concatenate(rows)

    def _chunks(self) -> Iterator[tuple[int, int]]:
        """Start and end of each chunk, half open."""
        start, length = self.start, len(self.ids)
        tail = length - 1 if self.tail is None else max(self.tail, start)
        uncached = [
            replace(span, start=span.start - start, end=span.end - start)
            for span in self.spans
            if span.end > start
        ]
        ends = chunk_ends(tail + 1 - start, self.step, uncached)[:-1]
        stops = {stop for stop in self.stops if start < stop < tail}
        return pairwise([start, *sorted({start + end for end in ends} | stops), length])

    def _masks(self, start: int, end: int) -> Masks:
        text = self.network.config.text
        return make_masks(
            length=end - start,
            offset=start,
            window=text.sliding_window,
            blocks=self._blocks(start, end) if text.vision_blocks else None,
            blocks_on_full_layers=self.blocks_on_full_layers,
        )

    def _blocks(self, start: int, end: int) -> list[int]:
        """The image block of each position in [start, end), or -1.

        Each image and each video frame is one block; markers separate neighboring blocks.
        """
        blocks = [-1] * (end - start)
        for number, span in enumerate(self.spans):
            if span.kind != "audio" and start <= span.start < end:
                blocks[span.start - start : span.end - start] = [number] * (span.end - span.start)
        return blocks


def make_prefill(
    model: LoadedModel,
    inputs: ModelInputs,
    soft_tokens: list[SoftTokens],
    step: int,
    *,
    start: int = 0,
    tail: int | None = None,
) -> Prefill:
    """The prefill of one prompt with the model's masks; ``start``, ``tail``: see Prefill."""
    return Prefill(
        network=model.network,
        ids=inputs.ids,
        spans=inputs.spans,
        soft_tokens=soft_tokens,
        step=step,
        blocks_on_full_layers=model.blocks_on_full_layers,
        start=start,
        tail=tail,
    )


def uncached_media(inputs: ModelInputs, start: int) -> ModelInputs:
    """Inputs without the media that end before position ``start``."""
    pairs = zip(inputs.spans, inputs.features, strict=True)
    kept = [(span, feature) for span, feature in pairs if span.end > start]
    return replace(
        inputs,
        spans=tuple(span for span, _ in kept),
        features=tuple(feature for _, feature in kept),
    )
