"""Batches of models that share their weights, such as one with several adapters.

Rows of different models cannot be computed in one step. They take turns within each: a step reads a
piece of the prompt that came first, whatever its model, and then computes a token for every answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count

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
        self._batches = [RunningBatch(each, shared=shared) for each in models]
        self._arrival = count()
        self._arrived: dict[Row, int] = {}

    @property
    def counts(self) -> list[Counts]:
        """What was done so far, by model; the counts go on."""
        return [each.counts for each in self._batches]

    def add(self, model: int, prompt: Prompt, constraint: Constraint | None = None) -> Row:
        """As ``RunningBatch.add``; the prompt waits for those before it, of all models."""
        row = self._batches[model].add(prompt, constraint)
        self._arrived[row] = next(self._arrival)
        return row

    def has_room(self, model: int, prompt: Prompt) -> bool:
        """As ``RunningBatch.has_room``, beside the rows of all models."""
        batch = self._batches[model]
        beside = chain.from_iterable(each.rows for each in self._batches if each is not batch)
        return batch.has_room(prompt, list(beside))

    def remove(self, row: Row) -> None:
        """As ``RunningBatch.remove``."""
        for batch in self._batches:
            batch.remove(row)
        self._arrived.pop(row, None)

    def step(self) -> list[tuple[Row, RowEvent]]:
        """A piece of the prompts whose turn it is, then a token for each answer of each model."""
        events: list[tuple[Row, RowEvent]] = []
        waiting = {
            self._arrived[row]: batch
            for batch in self._batches
            if (row := batch.next_to_read) is not None
        }
        if waiting:
            has_others = any(batch.decoding for batch in self._batches)
            events += waiting[min(waiting)].read(has_others=has_others)
        for batch in self._batches:
            events += batch.decode()
        for row, _ in events:
            if row.has_ended:
                self._arrived.pop(row, None)
        return events
