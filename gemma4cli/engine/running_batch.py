"""A batch that prompts join and leave while it runs. Synchronous; nothing happens between steps.

    batch.add(prompt)        the prompt waits for those before it to be read
    batch.step()             a piece of the first of them, then a token for each answer
    batch.remove(row)        also in the middle of a prompt

A prompt is read alone, in its own KV cache: an image or some clips at a time, then a chunk of
tokens at a time, so that answers flow on meanwhile. Its row then joins the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import cast

import mlx.core as mx

from ..events import PrefillProgress
from ..machine.backend import on_cpu
from .answering import Prompt
from .batch_row import Chosen, Counts, Row, RowEvent, choose, wanted_logits
from .constrain import Constraint
from .context_limits import check_context
from .drafting import Draft, DraftCounts
from .freed_buffers import release_buffers
from .generate import Answer, is_repeated, make_answer_sampler, make_constraint, stop_ids_of
from .memory_limits import memory_beside
from .model import LoadedDrafter, LoadedModel
from .prompt_reading import is_piece, read_prompt
from .running_rows import RunningRows
from .sampling import are_finite, suppress
from .shared_turns import SharedTurns
from .turn_cache import content_of

_CHUNK_ON_CPU, _CHUNK_ON_GPU = 64, 512
"""Prompt tokens between two steps of decoding. Larger chunks are read up to a fifth faster."""

_STEPS_UNTIL_CLEARED = 512
"""See ``decode``."""


class RunningBatch:
    """Answers prompts together, as ``generate`` answers each of them alone.

    Rows sample independently, with a seed what they sample alone. Sums are in another order than
    in a run alone: see ``stream_batch``. ``shared`` is what earlier prompts left, and ``chunk`` how
    many tokens of a prompt are read between two steps of decoding, at most twice as many.

    Rows of a model with quantized KV caches take turns in each step. A drafter helps a row whose
    answer begins while no other runs, as long as none does.
    """

    def __init__(
        self, model: LoadedModel, *, shared: SharedTurns | None = None, chunk: int | None = None
    ) -> None:
        self.counts = Counts()
        self.shared = SharedTurns(model.network, 0) if shared is None else shared
        self._model = model
        self._chunk = chunk or (_CHUNK_ON_CPU if on_cpu() else _CHUNK_ON_GPU)
        self._bias = suppress(model.network.config.text.vocab_size, model.generation.suppressed_ids)
        self._joining: deque[Row] = deque()
        self._rows: list[Row] = []
        self._caches = RunningRows(model.network, together=model.options.kv_bits is None)
        self._chosen = Chosen()

    @property
    def rows(self) -> list[Row]:
        """The rows that have not ended: those being decoded, then those that wait to be read."""
        return [*self._rows, *self._joining]

    def add(self, prompt: Prompt, constraint: Constraint | None = None) -> Row:
        """Let a prompt join; ``constraint`` is its schema's, if that has been made already.

        Raises ContextLengthError, and OptionError or AnswerCutError for a schema.
        """
        model, inputs, options = self._model, prompt.inputs, prompt.options
        check_context(inputs, model.context_length)
        if constraint is None:
            constraint = make_constraint(model, options, inputs.ids)
        sampler = make_answer_sampler(model, options)
        row = Row(prompt, Answer(model, inputs, options), sampler, constraint)
        self._joining.append(row)
        return row

    def has_room(self, prompt: Prompt) -> bool:
        """Whether a prompt and its answer fit in memory beside the rows that run.

        Without any it has room: what it needs alone is checked before. What earlier prompts left
        is forgotten if that makes room.
        """
        others = [row.prompt for row in self.rows]
        spare = memory_beside(self._model, prompt, others)
        if spare < self.shared.nbytes:
            self.shared.shrink(max(spare, 0))
        return spare >= 0 or not others

    def remove(self, row: Row) -> None:
        """Take a row out, unless it has ended; what it has computed is kept for later prompts."""
        if row in self._joining:
            self._joining.remove(row)
            if row.begun is not None:
                self.shared.keep(row.begun)
        elif row in self._rows:
            self._drop([self._rows.index(row)])

    def step(self) -> list[tuple[Row, RowEvent]]:
        """Compute a piece of the prompt whose turn it is, then a token for each answer."""
        events: list[tuple[Row, RowEvent]] = []
        if self._joining:
            row = self._joining[0]
            events += [(row, event) for event in self._read_on(row)]
        if self._rows:
            events += self._decode_safely()
        return events

    def _read_on(self, row: Row) -> Iterator[RowEvent]:
        """The events of the next piece of a prompt, or of its end."""
        began = perf_counter()
        if row.reading is None:
            row.started = began
            row.reading = self._read(row)
        try:
            start = row.read
            for event in row.reading:
                yield event
                if isinstance(event, PrefillProgress):
                    row.read = event.done
                # What is left after a small chunk may be the few tokens at a prompt's end.
                if is_piece(event) and not 0 < row.read - start < self._chunk:
                    return
        except Exception as error:  # noqa: BLE001 - an odd prompt does not end the others
            yield row.fail(error)
        finally:
            if row.encoded:
                self.counts.prefill_seconds += perf_counter() - began
            else:
                self.counts.encode_seconds += perf_counter() - began
        self._joining.remove(row)

    def _read(self, row: Row) -> Iterator[RowEvent]:
        """Encode and prefill a prompt, and begin its answer."""
        inputs = row.prompt.inputs
        run = row.begun = self.shared.begin(content_of(inputs))
        row.answer.cached_tokens = run.start
        hidden = yield from read_prompt(
            self._model, row, lambda: self._chunk if self._rows else None
        )
        logits = self._model.network.language_model.logits(hidden)[0]
        row.allow()
        biased = logits if self._bias is None else logits + self._bias
        token = choose([row], biased)
        finite = are_finite(logits)
        mx.eval(token, finite)
        row.prefilled = perf_counter()
        self.counts.prompt_tokens += len(inputs.ids)
        self.counts.cached_tokens += run.start
        (seen,) = wanted_logits([row], biased)
        first = cast(int, token.item())
        yield from self._push(row, first, is_finite=bool(finite.item()), logits=seen)
        self.shared.keep(run)
        if not row.has_ended:
            self._begin_decoding(row, hidden)

    def _begin_decoding(self, row: Row, hidden: mx.array) -> None:
        run, drafter = row.run, self._model.drafter
        may_draft = not self._rows and row.logprobs is None
        if drafter is not None and may_draft and drafter.pace.begin():
            row.draft, row.hidden = self._draft(row, drafter), hidden
        self._caches.join(run.cache)
        # A batch holds a copy, and checkpoints are only kept within the limit.
        run.release()
        self._chosen.add(row.newest)
        self._rows.append(row)

    def _decode_safely(self) -> list[tuple[Row, RowEvent]]:
        began = perf_counter()
        try:
            return self._decode()
        except Exception as error:  # noqa: BLE001 - prompts that wait have their turn
            failed = [(row, row.fail(error)) for row in self._rows]
            self._rows, self._chosen = [], Chosen()
            self._caches.keep([])
            return list(failed)
        finally:
            self.counts.decode_seconds += perf_counter() - began

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
        self.counts.steps += 1
        if self.counts.steps % _STEPS_UNTIL_CLEARED == 0:
            release_buffers()
        return events + self._hand_on(before if ahead else self._chosen)

    def _decode_drafted(self, row: Row) -> list[tuple[Row, RowEvent]]:
        """The tokens of a row that runs alone, as far as the drafter guesses them right."""
        length = row.answer.length
        events: list[tuple[Row, RowEvent]] = [(row, event) for event in row.push_drafted()]
        self._chosen.tokens = mx.array([row.newest], mx.int32)
        self.counts.steps += 1
        self.counts.rows += 1
        self.counts.generated_tokens += row.answer.length - length
        if row.has_ended:
            self._drop([0])
        return events

    def _draft(self, row: Row, drafter: LoadedDrafter) -> Draft:
        return Draft(
            network=self._model.network,
            drafter=drafter.network,
            cache=row.run.cache,
            sampler=row.sampler,
            bias=self._bias,
            constraint=row.constraint,
            stop_ids=stop_ids_of(self._model, row.prompt.options),
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
                self.counts.rows += 1
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
        self.counts.generated_tokens += not row.has_failed
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
        run = row.run
        if not self.shared.limit or row.has_failed:
            return
        if is_repeated(self._model, run.content[row.tail :]):
            cache = self._caches.extract(number)
            mx.eval([layer.state for layer in cache])
            self.shared.keep_all(run.content, cache)
