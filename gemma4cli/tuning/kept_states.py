"""The model's hidden states before tuning, where it is to stay as it is; computed once, on disk.

The head is not tuned, so its distributions of next tokens follow from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from .adapter_files import load_tensors, save_tensors
from .examples import Example, fingerprint

_STATES = "states"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptStates:
    """A file in ``folder`` for each example."""

    folder: Path

    def has(self, example: Example) -> bool:
        return self._file(example).exists()

    def add(self, examples: Sequence[Example], states: mx.array) -> None:
        """Keep states ``[n, D]``, those of all examples one after the other. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = 0
        for each in examples:
            part = states[at : at + each.targets]
            save_tensors(self._file(each), {_STATES: mx.contiguous(part)}, {})
            at += each.targets

    def of(self, examples: Sequence[Example]) -> mx.array:
        """The states ``[n, D]`` of all examples, one after the other."""
        return mx.concatenate([load_tensors(self._file(each))[0][_STATES] for each in examples])

    def _file(self, example: Example) -> Path:
        return self.folder / f"{fingerprint([example])}.safetensors"
