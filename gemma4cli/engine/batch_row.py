"""What a running batch knows of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from time import perf_counter
from typing import TypeAlias

import mlx.core as mx

from ..errors import Gemma4Error, NonFiniteError, unexpected
from ..events import (
    AnswerDelta,
    EncodeProgress,
    Finished,
    Notice,
    PrefillProgress,
    Timings,
)
from .answer import Answer
from .answering import Prompt
from .constrain import Constraint
from .decode import only
from .drafting import Draft
from .logprobs import token_logprob
from .sampling import Sampler
from .turn_cache import CachedRun
from .vocabulary import Allowed

RowEvent: TypeAlias = (
    Notice | EncodeProgress | PrefillProgress | AnswerDelta | Finished | Gemma4Error
)
"""What ``generate`` yields; an error ends the row, as Finished does."""


@dataclass(slots=True, eq=False)
class Row:
    """A prompt in a running batch.

    Attributes:
        model: The model that answers, by its place in the batch.
        arrived: Its place among all prompts.
        allowed: The tokens that may come next, with a schema.
        tail: The position at which the model's turn starts.
        begun: Its run, once its prompt was begun to be read.
        read: How many tokens of the prompt have been read, those found in the cache aside.
        reads_alone: Whether reading its prompt with others has failed.
        has_ended: Whether there are no more tokens.
        has_failed: Whether an error ended it.
        started: When its prompt was begun to be read; like the others, in seconds of a clock.
        encoded: When its media were soft tokens.
        prefilled: When its first token was there.
        spent: Its share of the batch's time so far; shares add up to that time.
        draft: A drafter at work on it, as long as it runs alone.
        hidden: What that needs: the hidden state ``[1, 1, D]`` before the newest token.
    """

    prompt: Prompt
    answer: Answer
    sampler: Sampler
    constraint: Constraint | None
    model: int = 0
    arrived: int = 0
    allowed: Allowed | None = None
    tail: int = 0
    begun: CachedRun | None = None
    read: int = 0
    reads_alone: bool = False
    has_ended: bool = False
    has_failed: bool = False
    started: float = 0.0
    encoded: float = 0.0
    prefilled: float = 0.0
    spent: Timings = field(default_factory=Timings)
    draft: Draft | None = None
    hidden: mx.array | None = None

    @property
    def run(self) -> CachedRun:
        """Raises AssertionError before the prompt was begun to be read."""
        assert self.begun is not None
        return self.begun

    @property
    def newest(self) -> int:
        """The token of the answer that came last."""
        token = self.run.content[-1]
        assert isinstance(token, int)
        return token

    def allow(self) -> None:
        """Find out which tokens may come next. Raises OptionError."""
        self.allowed = None if self.constraint is None else self.constraint.allowed()

    @property
    def logprobs(self) -> int | None:
        """Of how many likeliest tokens the probability is wanted; None for that of no token."""
        return self.prompt.options.logprobs

    def push(
        self, token: int, *, is_finite: bool, logits: mx.array | None = None
    ) -> list[RowEvent]:
        """The events of the next token; the last one is Finished or an error.

        ``logits`` ``[V]`` are those it was chosen from, where ``logprobs`` are wanted.
        """
        try:
            if not is_finite:
                raise NonFiniteError("decoding")
            return self._pushed(token, logits)
        except Exception as error:  # noqa: BLE001 - one row does not end the others
            return [self.fail(error)]

    def push_drafted(self) -> Iterator[RowEvent]:
        """The events of the next tokens, as many as the drafter guesses right and one more."""
        assert self.draft is not None and self.hidden is not None
        try:
            tokens, self.hidden = self.draft.step(self.newest, self.hidden, self.answer.length)
            for number, token in enumerate(tokens, start=1):
                # The draft has pushed it to the constraint.
                yield from self._added(token)
                if self.has_ended:
                    self.draft.network.language_model.rewind(self.draft.cache, len(tokens) - number)
                    return
            self.allow()
        except Exception as error:  # noqa: BLE001 - as above
            yield self.fail(error)

    def fail(self, error: Exception) -> Gemma4Error:
        """End with an error; what was computed cannot be trusted."""
        self.has_ended = self.has_failed = True
        if self.begun is not None:
            self.begun.forget()
        return unexpected(error)

    def _pushed(self, token: int, logits: mx.array | None) -> list[RowEvent]:
        if self.constraint is not None:
            token = self.constraint.push(token)
        events = self._added(token, logits)
        if not self.has_ended:
            self.allow()
        return events

    def _added(self, token: int, logits: mx.array | None = None) -> list[RowEvent]:
        """The events of a token that the constraint knows."""
        self.run.content.append(token)
        logprob = None
        if logits is not None and self.logprobs is not None:
            logprob = token_logprob(logits, token, self.logprobs)
        events: list[RowEvent] = [*self.answer.push(token, logprob)]
        if self.answer.reason is None:
            return events
        self.answer.conclude(self.constraint)
        self.has_ended = True
        counts = None if self.draft is None else self.draft.counts
        return [*events, self.answer.finished(self._timings(), counts)]

    def _timings(self) -> Timings:
        return Timings(
            encode=self.encoded - self.started,
            prefill=self.prefilled - self.encoded,
            decode=perf_counter() - self.prefilled,
        )


@dataclass(slots=True)
class Counts:
    """What a batch has done; see ``serving.metrics``. Durations are in seconds."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    rows: int = 0
    encode_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


def sum_of(counts: Iterable[Counts]) -> Counts:
    """What several batches have done together."""
    return Counts(*map(sum, zip(*map(astuple, counts), strict=True)))


@dataclass(slots=True, eq=False)
class Chosen:
    """The newest token of each row ``[B]``, perhaps still being computed.

    ``unread`` says whose token has not been handed on, and ``logits`` has those ``[V]`` of rows
    that want logprobs.
    """

    tokens: mx.array = field(default_factory=lambda: mx.zeros((0,), mx.int32))
    finite: mx.array = field(default_factory=lambda: mx.zeros((0,), mx.bool_))
    unread: list[bool] = field(default_factory=list)
    logits: list[mx.array | None] = field(default_factory=list)

    def add(self, token: int) -> None:
        """The first token of a row that joins; it has been handed on."""
        self.tokens = mx.concatenate([self.tokens, mx.array([token], self.tokens.dtype)])
        self.finite = mx.concatenate([self.finite, mx.array([True])])
        self.unread.append(False)
        self.logits.append(None)

    def keep(self, rows: Sequence[int]) -> None:
        """Those of other rows are not needed any more."""
        kept = mx.array(list(rows), mx.int32)
        self.tokens, self.finite = self.tokens[kept], self.finite[kept]
        self.unread = [self.unread[row] for row in rows]
        self.logits = [self.logits[row] for row in rows]


def wanted_logits(rows: Sequence[Row], logits: mx.array) -> list[mx.array | None]:
    """The logits ``[V]``, of those ``[B, V]``, of each row that wants logprobs."""
    return [logits[n] if row.logprobs is not None else None for n, row in enumerate(rows)]


def choose(rows: Sequence[Row], logits: mx.array) -> mx.array:
    """Tokens ``[B]`` for logits ``[B, V]``, by each row's options and schema."""
    if any(row.allowed is not None for row in rows):
        logits = mx.stack(
            [
                each if row.allowed is None else only(row.allowed.mask(), each)
                for row, each in zip(rows, logits, strict=True)
            ]
        )
    return Sampler.sample_rows([row.sampler for row in rows], logits)
