"""How a tuning's steps fit into memory, decided before the first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mlx.core as mx

from ..engine.loaded_weights import numerics_of, tensors_of
from ..engine.local import LocalModel
from ..engine.memory_limits import available_memory, checks_memory
from ..errors import TuningTooLargeError
from ..machine.device import resident, taken
from ..machine.memory import Weights
from ..machine.tuning_memory import TuningWork, tuning_size
from ..models.training import is_native
from .batches import padded_length
from .examples import Example
from .settings import TuningOptions
from .steps import Learner

_LATER = 1 << 25
"""Bytes of code and of Python's objects that only steps need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What a step may compute at once, and the bytes that are needed at most.

    On a CPU those of the whole process, on a GPU those of its memory; weights included.
    """

    tokens_at_once: int
    rows: int
    recompute: bool
    memory: int


def fitting(
    model: LocalModel, learner: Learner, examples: Sequence[Example], options: TuningOptions
) -> Fit:
    """As many of the longest examples at once as memory allows, up to a whole step's.

    Layers recompute their inner values where not even one example fits otherwise. Raises
    TuningTooLargeError if it does not fit then either.
    """
    network = learner.network
    config = network.config
    numerics = replace(numerics_of(model), native=is_native(network))
    weights = _weights_of(learner, mapped=numerics.native)
    longest = max(examples, key=lambda each: len(each.ids))
    length = padded_length(len(longest.ids))
    parameters = sum(each.size for each in learner.parameters.values())
    in_step = learner.media.in_step
    soft_tokens = sum(span.end - span.start for span in longest.spans) if in_step else 0
    quantized = any(name.endswith(".scales") for name, _ in tensors_of(network.language_model))

    def needed(rows: int, *, recompute: bool) -> int:
        work = TuningWork(
            rows=rows,
            length=length,
            targets=rows * max(each.targets for each in examples),
            parameters=parameters,
            recompute=recompute,
            unpacks=quantized and numerics.on_cpu,
            tower_tokens=rows * soft_tokens,
        )
        return weights + tuning_size(config, numerics, work)

    own = _own_memory() if numerics.on_cpu else 0
    available = available_memory()
    limited = checks_memory()
    for recompute in (options.recompute,) if options.recompute is not None else (False, True):
        for rows in range(options.batch, 0, -1):
            memory = needed(rows, recompute=recompute)
            if memory <= available or not limited:
                return Fit(
                    tokens_at_once=rows * length,
                    rows=rows,
                    recompute=recompute,
                    memory=memory + own,
                )
    raise TuningTooLargeError(
        f"a step with {longest.origin} ({len(longest.ids):,} tokens)",
        needed(1, recompute=True),
        available,
        "leave out longer examples with --longest, lower --rank, use a smaller model with -m",
    )


def _own_memory() -> int:
    """Bytes that this process holds beside MLX's arrays: the program, and pages of files.

    Around what was read of a mapped file, the system may hold a multiple of it.
    """
    allocated, of_files = resident()
    return max(0, allocated - taken()) + of_files + _LATER


def _weights_of(learner: Learner, *, mapped: bool) -> int:
    """Bytes of the network's arrays that steps need; of ``mapped`` ones, those that they read."""
    if not mapped:
        return sum(each.nbytes for each in arrays_of(learner))
    found = {id(each): (name, each.nbytes) for name, each in tensors_of(learner.network)}
    weights = Weights.of(found.values(), mapped=True)
    return weights.total if learner.media.in_step else weights.text


def arrays_of(learner: Learner) -> list[mx.array]:
    """All arrays of the network, each once."""
    return list({id(each): each for _, each in tensors_of(learner.network)}.values())
