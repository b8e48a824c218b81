"""Batches of models that share their weights, such as one with several adapters.

Those that differ only in what adapters add to matrices are one batch. Others, such as one with a
head of its own, cannot be computed in one step; batches take turns within each: a step reads a
piece of the prompt that came first, whatever its model, and then computes a token for every answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count

from ..machine.backend import native_in_use
from ..models.mixed_adapters import Mixed, mixed
from .adapter_loading import let_compute_mixed
from .answering import Prompt
from .batch_row import Counts, Row, RowEvent
from .constrain import Constraint
from .model import LoadedModel
from .running_batch import RunningBatch
from .shared_turns import SharedTurns


class RunningBatches:
    """As ``RunningBatch``, for prompts of several ``models``, which are named by their places.

    What prompts left is kept in ``shared`` for all of them together.
    """

    def __init__(self, models: Sequence[LoadedModel], shared: SharedTurns) -> None:
        self.shared = shared
        arrivals = count()
        together = _mixed(models)
        self._places: dict[int, tuple[RunningBatch, int]] = {}
        self._batches: list[RunningBatch] = []
        for places in _batches_of(models, together):
            first, *others = (models[place] for place in places)
            batch = RunningBatch(
                first,
                others=others,
                mixed=together if others else None,
                shared=shared,
                arrivals=arrivals,
            )
            self._batches.append(batch)
            self._places |= {place: (batch, number) for number, place in enumerate(places)}

    @property
    def counts(self) -> list[Counts]:
        """What was done so far, by model; the counts go on."""
        found = (self._places[place] for place in range(len(self._places)))
        return [batch.counts_by_model[number] for batch, number in found]

    def add(self, model: int, prompt: Prompt, constraint: Constraint | None = None) -> Row:
        """As ``RunningBatch.add``; the prompt waits for those before it, of all models."""
        batch, number = self._places[model]
        return batch.add(prompt, constraint, number)

    def has_room(self, model: int, prompt: Prompt) -> bool:
        """As ``RunningBatch.has_room``, beside the rows of all models."""
        batch, _ = self._places[model]
        beside = chain.from_iterable(each.rows for each in self._batches if each is not batch)
        return batch.has_room(prompt, list(beside))

    def remove(self, row: Row) -> None:
        """As ``RunningBatch.remove``."""
        for batch in self._batches:
            if row in batch.rows:
                batch.remove(row)

    def step(self) -> list[tuple[Row, RowEvent]]:
        """A piece of the prompts whose turn it is, then a token for each answer of each model."""
        events: list[tuple[Row, RowEvent]] = []
        waiting = {
            row.arrived: batch for batch in self._batches if (row := batch.next_to_read) is not None
        }
        if waiting:
            has_others = any(batch.decoding for batch in self._batches)
            events += waiting[min(waiting)].read(has_others=has_others)
        for batch in self._batches:
            events += batch.decode()
        return events


def _mixed(models: Sequence[LoadedModel]) -> Mixed | None:
    """What computes several of the models together, if any."""
    first = models[0]
    if len(models) == 1 or first.is_divided or first.options.kv_bits is not None:
        return None
    base = (first.without_adapter or first).network
    native = native_in_use(first.options.dtype)
    found = mixed(base, [each.network for each in models], native=native)
    if found is not None:
        let_compute_mixed(found, native=native)
    return found


def _batches_of(models: Sequence[LoadedModel], together: Mixed | None) -> list[list[int]]:
    """The places of models that are one batch; first those that are computed together."""
    members = () if together is None else together.members
    joined = [
        place
        for place, each in enumerate(models)
        if any(each.network is member for member in members)
    ]
    alone = [[place] for place in range(len(models)) if place not in joined]
    return [joined, *alone] if joined else alone
