"""A model of a queue: many threads ask it, one thread computes the answers of all models there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from ..engine.answer_rules import make_constraint
from ..engine.answering import BatchEvent, Prompt, Turns
from ..engine.local import LocalModel
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from .forwarding import Forwarding
from .queue import Queue
from .request import AnswerEvents, AnswerStream


class QueuedModel(Forwarding):
    """See ``AnsweringModel``; its calls may come from any thread.

    It is the one in this ``place`` of the queue's models.
    """

    def __init__(self, queue: Queue, place: int = 0) -> None:
        self.queue = queue
        self.model = queue.models[place]
        self._place = place

    @classmethod
    def alone(
        cls,
        load: Callable[[], LocalModel],
        *,
        most_waiting: int = 64,
        slots: int | None = None,
        kept_bytes: int | None = None,
    ) -> QueuedModel:
        """A model with a queue of its own; see ``Queue``. Raises what ``load`` raises."""
        return cls(
            Queue(lambda: [load()], most_waiting=most_waiting, slots=slots, kept_bytes=kept_bytes)
        )

    @property
    def behind(self) -> LocalModel:
        return self.model

    @property
    def slots(self) -> int:
        """The most prompts that are answered at once."""
        return self.queue.slots

    def generate(
        self, inputs: ModelInputs, options: GenerateOptions, turns: Turns | None = None
    ) -> AnswerEvents:
        """As ``AnsweringModel.generate``, but errors before computing come from this call.

        Raises QueueFullError and ClosingError too.
        """
        return AnswerEvents(self._enter([Prompt(inputs=inputs, options=options)]))

    def generate_next(self, inputs: ModelInputs, options: GenerateOptions) -> AnswerEvents:
        """As ``generate``, after a prompt of the same request was answered.

        A full queue does not refuse it: it would lose its place to those who come later.
        """
        return AnswerEvents(
            self._enter([Prompt(inputs=inputs, options=options)], has_place=True),
        )

    def stream(self, prompts: Sequence[Prompt]) -> AnswerStream:
        """The events of answers that are given at once, progress included; raises as ``generate``.

        All prompts are let in, or none.
        """
        return self._enter(prompts)

    def stream_batch(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
        """As ``AnsweringModel.stream_batch``; raises as ``generate``."""
        return _without_progress(self._enter(prompts))

    def batch_size(self, positions: int) -> int:
        return min(self.model.batch_size(positions), self.slots)

    def _enter(self, prompts: Sequence[Prompt], *, has_place: bool = False) -> AnswerStream:
        checked = []
        for each in prompts:
            self.check_prompt(each.inputs, each.options)
            checked.append((each, make_constraint(self.model, each.options, each.inputs.ids)))
        return self.queue.enter(self._place, checked, has_place=has_place)


def _without_progress(stream: AnswerStream) -> Iterator[tuple[int, BatchEvent]]:
    with closing(stream):
        for number, event in stream:
            if isinstance(event, BatchEvent):
                yield number, event
