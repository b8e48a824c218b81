"""Load a process's part of a checkpoint, and the first one's with those of all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from ..distributed.team import Leader
from ..errors import UnsupportedModelError
from ..hub.resolved import ResolvedModel
from ..machine.backend import native_in_use
from ..models.config import Gemma4Config
from ..models.divided import divide
from ..models.gemma4 import Gemma4
from ..models.mirrored import lead
from ..models.weights import Quantization
from ..options import LoadOptions
from .checkpoint import Checkpoint
from .division import Division, fingerprint
from .loaded_weights import computed_dtype
from .network_loading import load_network
from .weights_reading import read, tensors_of


def load_with_others(
    model: ResolvedModel, config: Gemma4Config, options: LoadOptions, team: Leader
) -> tuple[Gemma4, set[Quantization]]:
    """The first process's part of a network, once all others have theirs."""
    division = Division.of(model, team)
    number = team.next_number()
    team.tell(
        {
            "load": _without_adapter(model),
            "number": number,
            "options": asdict(options),
            "fingerprint": fingerprint(model),
        }
    )
    checkpoint = Checkpoint(folder=model.folder)
    network, kinds = load_divided(checkpoint, model.config, config, options, division)
    dtype = str(computed_dtype(network))
    for rank, answer in enumerate(team.answers(), 1):
        if answer["loaded"] != dtype:
            raise UnsupportedModelError(
                f"{model.name} in several processes",
                f"{team.name(rank)} computes in {answer['loaded']}, the first one in {dtype}: "
                "set --dtype",
            )
    lead(network.language_model, team, number)
    return network, kinds


def _without_adapter(model: ResolvedModel) -> str:
    """The model's name on machines that have no adapters: those get the first one's."""
    if model.adapter is None:
        return model.name
    if model.name == model.adapter.name and model.adapter.base is not None:
        return model.adapter.base
    return model.name.removesuffix(f"+{model.adapter.name}")


def load_divided(
    checkpoint: Checkpoint,
    raw: Mapping[str, Any],
    config: Gemma4Config,
    options: LoadOptions,
    division: Division,
) -> tuple[Gemma4, set[Quantization]]:
    """``load_network`` for the part of one of several processes, with its weights read."""
    network, kinds = load_network(
        checkpoint, raw, config, partial(Gemma4, share=division.share), options, division
    )
    native = native_in_use(options.dtype)
    divide(network, division.share, division.group, division.padding, native=native)
    for _ in read(tensors_of(network, "text")):
        pass
    return network, kinds
