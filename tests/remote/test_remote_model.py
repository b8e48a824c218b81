"""A served model from Python: what it answers is what a loaded one answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.live_server import serving
from support.samples import sample

import gemma4cli
from gemma4cli.conversations.chat import Chat
from gemma4cli.engine.answering import AnsweringModel, Prompt
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import ContextLengthError
from gemma4cli.events import Finished
from gemma4cli.messages import Message
from gemma4cli.options import GenerateOptions
from gemma4cli.remote.remote_model import RemoteModel
from gemma4cli.serving.queued_model import QueuedModel

GREEDY = GenerateOptions(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    model = QueuedModel.alone(lambda: gemma4cli.load("tiny"))
    with serving(model) as address:
        yield address
    model.queue.close()


@pytest.fixture
def served(url: str) -> AnsweringModel:
    return gemma4cli.connect(url)


@pytest.mark.slow
def test_functions_for_python_take_it(served: AnsweringModel, tiny: LoadedModel) -> None:
    def said(model: AnsweringModel) -> list[str]:
        return [
            gemma4cli.generate(model, "What?", images=[sample("image00.png")], options=GREEDY),
            *(each.text for each in gemma4cli.transcribe(model, sample("speech00.wav"))),
        ]

    assert said(served) == said(tiny)  # type: ignore[arg-type]


def test_it_is_the_same_model(served: AnsweringModel, tiny: LoadedModel) -> None:
    assert (served.name, served.context_length) == (tiny.name, tiny.context_length)
    assert served.processor.longest_clip == tiny.processor.longest_clip
    assert served.processor.config == tiny.processor.config
    assert served.identity.keys() == {"served"}
    text = "Grüße 😀 <|turn>\n\x00 \ud800"
    assert served.processor.tokenizer.encode(text) == tiny.tokenizer.encode(text)


def test_a_batch_goes_in_few_requests(served: RemoteModel, tiny: LoadedModel) -> None:
    prompts = [
        Prompt(
            inputs=tiny.processor.prepare_prompt([Message(role="user", content=text)], []),
            options=GREEDY,
        )
        for text in ("Hello", "Count to three", "What is this?")
    ]
    alone = [[*tiny.generate(each.inputs, GREEDY)][-1].token_ids for each in prompts]  # type: ignore[attr-defined]

    def answers() -> dict[int, tuple[int, ...]]:
        events = served.stream_batch(prompts)
        return {at: event.token_ids for at, event in events if isinstance(event, Finished)}

    assert answers() == dict(enumerate(alone))
    # In a request for each, if all together are too large.
    served.facts = replace(served.facts, most_body=1000)
    assert answers() == dict(enumerate(alone))
    assert list(served.stream_batch([])) == []


def test_errors_are_those_of_the_model(served: AnsweringModel) -> None:
    with pytest.raises(ContextLengthError):
        list(Chat(served).send("word " * 9000, GREEDY))
