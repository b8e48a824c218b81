"""Soft tokens of the examples' media: computed once and kept on disk, or computed in each step.

They depend on the towers, so they are kept where those are not tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from ..engine.encode import encode_features
from ..engine.local import LocalModel
from ..models.gemma4 import Gemma4, SoftTokens
from ..processing.inputs import AudioFeatures, MediaFeatures
from .adapter_files import load_tensors, save_tensors
from .examples import Example

_VALUES = "values"
_AT_ONCE = 32
"""Media that wait for each other, so that those of one size are encoded together."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MediaStore:
    """What fills placeholders, by the digests of media.

    With ``in_step``, features are kept and the network's towers compute soft tokens, with
    gradients. Otherwise those are in ``folder``, a file for each, and the newest in memory too.
    """

    model: LocalModel
    folder: Path
    in_step: bool
    features: dict[str, MediaFeatures] = field(default_factory=dict)
    _waiting: list[MediaFeatures] = field(default_factory=list)

    def add(self, features: Sequence[MediaFeatures]) -> None:
        """Keep media; those that an earlier run encoded are known.

        Some are encoded together, the last ones by ``complete``. Raises OSError.
        """
        if self.in_step:
            self.features.update({each.digest: each for each in features})
            return
        new = [each for each in features if not self._file(each.digest).exists()]
        self._waiting.extend(new)
        if len(self._waiting) >= _AT_ONCE:
            self.complete()

    def complete(self) -> None:
        """Encode what waits. Raises OSError."""
        if not self._waiting:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for step in encode_features(self.model, self._waiting):
            if isinstance(step, dict):
                for digest, values in step.items():
                    save_tensors(self._file(digest), {_VALUES: values}, {})
        self._waiting.clear()

    def fill(self, network: Gemma4, examples: Sequence[Example]) -> list[list[SoftTokens]]:
        """The soft tokens of each example, computed by ``network`` if they are not kept."""
        known: dict[str, mx.array] = {}
        return [
            [
                SoftTokens(start=span.start, values=self._values(network, digest, known))
                for span, digest in zip(each.spans, each.digests, strict=True)
            ]
            for each in examples
        ]

    def _values(self, network: Gemma4, digest: str, known: dict[str, mx.array]) -> mx.array:
        if digest in known:
            return known[digest]
        if self.in_step:
            values = _encoded(network, self.features[digest])
        else:
            kept = self.model.soft_tokens.get(digest)
            values = load_tensors(self._file(digest))[0][_VALUES] if kept is None else kept
            self.model.soft_tokens.put(digest, values)
        known[digest] = values
        return values

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest}.safetensors"


def _encoded(network: Gemma4, feature: MediaFeatures) -> mx.array:
    if isinstance(feature, AudioFeatures):
        return network.encode_audio(mx.array(feature.frames))
    patches = mx.array(feature.patches())
    return network.encode_images(patches[None], feature.grid)[0]
