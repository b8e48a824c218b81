"""Events and errors to lines and back."""

from __future__ import annotations

import json

import pytest

from gemma4cli import errors
from gemma4cli.checked_json import JsonError
from gemma4cli.errors import Gemma4Error, RemoteError
from gemma4cli.events import (
    EncodeProgress,
    Event,
    Finished,
    Notice,
    PrefillProgress,
    TextDelta,
    ThoughtDelta,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    ToolCallFinished,
    Usage,
)
from gemma4cli.messages import ToolCall
from gemma4cli.wire import answers
from gemma4cli.wire.answers import STILL_THERE, error_line, event_line, read_line

CALL = ToolCall(name="add", arguments={"a": [1, {"b": None}], "c": 0.5}, id="call_1")
LIKELY = TokenLogprob(
    token=5, logprob=-0.25, likeliest=(TokenLogprob(token=262143, logprob=-9999.0),)
)
EVENTS: list[Event] = [
    Notice(text="one line"),
    EncodeProgress(done=1, total=2),
    PrefillProgress(done=0, total=9),
    ThoughtDelta(text="Hm\n"),
    TextDelta(text='"é\u2028😀'),
    TextDelta(text="A", logprobs=(LIKELY,)),
    ToolCallDelta(index=0, id="call_1", name="add", arguments='{"a": '),
    ToolCallFinished(index=0, call=CALL),
    Finished(
        reason="length",
        text="A",
        thoughts="",
        token_ids=(1, 2, 262143),
        usage=Usage(prompt_tokens=3, cached_tokens=2),
        timings=Timings(encode=1 / 3, prefill=1e-9, decode=123456.789),
        budgets=(70,),
        tool_calls=(CALL,),
        logprobs=(LIKELY,),
    ),
]


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    line = event_line(2, event)
    assert line.count(b"\n") == 1
    assert read_line(line, 3) == (2, event)


def test_every_event_of_an_answer_is_among_those_tested() -> None:
    """A new event is sent without a list of its fields; only here it needs an example."""
    assert {type(event).__name__ for event in EVENTS} == set(answers._kinds())


def test_an_empty_line_only_says_that_the_server_is_there() -> None:
    assert read_line(STILL_THERE, 1) is None


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"no JSON",
        b'{"prompt": 1, "event": "TextDelta", "data": {"text": "a"}}',
        b'{"prompt": -1, "event": "TextDelta", "data": {"text": "a"}}',
        b'{"prompt": 0, "event": "PicturesDecoded", "data": {"source": "a", "pictures": []}}',
        b'{"prompt": 0, "event": "Nothing", "data": {}}',
        b'{"prompt": 0, "event": "TextDelta"}',
        b'{"prompt": 0, "event": "TextDelta", "data": {"text": 1}}',
        b'{"prompt": 0, "event": "TextDelta", "data": {"text": "a", "more": 1}}',
    ],
)
def test_a_line_that_is_none_of_an_answer_is_refused(line: bytes) -> None:
    with pytest.raises(JsonError):
        read_line(line + b"\n", 1)


ERRORS: list[Gemma4Error] = [
    errors.ContextLengthError(9, 8),
    errors.PromptTooLargeError(10**9, 5, "use less"),
    errors.OptionError("top-p must be above 0"),
    errors.AnswerCutError(7, 9),
    errors.NonFiniteError("prefill"),
    errors.CheckpointError("model.safetensors", "is broken"),
    errors.WeightsMismatchError(["a", "b"], []),
    errors.UnsupportedModalityError("audio", "tiny", "it has no ears"),
    errors.QueueFullError(3, 2.5),
    errors.OutOfMemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_with_its_class_message_and_fields(error: Gemma4Error) -> None:
    with pytest.raises(type(error)) as raised:
        read_line(error_line(error), 1)
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    assert vars(raised.value) == vars(error)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"message": "it is late", "class": "LateError"}, "it is late"),
        ({"message": "it is late", "type": "server_error"}, "it is late"),
        ({"message": "a\nb\x00", "class": "Path"}, "a b"),
        ({"message": 3}, "an error without a message"),
        ("broken", "an error without a message"),
        ({"message": "x", "class": "RemoteError", "fields": {"__class__": 1, "args": [1]}}, "x"),
    ],
)
def test_an_error_that_g4_does_not_know_is_a_remote_one(fault: object, said: str) -> None:
    with pytest.raises(RemoteError, match=said):
        read_line(json.dumps({"error": fault}).encode() + b"\n", 1)
