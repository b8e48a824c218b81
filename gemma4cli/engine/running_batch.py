"""A batch that prompts join and leave while it runs. Synchronous; nothing happens between steps.

batch.add(prompt)        the prompt waits for those before it to be read
batch.step()             a piece of the first of them, then a token for each answer
batch.remove(row)        also in the middle of a prompt

``running_batches`` has several of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from time import perf_counter
from typing import cast

import mlx.core as mx

from ..events import Timings
from ..machine.backend import on_cpu
from ..models.batch_cache import BatchCache
from ..models.mixed_adapters import Mixed
from .answer import Answer
from .answer_rules import make_answer_sampler, make_constraint, stop_ids_of
from .answering import Prompt
from .batch_row import Chosen, Counts, Row, RowEvent, choose, sum_of, wanted_logits
from .constrain import Constraint
from .context_limits import check_context
from .drafting import Draft, DraftCounts
from .freed_buffers import release_buffers
from .memory_limits import memory_beside
from .model import LoadedDrafter, LoadedModel
from .prompt_reader import Begun, PromptReader
from .repeated_turns import is_repeated
from .running_rows import RunningRows
from .sampling import suppress
from .shared_turns import SharedTurns

_CHUNK_ON_CPU, _CHUNK_ON_GPU = 64, 512
"""Prompt tokens between two steps of decoding. Larger chunks are read up to a fifth faster."""

_STEPS_UNTIL_CLEARED = 512
"""See ``decode``."""


class RunningBatch:
    """Answers prompts together, as ``generate`` answers each of them alone.

    Rows sample independently, with a seed what they sample alone. Sums are in another order than
    in a run alone: see ``stream_batch``. ``shared`` is what earlier prompts left, and ``chunk`` how
    many tokens of prompts are read between two steps of decoding, at most twice as many. Prompts
    that are together no longer than that are read together, and with ``reads_all`` any.

    Rows of a model with quantized KV caches take turns in each step. A drafter helps a row whose
    answer begins while no other runs, as long as none does.

    Prompts may be for one of ``others`` instead, by their places after ``model``, which ``mixed``
    can compute together. ``arrivals`` numbers prompts, by which they are read.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        others: Sequence[LoadedModel] = (),
        mixed: Mixed | None = None,
        shared: SharedTurns | None = None,
        chunk: int | None = None,
        reads_all: bool = False,
        arrivals: Iterator[int] | None = None,
    ) -> None:
        self.shared = SharedTurns(0) if shared is None else shared
        self._models = [model, *others]
        self._bias = suppress(model.network.config.text.vocab_size, model.generation.suppressed_ids)
        chunk = chunk or (_CHUNK_ON_CPU if on_cpu() else _CHUNK_ON_GPU)
        self.counts_by_model = [Counts() for _ in self._models]
        self._readers = [
            PromptReader(
                each,
                self.shared,
                counts,
                chunk=chunk,
                together=None if reads_all else chunk,
                bias=self._bias,
                on_begun=self._begin_decoding,
            )
            for each, counts in zip(self._models, self.counts_by_model, strict=True)
        ]
        self._counts = self.counts_by_model[0]  # of what is done for all
        self._arrivals = count() if arrivals is None else arrivals
        self._rows: list[Row] = []
        self._caches = RunningRows(
            [each.network for each in self._models], mixed, together=model.options.kv_bits is None
        )
        self._chosen = Chosen()

    @property
    def counts(self) -> Counts:
        """What was done so far, for all models together."""
        return sum_of(self.counts_by_model)

    @property
    def rows(self) -> list[Row]:
        """The rows that have not ended: those being decoded, then those that wait to be read."""
        return [*self._rows, *(row for each in self._readers for row in each.waiting)]

    def add(self, prompt: Prompt, constraint: Constraint | None = None, model: int = 0) -> Row:
        """Let a prompt join; ``constraint`` is its schema's, if that has been made already.

        Raises ContextLengthError, and OptionError or AnswerCutError for a schema.
        """
        answering, inputs, options = self._models[model], prompt.inputs, prompt.options
        check_context(inputs, answering.context_length)
        if constraint is None:
            constraint = make_constraint(answering, options, inputs.ids)
        sampler = make_answer_sampler(answering, options)
        answer, arrived = Answer(answering, inputs, options), next(self._arrivals)
        row = Row(prompt, answer, sampler, constraint, model, arrived)
        self._readers[model].waiting.append(row)
        return row

    @property
    def decoding(self) -> bool:
        """Whether there are answers that have begun."""
        return bool(self._rows)

    @property
    def next_to_read(self) -> Row | None:
        """The row whose prompt is being read, or is the next to be."""
        first = (each.waiting[0] for each in self._readers if each.waiting)
        return min(first, key=lambda row: row.arrived, default=None)

    def has_room(self, prompt: Prompt, beside: Sequence[Row] = ()) -> bool:
        """Whether a prompt and its answer fit in memory beside the rows that run.

        ``beside`` are those of other batches. Without any it has room: what it needs alone is
        checked before. What earlier prompts left is forgotten if that makes room.
        """
        others = [row.prompt for row in (*self.rows, *beside)]
        spare = memory_beside(self._models[0], prompt, others)
        if spare < self.shared.nbytes:
            self.shared.shrink(max(spare, 0))
        return spare >= 0 or not others

    def remove(self, row: Row) -> None:
        """Take a row out, unless it has ended; what it has computed is kept for later prompts."""
        if row in self._readers[row.model].waiting:
            self._readers[row.model].remove(row)
        elif row in self._rows:
            self._drop([self._rows.index(row)])

    def step(self) -> list[tuple[Row, RowEvent]]:
        """Compute a piece of the prompts whose turn it is, then a token for each answer."""
        return [*self.read(has_others=self.decoding), *self.decode()]

    def read(self, *, has_others: bool) -> list[tuple[Row, RowEvent]]:
        """A piece of the prompts whose turn it is; ``has_others``: whether answers wait for it."""
        row = self.next_to_read
        if row is None:
            return []
        return list(self._readers[row.model].read(has_others=has_others))

    def decode(self) -> list[tuple[Row, RowEvent]]:
        """A token for each answer that has begun."""
        return self._decode_safely() if self._rows else []

    def _begin_decoding(self, begun: Begun) -> None:
        model = begun.rows[0].model
        if isinstance(begun.cache, BatchCache):
            self._caches.join_all(begun.cache, model)
        else:
            (row,) = begun.rows
            drafter = self._models[model].drafter
            may_draft = not self._rows and row.logprobs is None
            if drafter is not None and may_draft and drafter.pace.begin():
                row.draft, row.hidden = self._draft(row, drafter), begun.hidden
            self._caches.join(begun.cache, model)
        for row in begun.rows:
            # A batch holds a copy, and checkpoints are only kept within the limit.
            row.run.release()
            self._chosen.add(row.newest)
        self._rows += begun.rows

    def _decode_safely(self) -> list[tuple[Row, RowEvent]]:
        began, rows = perf_counter(), list(self._rows)
        try:
            return self._decode()
        except Exception as error:  # noqa: BLE001 - prompts that wait have their turn
            failed = [(row, row.fail(error)) for row in self._rows]
            self._rows, self._chosen = [], Chosen()
            self._caches.keep([])
            return list(failed)
        finally:
            seconds = perf_counter() - began
            self._counts.decode_seconds += seconds
            for row in rows:
                row.spent += Timings(decode=seconds / len(rows))

    def _decode(self) -> list[tuple[Row, RowEvent]]:
        """A token for each row. On a GPU the one after it is computed meanwhile."""
        row = self._rows[0]
        if row.draft is not None:
            if len(self._rows) == 1 and row.draft.pace.pays():
                return self._decode_drafted(row)
            row.draft = row.hidden = None
        ahead = not on_cpu() and all(row.constraint is None for row in self._rows)
        events: list[tuple[Row, RowEvent]] = []
        if not ahead:
            events += self._hand_on(self._chosen)
            if not self._rows:
                return events
        before = self._chosen
        logits, finite = self._caches.advance(before.tokens, self._bias)
        tokens = choose(self._rows, logits)
        mx.async_eval(tokens, finite)
        seen = wanted_logits(self._rows, logits)
        self._chosen = Chosen(tokens, finite, [True] * len(self._rows), seen)
        self._counts.steps += 1
        if self._counts.steps % _STEPS_UNTIL_CLEARED == 0:
            release_buffers()
        return events + self._hand_on(before if ahead else self._chosen)

    def _decode_drafted(self, row: Row) -> list[tuple[Row, RowEvent]]:
        """The tokens of a row that runs alone, as far as the drafter guesses them right."""
        length = row.answer.length
        events: list[tuple[Row, RowEvent]] = [(row, event) for event in row.push_drafted()]
        self._chosen.tokens = mx.array([row.newest], mx.int32)
        counts = self.counts_by_model[row.model]
        self._counts.steps += 1
        counts.rows += 1
        counts.generated_tokens += row.answer.length - length
        if row.has_ended:
            self._drop([0])
        return events

    def _draft(self, row: Row, drafter: LoadedDrafter) -> Draft:
        return Draft(
            network=self._models[row.model].network,
            drafter=drafter.network,
            cache=row.run.cache,
            sampler=row.sampler,
            bias=self._bias,
            constraint=row.constraint,
            stop_ids=stop_ids_of(self._models[row.model], row.prompt.options),
            most=row.answer.most,
            pace=drafter.pace,
            counts=DraftCounts(),
        )

    def _hand_on(self, chosen: Chosen) -> list[tuple[Row, RowEvent]]:
        """The events of the tokens that were not read yet; rows that end leave."""
        if not any(chosen.unread):
            return []
        tokens = cast(list[int], chosen.tokens.tolist())
        finite = cast(list[bool], chosen.finite.tolist())
        events: list[tuple[Row, RowEvent]] = []
        for number, row in enumerate(self._rows):
            if chosen.unread[number]:
                self.counts_by_model[row.model].rows += 1
                pushed = self._push(
                    row, tokens[number], is_finite=finite[number], logits=chosen.logits[number]
                )
                events += [(row, event) for event in pushed]
                tokens[number] = row.newest
        chosen.unread = [False] * len(self._rows)
        if chosen is self._chosen:  # a schema may have replaced tokens
            chosen.tokens = mx.array(tokens, mx.int32)
        self._drop([number for number, row in enumerate(self._rows) if row.has_ended])
        return events

    def _push(
        self, row: Row, token: int, *, is_finite: bool, logits: mx.array | None
    ) -> list[RowEvent]:
        events = row.push(token, is_finite=is_finite, logits=logits)
        self.counts_by_model[row.model].generated_tokens += not row.has_failed
        return events

    def _drop(self, numbers: Sequence[int]) -> None:
        """Take rows out of those being decoded."""
        if not numbers:
            return
        for number in numbers:
            self._keep_turn(number)
        left = [number for number in range(len(self._rows)) if number not in numbers]
        self._caches.keep(left)
        self._chosen.keep(left)
        self._rows = [self._rows[number] for number in left]
        if not self._rows:
            release_buffers()

    def _keep_turn(self, number: int) -> None:
        """Keep a row's prompt with its answer, if later prompts can repeat it."""
        row = self._rows[number]
        run, model = row.run, self._models[row.model]
        if not self.shared.limit or row.has_failed:
            return
        if is_repeated(model, run.content[row.tail :]):
            cache = self._caches.extract(number)
            mx.eval([layer.state for layer in cache])
            self.shared.keep_all(model.network, run.content, cache)
