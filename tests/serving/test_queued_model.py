"""Prompts of many threads, answered by one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Flag
from typing import Any

import pytest
from support.models import fresh

from gemma4cli.api import load
from gemma4cli.conversations.chat import Chat
from gemma4cli.engine import running_batch
from gemma4cli.engine.answering import Prompt, generate_batch
from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import ClosingError, ModelNotFoundError, QueueFullError, UnexpectedError
from gemma4cli.events import Finished, PrefillProgress
from gemma4cli.messages import Message
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs
from gemma4cli.serving import queue
from gemma4cli.serving.queued_model import QueuedModel

GREEDY = GenerateOptions(temperature=0, max_tokens=12)
ENDLESS = GenerateOptions(temperature=0, max_tokens=100_000, repetition_guard=False)
"""For an ``endless`` model."""
QUESTIONS = ("Hello", "What is this?", "Count to three", "A red square")


def endless() -> LocalModel:
    """A model that never stops by itself."""
    model = fresh(load("tiny"), stop_ids=frozenset({1 << 30}))
    assert isinstance(model, LocalModel)
    return model


@pytest.fixture(scope="module")
def queued() -> Iterator[QueuedModel]:
    model = QueuedModel.alone(lambda: load("tiny"))
    yield model
    model.queue.close()


@pytest.fixture(scope="module")
def single() -> Iterator[QueuedModel]:
    """A queue that answers one prompt at a time."""
    model = QueuedModel.alone(endless, slots=1)
    yield model
    model.queue.close()


def prompt(model: QueuedModel, question: str) -> ModelInputs:
    return model.processor.prepare([Message(role="user", content=question)], [])


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


def test_an_answer_that_nobody_reads_any_more_makes_room(queued: QueuedModel) -> None:
    stream = Chat(queued).send("Hello", GenerateOptions(temperature=0, max_tokens=100_000))
    next(stream)
    stream.close()
    assert answer(queued, "Hello").token_ids


def test_prompts_that_come_together_are_answered_together(queued: QueuedModel) -> None:
    before = queued.queue.metrics()
    finished = generate_batch(queued, [prompt(queued, each) for each in QUESTIONS], GREEDY)
    after = queued.queue.metrics()
    assert [each.reason for each in finished]
    assert after.steps > before.steps
    assert after.rows - before.rows > 2 * (after.steps - before.steps)


def test_the_events_of_prompts_that_are_answered_together_are_interleaved(
    queued: QueuedModel,
) -> None:
    prompts = [Prompt(inputs=prompt(queued, each), options=GREEDY) for each in QUESTIONS]
    numbers = [number for number, _ in queued.stream_batch(prompts)]
    assert numbers != sorted(numbers)


def test_progress_reaches_the_one_who_asked(queued: QueuedModel) -> None:
    events = list(queued.generate(prompt(queued, "What is this?"), GREEDY))
    assert isinstance(events[0], PrefillProgress)
    assert isinstance(events[-1], Finished)


def test_a_later_turn_resumes_where_the_conversation_was(queued: QueuedModel) -> None:
    chat = Chat(queued)
    *_, first = chat.send("A question that nobody else asks", GREEDY)
    *_, second = chat.send("And another", GREEDY)
    assert isinstance(first, Finished) and isinstance(second, Finished)
    assert second.usage.cached_tokens >= first.usage.prompt_tokens + len(first.token_ids) - 1


def test_counts_of_a_queue_that_refuses_more_prompts_than_may_wait() -> None:
    model = QueuedModel.alone(endless, most_waiting=3, slots=1)
    first, second = (prompt(model, each) for each in QUESTIONS[:2])
    finished = generate_batch(model, [first, second], GREEDY)
    stream = model.generate(first, ENDLESS)
    next(stream)
    entered = [model.generate(second, GREEDY) for _ in range(2)]
    with pytest.raises(QueueFullError) as error:
        model.generate(second, GREEDY)
    assert error.value.retry_after >= 1
    stream.close()
    for each in entered:
        list(each)
    model.queue.close()
    found = model.queue.metrics()
    assert (found.slots, found.running, found.waiting) == (1, 0, 0)
    assert (found.accepted, found.refused) == (5, 1)
    assert (found.finished, found.cancelled, found.failed) == (4, 1, 0)
    assert found.first_tokens >= 4
    assert found.kept_bytes > 0
    assert found.generated_tokens >= sum(len(each.token_ids) for each in finished)
    assert found.prompt_tokens >= 2 * len(first.ids) + 3 * len(second.ids) - found.cached_tokens
    assert found.prefill_seconds > 0 < found.decode_seconds < found.first_token_seconds + 1e9


def test_prompts_have_their_turn_in_the_order_they_came(single: QueuedModel) -> None:
    prompts = [Prompt(inputs=prompt(single, each), options=GREEDY) for each in QUESTIONS]
    numbers = [number for number, _ in single.stream_batch(prompts)]
    assert numbers == sorted(numbers)


def test_a_prompt_that_is_cancelled_while_it_waits_is_never_read(single: QueuedModel) -> None:
    first, second, third = (prompt(single, each) for each in QUESTIONS[:3])
    before = single.queue.metrics()
    stream = single.generate(first, ENDLESS)
    next(stream)
    single.generate(second, GREEDY).close()
    stream.close()
    list(single.generate(third, GREEDY))
    after = single.queue.metrics()
    assert after.cancelled - before.cancelled == 2
    assert after.prompt_tokens - before.prompt_tokens <= len(first.ids) + len(third.ids)


def test_a_stream_that_is_dropped_before_it_was_read_is_cancelled(single: QueuedModel) -> None:
    before = single.queue.metrics().cancelled
    single.generate(prompt(single, "Hello"), ENDLESS)
    assert answer(single, "Hello").token_ids
    assert single.queue.metrics().cancelled == before + 1


def test_prompts_wait_until_there_is_memory_for_them(
    queued: QueuedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other then, as if there were one slot."""
    monkeypatch.setattr(running_batch, "memory_beside", lambda *_: -1)
    prompts = [Prompt(inputs=prompt(queued, each), options=GREEDY) for each in QUESTIONS]
    before = queued.queue.metrics()
    numbers = [number for number, _ in queued.stream_batch(prompts)]
    after = queued.queue.metrics()
    assert numbers == sorted(numbers)
    assert after.rows - before.rows == after.steps - before.steps > 0


def test_a_prompt_that_needs_much_memory_is_not_overtaken(
    queued: QueuedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those after it would fit at any time, and would keep it waiting as long as others come."""
    large = Prompt(inputs=prompt(queued, "A question that needs much"), options=GREEDY)
    first, *later = (Prompt(inputs=prompt(queued, each), options=GREEDY) for each in QUESTIONS)

    def left(_: object, wanted: Prompt, others: list[Prompt]) -> int:
        return -1 if large in (wanted, *others) and others else 0

    monkeypatch.setattr(running_batch, "memory_beside", left)
    events = queued.stream_batch([first, later[0], large, *later[1:]])
    ended = [number for number, event in events if isinstance(event, Finished)]
    assert set(ended[:2]) == {0, 1}
    assert ended[2] == 2
    assert set(ended[3:]) == {3, 4}


def test_memory_is_given_back_while_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Flag()
    monkeypatch.setattr(queue, "give_back_memory", given.set)
    monkeypatch.setattr(queue, "_QUIET_SECONDS", 0.0)
    model = QueuedModel.alone(lambda: load("tiny"))
    given.clear()
    assert answer(model, "Hello").token_ids
    assert given.wait(20)
    model.queue.close()


# The end


def test_closing_ends_answers_that_have_begun_and_refuses_those_that_wait() -> None:
    model = QueuedModel.alone(lambda: load("tiny"), slots=1)
    begun = model.generate(prompt(model, "Hello"), GREEDY)
    next(begun)
    waiting = model.generate(prompt(model, "What is this?"), GREEDY)
    model.queue.close()
    *_, last = begun
    assert isinstance(last, Finished)
    with pytest.raises(ClosingError):
        list(waiting)
    with pytest.raises(ClosingError):
        model.generate(prompt(model, "Hello"), GREEDY)
    model.queue.close()


@pytest.mark.parametrize("how", [{"finish": False}, {"limit": 0.0}])
def test_closing_at_once_ends_answers_with_an_error(how: dict[str, Any]) -> None:
    model = QueuedModel.alone(endless)
    begun = model.generate(prompt(model, "Hello"), ENDLESS)
    next(begun)
    model.queue.close(**how)
    with pytest.raises(ClosingError):
        list(begun)


def test_an_error_in_the_thread_ends_all_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = QueuedModel.alone(lambda: load("tiny"))
    monkeypatch.setattr(running_batch, "memory_beside", lambda *_: 1 / 0)
    with pytest.raises(UnexpectedError, match="ZeroDivisionError"):
        list(model.generate(prompt(model, "Hello"), GREEDY))
    with pytest.raises(ClosingError):
        model.generate(prompt(model, "Hello"), GREEDY)
    model.queue.close()


def test_an_answer_is_cancelled_while_another_thread_waits_for_it(single: QueuedModel) -> None:
    events = single.generate(prompt(single, "Hello"), ENDLESS)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(list, events)
        events.close()
        assert not any(isinstance(event, Finished) for event in waiting.result(timeout=60))
    assert answer(single, "Hello").token_ids


def test_an_error_of_loading_is_raised_where_the_model_is_made() -> None:
    with pytest.raises(ModelNotFoundError):
        QueuedModel.alone(lambda: load("no-such-model"))


_PROGRAM = """
from gemma4cli.api import load
from gemma4cli.conversations.chat import Chat
from gemma4cli.options import GenerateOptions
from gemma4cli.serving.queued_model import QueuedModel

model = QueuedModel.alone(lambda: load("tiny"))
list(Chat(model).send("Hello", GenerateOptions(max_tokens=4)))
model.queue.close()
"""


@pytest.mark.slow
def test_a_program_ends_well_after_its_model_was_closed() -> None:
    """MLX aborts some processes that leave the streams of a thread to their end."""
    for _ in range(8):
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env={**os.environ, "G4_NO_NATIVE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
