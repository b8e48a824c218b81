"""How what happens in a model reaches a client: thoughts, calls, errors, waiting, leaving."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from scripted_queue import Scripted, finished
from server_requests import Log, Serve, answer, asked, chunks, error

from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import AnswerCutError, ClosingError, NonFiniteError, QueueFullError
from gemma4cli.events import TextDelta, ThoughtDelta, ToolCallDelta, ToolCallFinished
from gemma4cli.messages import ToolCall
from gemma4cli.server import event_stream

PATH = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def deltas(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in found]


def test_thoughts_are_apart_from_the_answer(serve: Serve, tiny: LocalModel) -> None:
    events = (ThoughtDelta(text="Hm"), ThoughtDelta(text="."), TextDelta(text="Yes"))
    model = Scripted(tiny, *events, finished("Yes", thoughts="Hm."))
    client = serve(model)
    message = answer(client, reasoning_effort="high")["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm." and message["content"] == "Yes"
    _, *parts, _ = deltas(chunks(client))
    assert parts == [{"reasoning_content": "Hm"}, {"reasoning_content": "."}, {"content": "Yes"}]
    answer(client, reasoning_effort="minimal")
    answer(client, chat_template_kwargs={"enable_thinking": True})
    thinks = [request.prompt.options.think for request in model.requests]
    assert thinks == [True, False, False, True]


def test_tokens_of_thoughts_are_counted(serve: Serve, tiny: LocalModel) -> None:
    begin, end = map(tiny.tokenizer.control_id, ("<|channel>", "<channel|>"))
    last = replace(finished("Yes", thoughts="Hm"), token_ids=(begin, 300, 301, end, 302))
    details = answer(serve(Scripted(tiny, last)))["usage"]["completion_tokens_details"]
    assert details == {"reasoning_tokens": 4}


def test_calls_of_functions_are_sent_whole_or_in_parts(serve: Serve, tiny: LocalModel) -> None:
    call = ToolCall(name="weather", arguments={"city": "Zürich"}, id="call_1")
    parts = (
        ToolCallDelta(index=0, id="call_1", name="weather"),
        ToolCallDelta(index=0, id="call_1", name="weather", arguments='{"city":'),
        ToolCallDelta(index=0, id="call_1", name="weather", arguments='"Zürich"}'),
        ToolCallFinished(index=0, call=call),
    )
    model = Scripted(tiny, *parts, finished("", call, reason="tool_calls"))
    (choice,) = answer(serve(model), tools=[TOOL])["choices"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    (sent,) = choice["message"]["tool_calls"]
    assert (sent["id"], sent["type"], sent["function"]["name"]) == ("call_1", "function", "weather")
    assert json.loads(sent["function"]["arguments"]) == {"city": "Zürich"}
    assert model.requests[0].prompt.options.tools == json.dumps([TOOL])

    _, head, *rest, _ = (each for each in deltas(chunks(serve(model), tools=[TOOL])))
    (first,) = head["tool_calls"]
    assert first["id"] == "call_1" and first["function"] == {"name": "weather", "arguments": ""}
    assert "".join(each["tool_calls"][0]["function"]["arguments"] for each in rest) == (
        '{"city":"Zürich"}'
    )


def test_a_call_that_is_cut_off_comes_as_far_as_it_goes(serve: Serve, tiny: LocalModel) -> None:
    events = (
        TextDelta(text="Well"),
        ToolCallDelta(index=0, id="call_1", name="weather"),
        ToolCallDelta(index=0, id="call_1", name="weather", arguments='{"ci'),
        TextDelta(text="<|tool_call>call:weather{ci"),
    )
    client = serve(Scripted(tiny, *events, finished("", reason="length")))
    (choice,) = answer(client, tools=[TOOL])["choices"]
    assert choice["finish_reason"] == "length" and choice["message"]["content"] == "Well"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"ci'
    sent = deltas(chunks(client, tools=[TOOL]))
    assert [list(each) for each in sent[1:]] == [["content"], ["tool_calls"], ["tool_calls"], []]


@pytest.mark.parametrize(
    ("choice", "expected", "names"),
    [
        ("auto", "auto", ["weather", "time"]),
        ("none", "none", ["weather", "time"]),
        ("required", "required", ["weather", "time"]),
        ({"type": "function", "function": {"name": "time"}}, "required", ["time"]),
    ],
)
def test_a_request_says_whether_functions_are_called(
    serve: Serve, tiny: LocalModel, choice: object, expected: str, names: list[str]
) -> None:
    model = Scripted(tiny, finished("x"))
    other = {"type": "function", "function": {"name": "time"}}
    answer(serve(model), tools=[TOOL, other], tool_choice=choice, parallel_tool_calls=False)
    options = model.requests[0].prompt.options
    assert options.tools is not None and options.tool_choice == expected
    assert [tool["function"]["name"] for tool in json.loads(options.tools)] == names
    assert not options.parallel_calls


def test_usage_tells_what_was_in_the_cache(serve: Serve, tiny: LocalModel) -> None:
    usage = answer(serve(Scripted(tiny, finished("x"))))["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 5}
    assert usage["total_tokens"] == 27


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_by_a_schema_that_is_cut_off_says_length(
    serve: Serve, tiny: LocalModel, stream: bool
) -> None:
    client = serve(Scripted(tiny, TextDelta(text='{"a'), AnswerCutError(9)))
    response = client.post(PATH, json=asked(stream=stream))
    assert response.status_code == 200 and '"finish_reason": "length"' in response.text.replace(
        '":"', '": "'
    )


def test_an_answer_that_is_cut_off_does_not_end_the_others(serve: Serve, tiny: LocalModel) -> None:
    client = serve(Scripted(tiny, TextDelta(text='{"a'), AnswerCutError(9)))
    choices = answer(client, n=2)["choices"]
    assert [each["finish_reason"] for each in choices] == ["length", "length"]
    assert [each["message"]["content"] for each in choices] == ['{"a', '{"a']


@pytest.mark.parametrize(
    ("failed", "status"),
    [
        (QueueFullError(3), 429),
        (ClosingError(), 503),
        (NonFiniteError("here"), 500),
        (ValueError("a secret"), 500),
    ],
)
def test_an_error_of_the_model_is_an_answer_or_an_event(
    serve: Serve, tiny: LocalModel, log: Log, failed: Exception, status: int
) -> None:
    client = serve(Scripted(tiny, TextDelta(text="Y"), failed))
    response = client.post(PATH, json=asked())
    assert error(response)[0] == status
    *_, last = chunks(client)
    assert last == response.json()
    assert "secret" not in response.text
    assert bool(log.errors) == (status == 500), "the rest is nobody's fault"


def test_a_stream_without_news_has_comments(
    serve: Serve, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "_BEAT_SECONDS", 0.01)
    model = Scripted(tiny)
    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        if not model.requests:
            return {"type": "http.request", "body": json.dumps(asked(stream=True)).encode()}
        while not any(part.startswith(b":") for part in sent):
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "headers": [(b"host", b"127.0.0.1")],
        "query_string": b"",
    }
    asyncio.run(serve(model).app(scope, receive, send))  # type: ignore[arg-type]
    assert model.requests[0].is_cancelled, "nobody reads the answer any more"
