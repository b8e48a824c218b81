"""How much memory a model of this machine needs on it."""

from __future__ import annotations

import os
from dataclasses import replace

from ..distributed.launch import processes
from ..errors import CheckpointError
from ..machine.device import float_size, numerics
from ..machine.memory import Weights, Work, footprint
from ..models.config import Gemma4Config
from ..models.names import canonical_names
from ..models.shares import bytes_by_name, shares_of
from ..options import DType
from .resolved import ResolvedModel
from .safetensors_headers import weights_of


def needs_of(model: ResolvedModel, work: Work, dtype: DType = "auto") -> int:
    """Bytes of memory that ``work`` takes with a model computed in ``dtype``.

    Of several processes, those of the one that needs most. Raises LoadError.
    """
    config = Gemma4Config.from_dict(model.config)
    computed = numerics(dtype)
    count = processes(os.environ)
    try:
        # Of several processes, each has it whole while it takes its part.
        added = 0 if model.adapter is None else model.adapter.size(float_size(dtype))
        if count > 1:
            return _needs_of_parts(model, config, work, dtype, count) + added
        weights = weights_of(model.headers, float_size(dtype), mapped=computed.native)
        return footprint(config, weights, computed, work).total + added
    except (ArithmeticError, ValueError) as exc:
        raise CheckpointError("config.json", f"has sizes that cannot be ({exc})") from exc


def _needs_of_parts(
    model: ResolvedModel, config: Gemma4Config, work: Work, dtype: DType, count: int
) -> int:
    names = canonical_names(model.headers)
    headers = {canonical: model.headers[name] for name, canonical in names.items()}
    sizes = {name: (each.shape, each.size(float_size(dtype))) for name, each in headers.items()}
    found = []
    for share in shares_of(config.text, sizes, count):
        held = Weights.of(bytes_by_name(share, sizes).items(), mapped=False)
        own = replace(config, text=share.sizes)
        found.append(footprint(own, held, numerics(dtype), work).total)
    return max(found)


def weights_needed(model: ResolvedModel, dtype: DType = "auto") -> int:
    """Bytes of memory that the weights of a model or a drafter take."""
    native = numerics(dtype).native
    return weights_of(model.headers, float_size(dtype), mapped=native).total
