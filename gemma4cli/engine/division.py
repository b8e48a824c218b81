"""One process's part of a checkpoint, decided from headers before anything is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx

from ..errors import UnsupportedModelError
from ..hub.resolved import ResolvedModel
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

    def weights(self, checkpoint: Checkpoint) -> dict[str, mx.array]:
        """This process's part of the tensors, by canonical names. Raises CheckpointError."""
        found = read_parts(checkpoint.folder, self.pieces)
        return {self.names[name]: value for name, value in found.items()}


def fingerprint(model: ResolvedModel) -> str:
    """What must be the same of a model on all machines: its config and its tensors' shapes."""
    tensors = {name: [each.dtype, list(each.shape)] for name, each in model.headers.items()}
    content = json.dumps([model.config, tensors], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()
