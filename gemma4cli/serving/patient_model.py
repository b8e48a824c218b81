"""A queue for work that asks it again and again: a recording in pieces, for example."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Event as Flag
from threading import Lock

from ..engine.answering import BatchEvent, Prompt, Turns
from ..errors import QueueFullError
from ..events import Event
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from .forwarding import Forwarding
from .queued_model import QueuedModel
from .request import AnswerEvents


class Cancelled(Exception):
    """Nobody wants the answers any more."""


class PatientModel(Forwarding):
    """See ``AnsweringModel``; a queued model for the thread of one request.

    The first prompt is refused by a full queue, later ones are not, one at a time: half the work is
    done.
    ``on_begun`` is called when the first one is let in.
    """

    def __init__(self, model: QueuedModel, on_begun: Callable[[], None] = lambda: None) -> None:
        self._model = model
        self._on_begun = on_begun
        self._has_begun = False
        self._cancelled = Flag()
        self._lock = Lock()
        self._open: list[AnswerEvents] = []

    def cancel(self) -> None:
        """Raise Cancelled in the thread that asks. Called by any thread."""
        self._cancelled.set()
        with self._lock:
            answers = list(self._open)
        for each in answers:
            each.close()

    @property
    def behind(self) -> QueuedModel:
        return self._model

    def generate(
        self, inputs: ModelInputs, options: GenerateOptions, turns: Turns | None = None
    ) -> Iterator[Event]:
        """As ``AnsweringModel.generate``. Raises QueueFullError, ClosingError and Cancelled too."""
        answer = self._enter(Prompt(inputs=inputs, options=options), has_others=False)
        assert answer is not None
        yield from self._events(answer)

    def stream_batch(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
        """As ``AnsweringModel.stream_batch``; raises as ``generate``."""
        entered: deque[tuple[int, AnswerEvents]] = deque()
        try:
            for number, prompt in enumerate(prompts):
                while (answer := self._enter(prompt, has_others=bool(entered))) is None:
                    yield from self._numbered(*entered.popleft())
                entered.append((number, answer))
            while entered:
                yield from self._numbered(*entered.popleft())
        finally:
            for _, answer in entered:
                answer.close()

    def _enter(self, prompt: Prompt, *, has_others: bool) -> AnswerEvents | None:
        """Let a prompt in; None if the queue is full and has others of this request."""
        if self._cancelled.is_set():
            raise Cancelled
        has_place = self._has_begun and not has_others
        enter = self._model.generate_next if has_place else self._model.generate
        try:
            answer = enter(prompt.inputs, prompt.options)
        except QueueFullError:
            if not self._has_begun:
                raise
            return None
        with self._lock:
            self._open.append(answer)
        if not self._has_begun:
            self._has_begun = True
            self._on_begun()
        return answer

    def _numbered(self, number: int, answer: AnswerEvents) -> Iterator[tuple[int, BatchEvent]]:
        for event in self._events(answer):
            if isinstance(event, BatchEvent):
                yield number, event

    def _events(self, answer: AnswerEvents) -> Iterator[Event]:
        try:
            if not self._cancelled.is_set():
                yield from answer
            if self._cancelled.is_set():
                raise Cancelled
        finally:
            answer.close()
            with self._lock:
                self._open.remove(answer)
