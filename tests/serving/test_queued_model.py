"""Prompts of many threads, answered by one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gemma4cli.api import load
from gemma4cli.conversations.chat import Chat
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import ModelNotFoundError, QueueFullError
from gemma4cli.events import Finished
from gemma4cli.messages import Message
from gemma4cli.options import GenerateOptions
from gemma4cli.serving.queued_model import QueuedModel

GREEDY = GenerateOptions(temperature=0, max_tokens=12)
QUESTIONS = ("Hello", "What is this?", "Count to three", "A red square")


@pytest.fixture(scope="module")
def queued() -> Iterator[QueuedModel]:
    model = QueuedModel(lambda: load("tiny"))
    yield model
    model.close()


def answer(model: QueuedModel | LoadedModel, question: str) -> Finished:
    *_, last = Chat(model).send(question, GREEDY)
    assert isinstance(last, Finished)
    return last


def test_answers_of_many_threads_are_those_of_one_after_the_other(
    queued: QueuedModel, tiny: LoadedModel
) -> None:
    alone = [answer(tiny, question).token_ids for question in QUESTIONS]
    with ThreadPoolExecutor() as pool:
        together = pool.map(lambda question: answer(queued, question).token_ids, QUESTIONS)
    assert list(together) == alone


def test_more_prompts_than_may_wait_are_refused() -> None:
    model = QueuedModel(lambda: load("tiny"), most_waiting=0)
    with pytest.raises(QueueFullError):
        answer(model, "Hello")
    model.close()


def test_an_answer_that_nobody_reads_any_more_makes_room(queued: QueuedModel) -> None:
    stream = Chat(queued).send("Hello", GenerateOptions(temperature=0, max_tokens=100_000))
    next(stream)
    stream.close()
    assert answer(queued, "Hello").token_ids


def test_an_answer_is_cancelled_while_another_thread_waits_for_it(
    queued: QueuedModel, tiny: LoadedModel
) -> None:
    inputs = tiny.processor.prepare_prompt([Message(role="user", content="Hello")], [])
    events = queued.generate(inputs, GenerateOptions(temperature=0, max_tokens=100_000))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(list, events)
        events.close()
        assert not any(isinstance(event, Finished) for event in waiting.result(timeout=60))
    assert answer(queued, "Hello").token_ids


def test_an_error_of_loading_is_raised_where_the_model_is_made() -> None:
    with pytest.raises(ModelNotFoundError):
        QueuedModel(lambda: load("no-such-model"))
