"""One process's part of a checkpoint, decided from headers before anything is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx

from ..errors import CheckpointError, UnsupportedModelError
from ..hub.resolved import ResolvedModel
from ..hub.safetensors_headers import stored_tensors, weight_files
from ..models.config import Gemma4Config
from ..models.names import canonical_names
from ..models.sharded_text import Group
from ..models.shares import Piece, Share, shares_of
from .checkpoint import Checkpoint
from .part_reading import read_parts


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Division:
    """The ``share`` of this process in ``group``; what it reads, by names in the files.

    ``names`` are the canonical ones; for ``padding`` see ``Share``.
    """

    group: Group
    share: Share
    pieces: Mapping[str, Piece]
    names: Mapping[str, str]
    padding: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, model: ResolvedModel, group: Group) -> Division:
        """Raises UnsupportedModelError for a model that has too few columns to divide."""
        names = canonical_names(model.headers)
        sizes = {
            canonical: (model.headers[name].shape, model.headers[name].size())
            for name, canonical in names.items()
        }
        shapes = {name: shape for name, (shape, _) in sizes.items()}
        text = Gemma4Config.from_dict(model.config).text
        try:
            share = shares_of(text, sizes, group.size)[group.rank]
            pieces = share.pieces(shapes)
        except ValueError as exc:
            raise UnsupportedModelError(
                f"{model.name} in {group.size} processes", f"{exc}: use fewer"
            ) from exc
        return cls(
            group=group,
            share=share,
            pieces={name: pieces[each] for name, each in names.items() if each in pieces},
            names=names,
            padding=share.padding(shapes),
        )

    def weights(self, checkpoint: Checkpoint, *, mapped: bool) -> dict[str, mx.array]:
        """This process's part of the tensors, by canonical names; ``mapped`` as in ``Checkpoint``.

        Raises CheckpointError.
        """
        found = read_parts(checkpoint.folder, self.pieces, mapped=mapped)
        return {self.names[name]: value for name, value in found.items()}


_SAMPLE = 64
"""Bytes of a tensor that are compared between machines."""


def fingerprint(model: ResolvedModel) -> str:
    """What must be the same of a model on all machines.

    Its config, its tensors' shapes, and some bytes in the middle of each tensor: another revision
    has other numbers there. Raises CheckpointError.
    """
    tensors = {name: [each.dtype, list(each.shape)] for name, each in model.headers.items()}
    content = json.dumps([model.config, tensors], sort_keys=True, default=str)
    found = hashlib.sha256(content.encode())
    samples: dict[str, bytes] = {}
    for path in weight_files(model.folder):
        try:
            with path.open("rb") as file:
                for name, (first, last) in stored_tensors(path).items():
                    middle = (first + last) // 2
                    file.seek(middle)
                    samples[name] = file.read(min(_SAMPLE, last - middle))
        except OSError as exc:
            raise CheckpointError(path.name, f"cannot be read ({exc.strerror or exc})") from exc
    for name in sorted(samples):
        found.update(samples[name])
    return found.hexdigest()
