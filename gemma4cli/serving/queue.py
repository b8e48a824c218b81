"""A queue of prompts: many threads ask, one thread computes their answers together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from queue import SimpleQueue
from threading import Condition, Thread
from time import monotonic

from ..engine.answer_rules import prepare_constraints
from ..engine.answering import BatchEvent, Prompt
from ..engine.batch_row import Row, sum_of
from ..engine.batch_size import batch_size
from ..engine.constrain import Constraint
from ..engine.loaded_weights import weights_in_memory
from ..engine.local import LocalModel
from ..engine.running_batches import RunningBatches
from ..engine.shared_turns import SharedTurns, default_limit
from ..errors import CheckpointError, ClosingError, QueueFullError, unexpected
from ..events import Event, Finished
from ..machine.heap import give_back_memory
from ..machine.streams import end_streams
from .metrics import Metrics, ModelMetrics
from .request import AnswerStream, Events, Request

_POSITIONS = 4096
"""How long prompt and answer are taken to be in choosing how many run at once."""
_MOST_SLOTS = 16
_QUIET_SECONDS = 1.0
"""Without a prompt, after which memory is given back; it is needed again soon if they go on."""
_SHORTEST_RETRY, _LONGEST_RETRY = 1.0, 60.0
_NEWEST_SHARE = 0.2
"""Share of the newest answer in the average of how long one takes."""


class Queue:
    """The prompts of one model, or of several that share their weights: with other adapters.

    They are let in first come, first served, whatever their model; the next one is while fewer than
    ``slots`` run and it fits in memory beside them. ``most_waiting`` is how many may wait for an
    answer, those being answered included; ``kept_bytes`` how much of what prompts computed is kept
    for others that begin alike. Both ``slots`` and ``kept_bytes`` depend on the memory by default.

    ``load`` is called in the thread that computes, because arrays that are not computed yet belong
    to the thread that made them.

    Attributes:
        models: What ``load`` returned. Prompts say theirs by its place.
    """

    def __init__(
        self,
        load: Callable[[], Sequence[LocalModel]],
        *,
        most_waiting: int = 64,
        slots: int | None = None,
        kept_bytes: int | None = None,
    ) -> None:
        """Raises what ``load`` raises."""
        self._most_waiting = most_waiting
        self._slots = slots
        self._kept_bytes = kept_bytes
        self._changed = Condition()
        self._waiting: deque[Request] = deque()
        self._running: dict[Row, Request] = {}
        self._accepted = self._refused = self._cancelled = self._failed = 0
        self._first_tokens, self._first_token_seconds = 0, 0.0
        self._answer_seconds = 0.0
        self._is_closing = False
        self._deadline: float | None = None
        loaded: SimpleQueue[Sequence[LocalModel] | Exception] = SimpleQueue()
        self._thread = Thread(target=self._work, args=(load, loaded), name="model", daemon=True)
        self._thread.start()
        models = loaded.get()
        if isinstance(models, Exception):
            raise models
        self.models = models

    def enter(
        self,
        model: int,
        prompts: Sequence[tuple[Prompt, Constraint | None]],
        *,
        has_place: bool = False,
    ) -> AnswerStream:
        """The events of answers that are given at once. All prompts are let in, or none.

        ``has_place``: a full queue does not refuse them. Raises QueueFullError and ClosingError.
        """
        events: Events = SimpleQueue()
        requests = [
            Request(model, prompt, constraint, number, events)
            for number, (prompt, constraint) in enumerate(prompts)
        ]
        with self._changed:
            entered = sum(
                not each.is_cancelled for each in (*self._waiting, *self._running.values())
            )
            is_full = not has_place and entered + len(requests) > self._most_waiting
            if self._is_closing or is_full:
                self._refused += len(requests)
                if self._is_closing:
                    raise ClosingError
                raise QueueFullError(entered, self._retry_after(entered + len(requests)))
            self._accepted += len(requests)
            self._waiting += requests
            self._changed.notify_all()
        return AnswerStream(requests, events)

    @property
    def waiting(self) -> int:
        """Prompts without a whole answer."""
        return len(self._waiting) + len(self._running)

    @property
    def slots(self) -> int:
        """The most prompts that are answered at once."""
        assert self._slots is not None
        return self._slots

    def metrics(self) -> Metrics:
        """What it has done so far, and what it is doing."""
        with self._changed:
            counts = self._batches.counts
            return Metrics(
                slots=self.slots,
                running=len(self._running),
                waiting=len(self._waiting),
                kept_bytes=self._batches.shared.nbytes,
                accepted=self._accepted,
                refused=self._refused,
                finished=sum(self._finished),
                cancelled=self._cancelled,
                failed=self._failed,
                **asdict(sum_of(counts)),
                first_tokens=self._first_tokens,
                first_token_seconds=self._first_token_seconds,
                models=tuple(
                    ModelMetrics(
                        finished=finished,
                        prompt_tokens=each.prompt_tokens,
                        generated_tokens=each.generated_tokens,
                    )
                    for finished, each in zip(self._finished, counts, strict=True)
                ),
            )

    def close(self, *, finish: bool = True, limit: float | None = None) -> None:
        """Refuse what comes or waits, with ClosingError; end the thread.

        With ``finish``, answers that have begun end first, but for those that take more than
        ``limit`` seconds: they end with ClosingError too.
        """
        with self._changed:
            self._is_closing = True
            if not finish:
                limit = 0.0
            self._deadline = None if limit is None else monotonic() + limit
            self._drop_cancelled()
            while self._waiting:
                self._waiting.popleft().put(ClosingError())
                self._refused += 1
            self._changed.notify_all()
        self._thread.join()

    def _drop_cancelled(self) -> None:
        """Drop prompts that wait for nobody. Call with the lock."""
        wanted = [each for each in self._waiting if not each.is_cancelled]
        self._cancelled += len(self._waiting) - len(wanted)
        self._waiting = deque(wanted)

    def _retry_after(self, wanted: int) -> float:
        """Seconds until there may be room for ``wanted`` prompts in all."""
        ends = wanted - self._most_waiting
        seconds = self._answer_seconds * ends / self.slots
        return min(max(seconds, _SHORTEST_RETRY), _LONGEST_RETRY)

    # What follows runs in the model's thread.

    def _work(
        self,
        load: Callable[[], Sequence[LocalModel]],
        loaded: SimpleQueue[Sequence[LocalModel] | Exception],
    ) -> None:
        try:
            self._compute(load, loaded)
        finally:
            end_streams()

    def _compute(
        self,
        load: Callable[[], Sequence[LocalModel]],
        loaded: SimpleQueue[Sequence[LocalModel] | Exception],
    ) -> None:
        try:
            models = load()
            batches = self._begin(models)
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits for the model
            loaded.put(error)
            return
        loaded.put(models)
        try:
            while self._is_needed():
                self._remove_cancelled(batches)
                self._let_in(batches)
                for row, event in batches.step():
                    self._hand_out(row, event)
        except Exception as error:  # noqa: BLE001 - nobody waits for a thread that has ended
            self._give_up(error)

    def _begin(self, models: Sequence[LocalModel]) -> RunningBatches:
        """What computes for models that have the same weights, and so the same vocabulary."""
        first = models[0]
        for each in models:
            # Threads that ask need it, and layers change what they keep while they are looked at.
            weights_in_memory(each)
        with suppress(CheckpointError):  # raised again for those who ask with a schema
            prepare_constraints(first)
        if self._slots is None:
            positions = min(_POSITIONS, first.context_length)
            self._slots = batch_size(first, positions, most=_MOST_SLOTS)
        kept = default_limit() if self._kept_bytes is None else self._kept_bytes
        shared = SharedTurns(kept, blocks_on_full_layers=first.blocks_on_full_layers)
        self._batches = RunningBatches(models, shared)
        self._finished = [0] * len(models)
        return self._batches

    def _is_needed(self) -> bool:
        """Wait for something to do; False once the queue is closed and empty."""
        with self._changed:
            if not self._changed.wait_for(self._has_work, _QUIET_SECONDS):
                give_back_memory()
                self._changed.wait_for(self._has_work)
            return bool(self._waiting or self._running)

    def _has_work(self) -> bool:
        return bool(self._waiting or self._running or self._is_closing)

    def _remove_cancelled(self, batches: RunningBatches) -> None:
        """Take out what nobody waits for, and all rows once the time to close is over."""
        with self._changed:
            self._drop_cancelled()
        is_late = self._deadline is not None and monotonic() >= self._deadline
        for row, request in list(self._running.items()):
            if not request.is_cancelled and not is_late:
                continue
            batches.remove(row)
            with self._changed:
                del self._running[row]
                self._cancelled += 1
            if not request.is_cancelled:
                request.put(ClosingError())

    def _give_up(self, error: Exception) -> None:
        with self._changed:
            self._is_closing = True
            for request in (*self._running.values(), *self._waiting):
                self._failed += 1
                request.put(unexpected(error))
            self._running.clear()
            self._waiting.clear()

    def _let_in(self, batches: RunningBatches) -> None:
        while True:
            with self._changed:
                if not self._waiting or len(self._running) >= self.slots:
                    return
                request = self._waiting[0]
            if not batches.has_room(request.model, request.prompt):
                return
            with self._changed:
                if not self._waiting or self._waiting[0] is not request:
                    continue  # cancelled, or the queue is closing
                self._waiting.popleft()
                request.let_in = monotonic()
                row = batches.add(request.model, request.prompt, request.constraint)
                self._running[row] = request

    def _hand_out(self, row: Row, event: Event | Exception) -> None:
        request = self._running[row]
        now = monotonic()
        with self._changed:
            if isinstance(event, BatchEvent) and not request.has_begun:
                request.has_begun = True
                self._first_tokens += 1
                self._first_token_seconds += now - request.arrived
            if isinstance(event, Finished):
                self._finished[request.model] += 1
                self._note_answer(now - request.let_in)
            if isinstance(event, Exception):
                self._failed += 1
            if isinstance(event, Finished | Exception):
                del self._running[row]
        request.put(event)

    def _note_answer(self, seconds: float) -> None:
        share = _NEWEST_SHARE if self._answer_seconds else 1.0
        self._answer_seconds += share * (seconds - self._answer_seconds)
