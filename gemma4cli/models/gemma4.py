"""A Gemma 4 network: language model, towers and projections.

Encodes media to soft tokens, and embeds ids and soft tokens as inputs of the language model, which
callers run themselves.
Attribute names equal the checkpoint's keys in MLX's layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import accumulate
from operator import or_

import mlx.core as mx
import mlx.nn as nn

from .audio_tower import AudioTower, token_count
from .config import Gemma4Config
from .language import LanguageModel
from .layers import MultimodalEmbedder
from .shares import Share
from .tower_config import AudioConfig, UnifiedVisionConfig, VisionConfig
from .unified_vision import UnifiedVisionEmbedder
from .vision_tower import VisionTower


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SoftTokens:
    """Soft tokens ``[n, D]`` and the position of the first one in the prompt."""

    start: int
    values: mx.array

    @property
    def end(self) -> int:
        return self.start + self.values.shape[0]


@partial(mx.compile, shapeless=True)
def _replaced(ids: mx.array, by: int, replaced: tuple[int, ...]) -> mx.array:
    found = reduce(or_, (ids == each for each in replaced))
    return mx.where(found, by, ids)


class Gemma4(nn.Module):
    """Starts with random weights of the config's shapes, lazy until they are first used.

    With a ``share``, those of one process's part of the language model.
    """

    def __init__(self, config: Gemma4Config, share: Share | None = None) -> None:
        super().__init__()
        self.config = config
        text, vision, audio = config.text, config.vision, config.audio
        self.language_model = LanguageModel(text, share)
        if isinstance(vision, VisionConfig):
            self.vision_tower = VisionTower(vision)
            self.embed_vision = MultimodalEmbedder(
                vision.hidden_size, text.hidden_size, vision.rms_norm_eps
            )
        elif isinstance(vision, UnifiedVisionConfig):
            self.vision_embedder = UnifiedVisionEmbedder(vision)
            self.embed_vision = MultimodalEmbedder(
                vision.output_dims, text.hidden_size, vision.rms_norm_eps
            )
        if isinstance(audio, AudioConfig):
            self.audio_tower = AudioTower(audio)
        if audio is not None:
            width = audio.output_dims if isinstance(audio, AudioConfig) else audio.embed_dim
            self.embed_audio = MultimodalEmbedder(width, text.hidden_size, audio.rms_norm_eps)

    def encode_images(self, patches: mx.array, grid: tuple[int, int]) -> mx.array:
        """Soft tokens ``[B, n, D]`` of images that share one grid.

        ``patches`` ``[B, rows*columns, P*P*3]`` in [0, 1], raster order; ``grid`` (rows, columns).
        """
        encoder = self.vision_embedder if self.config.unified else self.vision_tower
        return self.embed_vision(encoder(patches, grid))

    def encode_audio(self, features: mx.array) -> mx.array:
        """Soft tokens ``[n, D]`` of one clip: log-mel ``[T, F]``, or raw frames ``[n, 640]``."""
        if self.config.unified:
            dtype = self.language_model.model.norm.weight.dtype
            return self.embed_audio(features.astype(dtype))
        return self.embed_audio(self.audio_tower(features[None]))[0]

    def encode_clips(self, clips: Sequence[mx.array]) -> list[mx.array]:
        """``encode_audio`` of several clips, computed together."""
        if len(clips) == 1:
            return [self.encode_audio(clips[0])]
        lengths = [len(clip) for clip in clips]
        if self.config.unified:
            ends = list(accumulate(lengths))[:-1]
            return list(mx.split(self.encode_audio(mx.concatenate(list(clips))), ends))
        longest = max(lengths)
        padded = [mx.pad(clip, [(0, longest - len(clip)), (0, 0)]) for clip in clips]
        rows = self.embed_audio(self.audio_tower(mx.stack(padded), lengths))
        return [row[: token_count(n)] for row, n in zip(rows, lengths, strict=True)]

    def embed(
        self, ids: Sequence[int] | mx.array, soft_tokens: Sequence[SoftTokens] = (), start: int = 0
    ) -> tuple[mx.array, mx.array | None]:
        """Embeddings ``[1, L, D]`` and per-layer inputs of ``ids``, the first at ``start``.

        Soft tokens replace the embeddings at their positions. Placeholders are looked up as the pad
        token, in prefill and in decoding.
        """
        rows = ids.reshape(1, -1) if isinstance(ids, mx.array) else [ids]
        return self.embed_rows(rows, [soft_tokens], [start])

    def embed_rows(
        self,
        ids: mx.array | Sequence[Sequence[int]],
        soft_tokens: Sequence[Sequence[SoftTokens]] = (),
        starts: Sequence[int] = (),
    ) -> tuple[mx.array, mx.array | None]:
        """``embed`` for the rows of a batch: ids ``[B, L]`` to embeddings ``[B, L, D]``.

        Negative positions of a row are padding. Its embeddings are zeros, which every layer maps to
        zeros.
        """
        text = self.language_model.model
        tokens = self._looked_up(ids)
        embeddings = text.embed(tokens)
        length = tokens.shape[1]
        if any(soft_tokens) or any(start < 0 for start in starts):
            embeddings = mx.array(embeddings)  # what the text model gave stays as it is
        for row, (items, start) in enumerate(zip(soft_tokens, starts, strict=True)):
            if start < 0:
                embeddings[row, :-start] = 0
            for item in items:
                first, last = max(item.start, start), min(item.end, start + length)
                if first < last:
                    values = item.values[first - item.start : last - item.start]
                    embeddings[row, first - start : last - start] = values.astype(embeddings.dtype)
        return embeddings, text.per_layer_inputs(tokens, embeddings)

    def _looked_up(self, ids: mx.array | Sequence[Sequence[int]]) -> mx.array:
        """``ids`` with the pad token in place of placeholders, ``[B, L]``."""
        marks, pad = self.config.placeholders, self.config.text.pad_token_id
        kinds = () if marks is None else (marks.image, marks.audio, marks.video)
        if isinstance(ids, mx.array):
            return _replaced(ids, pad, kinds) if kinds else ids
        return mx.array([[pad if each in kinds else each for each in row] for row in ids])
