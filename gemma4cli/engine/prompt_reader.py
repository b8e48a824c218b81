"""Prompts that wait to be read, first come, first served: a piece of the first ones at a time.

Short prompts are read together, as many as make up a chunk: the weights are read once for all of
them. A longer one is read alone, in its own KV cache: an image or some clips at a time, then a
chunk of tokens at a time, so that answers flow on meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias, cast

import mlx.core as mx

from ..events import PrefillProgress, Timings
from ..models.batch_cache import BatchCache
from ..models.mlx_lm_parts import RowCache
from .batch_row import Counts, Row, RowEvent, choose, wanted_logits
from .model import LoadedModel
from .prompt_reading import can_read_together, is_piece, read_prompt, read_together
from .running_rows import share_batch
from .sampling import are_finite
from .shared_turns import SharedTurns
from .turn_cache import content_of

_Piece: TypeAlias = tuple[Row, RowEvent] | None
"""An event, or the end of a piece."""


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """Rows whose prompts are in a cache and whose answers have a token.

    ``cache`` is a list for one that was read alone; ``hidden`` ``[1, 1, D]`` is the state at its
    last position.
    """

    rows: list[Row]
    cache: list[RowCache] | BatchCache
    hidden: mx.array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    rows: list[Row]
    pieces: Iterator[_Piece]


class PromptReader:
    """Reads the prompts of ``waiting`` rows; hands those ``on_begun`` whose answers have begun.

    ``chunk`` is how many tokens of a prompt are read at a time while others are answered, at most
    twice as many; ``together`` how many tokens prompts may have that are read together, None for
    any number. ``bias`` ``[V]`` is added to logits.
    """

    def __init__(
        self,
        model: LoadedModel,
        shared: SharedTurns,
        counts: Counts,
        *,
        chunk: int,
        together: int | None,
        bias: mx.array | None,
        on_begun: Callable[[Begun], None],
    ) -> None:
        self.waiting: deque[Row] = deque()
        self._model = model
        self._shared = shared
        self._counts = counts
        self._chunk = chunk
        self._together = together
        self._bias = bias
        self._on_begun = on_begun
        self._reading: _Reading | None = None
        self._has_others = False

    def remove(self, row: Row) -> None:
        """Take a waiting row out; what it has computed is kept for later prompts."""
        self.waiting.remove(row)
        if row.begun is not None:
            self._shared.keep(row.begun)
        if self._reading and not any(each in self.waiting for each in self._reading.rows):
            self._reading = None

    def read(self, *, has_others: bool) -> Iterator[tuple[Row, RowEvent]]:
        """The events of the next piece; ``has_others``: whether answers wait for it."""
        began = perf_counter()
        self._has_others = has_others
        reading = self._reading = self._reading or self._next()
        try:
            for piece in reading.pieces:
                if piece is None:
                    return
                yield piece
        except Exception as error:  # noqa: BLE001 - an odd prompt does not end the others
            yield from self._failed(reading.rows, error)
        finally:
            self._spend(reading.rows, perf_counter() - began)
        self._reading = None

    def _next(self) -> _Reading:
        rows = self._readable_together()
        if len(rows) > 1:
            rows.sort(key=lambda row: len(row.prompt.inputs.ids), reverse=True)
            return _Reading(rows, self._read_together(rows))
        rows = [self.waiting[0]]
        return _Reading(rows, self._read_alone(rows[0]))

    def _readable_together(self) -> list[Row]:
        """The first row that waits and those that can be read with it."""
        rows: list[Row] = []
        for row in self.waiting:
            if self._fits(rows, row):
                row.begun = self._shared.begin(self._model.network, content_of(row.prompt.inputs))
                if not row.begun.start:  # it does not go on from another prompt
                    rows.append(row)
            if not rows:
                break
        return rows

    def _fits(self, rows: Sequence[Row], row: Row) -> bool:
        """Whether a row can be read with others."""
        lengths = [len(each.prompt.inputs.ids) for each in (*rows, row)]
        columns = max(lengths)
        if self._together is not None and columns * len(lengths) > self._together:
            return False
        fits = share_batch(min(lengths), columns) and not row.reads_alone
        return fits and can_read_together(self._model, row.prompt.inputs)

    def _read_alone(self, row: Row) -> Iterator[_Piece]:
        """Encode and prefill a prompt, and begin its answer."""
        row.started = perf_counter()
        run = row.begun = self._shared.begin(self._model.network, content_of(row.prompt.inputs))
        row.answer.cached_tokens = run.start
        start, reading = 0, read_prompt(self._model, row, self._most)
        while True:
            try:
                event = next(reading)
            except StopIteration as end:
                hidden: mx.array = end.value
                break
            yield row, event
            if isinstance(event, PrefillProgress):
                row.read = event.done
            # What is left after a small chunk may be the few tokens at a prompt's end.
            if is_piece(event) and not 0 < row.read - start < self._chunk:
                yield None
                start = row.read
        logits = self._model.network.language_model.logits(hidden)[0]
        yield from self._begin([row], logits)
        self._shared.keep(run)
        if not row.has_ended:
            self._on_begun(Begun([row], run.cache, hidden))

    def _most(self) -> int | None:
        return self._chunk if self._has_others else None

    def _read_together(self, rows: list[Row]) -> Iterator[_Piece]:
        """Encode and prefill prompts, and begin their answers."""
        for row in rows:
            row.started = perf_counter()
        cache, logits = yield from read_together(self._model, rows)
        wanted = [number for number, row in enumerate(rows) if row in self.waiting]
        yield from self._begin([rows[number] for number in wanted], logits[mx.array(wanted)])
        left = [number for number in wanted if not rows[number].has_ended]
        if left:
            if len(left) < len(rows):
                cache.keep(left)
            self._on_begun(Begun([rows[number] for number in left], cache))

    def _begin(self, rows: Sequence[Row], logits: mx.array) -> Iterator[tuple[Row, RowEvent]]:
        """The events of the first tokens, chosen by logits ``[B, V]``; rows no longer wait."""
        for row in rows:
            row.allow()
        biased = logits if self._bias is None else logits + self._bias
        tokens, finite = choose(rows, biased), are_finite(logits)
        mx.eval(tokens, finite)
        now = perf_counter()
        seen = wanted_logits(rows, biased)
        ids, are_numbers = cast(list[int], tokens.tolist()), cast(list[bool], finite.tolist())
        for row in rows:
            row.prefilled = now
            self.waiting.remove(row)
            self._counts.prompt_tokens += len(row.prompt.inputs.ids)
            self._counts.cached_tokens += row.run.start
        for row, token, is_finite, each in zip(rows, ids, are_numbers, seen, strict=True):
            for event in row.push(token, is_finite=is_finite, logits=each):
                yield row, event
            self._counts.generated_tokens += not row.has_failed

    def _failed(self, rows: Sequence[Row], error: Exception) -> Iterator[tuple[Row, RowEvent]]:
        """What reading rows together fails at, only one of them may fail at alone."""
        waiting = [row for row in rows if row in self.waiting]
        if len(rows) > 1 and waiting:
            for row in waiting:
                row.reads_alone = True
            return
        for row in rows:
            if row in waiting:
                self.waiting.remove(row)
            if row in waiting or (row.prefilled and not row.has_ended):
                yield row, row.fail(error)

    def _spend(self, rows: Sequence[Row], seconds: float) -> None:
        """Count time, for each row its share of it."""
        if rows[0].encoded:
            self._counts.prefill_seconds += seconds
            sizes = [len(row.prompt.inputs.ids) for row in rows]
        else:
            self._counts.encode_seconds += seconds
            sizes = [row.prompt.inputs.num_soft_tokens for row in rows]
        for row, size in zip(rows, sizes, strict=True):
            share = seconds * (size / sum(sizes) if any(sizes) else 1 / len(sizes))
            row.spent += Timings(prefill=share) if row.encoded else Timings(encode=share)
