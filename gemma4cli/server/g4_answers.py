"""Prompts of one request that a thread hands to the model, as the event loop sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..engine.answering import Prompt
from ..events import Event
from ..serving.queued_model import QueuedModel
from ..serving.request import AnswerStream
from .thread_run import ThreadRun


@dataclass(frozen=True, slots=True)
class LetIn:
    """All prompts were let into the queue; what was wrong with one would have been found before."""


class PromptsRun(ThreadRun[LetIn | tuple[int, Event]]):
    """Answers prompts: after LetIn, events with their prompts' numbers."""

    def __init__(self, model: QueuedModel, prompts: Sequence[Prompt]) -> None:
        super().__init__()
        self._model = model
        self._prompts = prompts
        self._answers: AnswerStream | None = None

    def cancel(self) -> None:
        super().cancel()
        if self._answers is not None:
            self._answers.close()

    def run(self) -> None:
        self._answers = self._model.stream(self._prompts)
        if self.is_cancelled:
            self._answers.close()
        self.tell(LetIn())
        for each in self._answers:
            self.tell(each)
