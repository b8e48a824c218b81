"""A queue for work that asks it again and again."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Timer

import pytest

from gemma4cli.api import load
from gemma4cli.engine.answering import Prompt, generate_batch
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import QueueFullError
from gemma4cli.events import Finished, PrefillProgress, TextDelta
from gemma4cli.messages import Message
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs
from gemma4cli.serving.patient_model import Cancelled, PatientModel
from gemma4cli.serving.queued_model import QueuedModel
from gemma4cli.serving.request import AnswerEvents, AnswerStream, Events, Request

GREEDY = GenerateOptions(temperature=0, max_tokens=6)
ENDLESS = GenerateOptions(temperature=0, max_tokens=100_000, repetition_guard=False)
QUESTIONS = ("Hello", "What is this?", "Count to three")


@pytest.fixture(scope="module")
def narrow() -> Iterator[QueuedModel]:
    """A queue for one prompt."""
    model = QueuedModel.alone(lambda: load("tiny"), most_waiting=1)
    yield model
    model.queue.close()


def prompts(model: PatientModel | QueuedModel) -> list[ModelInputs]:
    return [
        model.processor.prepare([Message(role="user", content=question)], [])
        for question in QUESTIONS
    ]


def test_prompts_of_one_request_wait_for_room(narrow: QueuedModel, tiny: LoadedModel) -> None:
    begun: list[bool] = []
    model = PatientModel(narrow, on_begun=lambda: begun.append(True))
    found = generate_batch(model, prompts(model), GREEDY)
    alone = generate_batch(tiny, prompts(narrow), GREEDY)
    assert [each.text for each in found] == [each.text for each in alone]
    assert begun == [True]


class Scripted(QueuedModel):
    """Each prompt is refused, or let in and never answered, as a test says."""

    def __init__(self, model: LoadedModel, *refusals: QueueFullError | None) -> None:
        self.model = model
        self.entered: list[Request] = []
        self._refusals = list(refusals)

    def generate(
        self, inputs: ModelInputs, options: GenerateOptions, turns: object = None
    ) -> AnswerEvents:
        if self._refusals and (refusal := self._refusals.pop(0)):
            raise refusal
        events: Events = SimpleQueue()
        self.entered.append(Request(0, Prompt(inputs=inputs, options=options), None, 0, events))
        self.entered[-1].put(TextDelta(text="Well"))
        return AnswerEvents(AnswerStream(self.entered[-1:], events))

    generate_next = generate


FULL = QueueFullError(1)


def test_the_first_prompt_is_refused_by_a_full_queue(tiny: LoadedModel) -> None:
    model = PatientModel(Scripted(tiny, FULL))
    with pytest.raises(QueueFullError):
        next(model.generate(prompts(model)[0], GREEDY))


def test_what_has_begun_has_a_place_in_a_full_queue(narrow: QueuedModel) -> None:
    """It would wait for ever if others came whenever there was room."""
    model = PatientModel(narrow)
    first, second, other = prompts(model)
    before = narrow.queue.metrics().accepted
    list(model.generate(first, GREEDY))
    stream = narrow.generate(other, ENDLESS)
    next(stream)
    with pytest.raises(QueueFullError):
        narrow.generate(other, GREEDY)
    events = model.generate(second, GREEDY)
    assert isinstance(next(events), PrefillProgress)
    stream.close()
    *_, last = events
    assert isinstance(last, Finished)
    assert narrow.queue.metrics().accepted - before == 3


def test_what_has_begun_has_no_more_than_one_place_in_a_full_queue(tiny: LoadedModel) -> None:
    queue = Scripted(tiny, None, None, FULL)
    model = PatientModel(queue)
    first, *others = (Prompt(inputs=inputs, options=GREEDY) for inputs in prompts(model))
    next(model.generate(first.inputs, first.options))
    assert next(model.stream_batch(others)) == (0, TextDelta(text="Well"))
    assert len(queue.entered) == 2


def test_any_thread_may_cancel_it(tiny: LoadedModel) -> None:
    queue = Scripted(tiny)
    model = PatientModel(queue)
    both = [Prompt(inputs=inputs, options=GREEDY) for inputs in prompts(model)[:2]]
    events = model.stream_batch(both)
    assert next(events) == (0, TextDelta(text="Well"))
    canceller = Timer(0.01, model.cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        next(events)
    canceller.join()
    assert [each.is_cancelled for each in queue.entered] == [True, True]
    with pytest.raises(Cancelled):
        next(model.generate(both[0].inputs, GREEDY))
