"""A loaded model: network, processor, and how it is meant to generate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..errors import CheckpointError
from ..models.gemma4 import Gemma4
from ..models.weights import Quantization
from ..options import LoadOptions
from ..processing.processor import Processor

_KEPT_BYTES = 256 * 1024**2


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationConfig:
    """generation_config.json: stop ids, ids never to generate, and sampling.

    Where the file has no sampling values its model is greedy.
    """

    stop_ids: frozenset[int]
    suppressed_ids: tuple[int, ...]
    temperature: float
    top_p: float
    top_k: int

    @classmethod
    def from_dict(
        cls, generation: Mapping[str, Any] | None, config: Mapping[str, Any]
    ) -> GenerationConfig:
        """The file's content, or None for a checkpoint without one; then config.json's stop ids.

        Released checkpoints list more stop ids here than in config.json.
        """
        source = config if generation is None else generation
        stop = _or_default(source.get("eos_token_id"), config.get("eos_token_id"))
        stop_ids = [stop] if isinstance(stop, int) else stop
        if not stop_ids or not all(isinstance(i, int) for i in stop_ids):
            raise CheckpointError("generation_config.json", "names no 'eos_token_id' to stop at")
        sampled = bool(source.get("do_sample"))
        return cls(
            stop_ids=frozenset(stop_ids),
            suppressed_ids=tuple(source.get("suppress_tokens") or ()),
            temperature=float(_or_default(source.get("temperature"), 1.0)) if sampled else 0.0,
            top_p=float(_or_default(source.get("top_p"), 1.0)),
            top_k=int(_or_default(source.get("top_k"), 0)),
        )


def _or_default(value: Any, default: Any) -> Any:
    """``value``, or ``default`` where the file has null or nothing."""
    return default if value is None else value


class FeatureCache:
    """Soft tokens by the digest of what they were made from; the oldest leave first.

    ``limit`` is in bytes: a clip of 32 frames takes E2B some 14 MB.
    """

    def __init__(self, limit: int = _KEPT_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._items: OrderedDict[str, mx.array] = OrderedDict()

    def get(self, digest: str) -> mx.array | None:
        if digest in self._items:
            self._items.move_to_end(digest)
        return self._items.get(digest)

    def put(self, digest: str, values: mx.array) -> None:
        if digest in self._items:
            return
        self._items[digest] = values
        self._held += values.nbytes
        while self._held > self._limit:
            _, oldest = self._items.popitem(last=False)
            self._held -= oldest.nbytes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedModel:
    """What ``load`` returns. ``name`` is as the user gave it."""

    name: str
    folder: Path
    options: LoadOptions
    network: Gemma4
    processor: Processor
    generation: GenerationConfig
    quantization: frozenset[Quantization]
    soft_tokens: FeatureCache = field(default_factory=FeatureCache)

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self.network.config.text.max_positions
