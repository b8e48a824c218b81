"""Functions over HTTP: calls of a real model reach a client, and their results come back."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from server_requests import Serve, answer, asked, error
from starlette.testclient import TestClient
from support.scripted import script

PATH = "/v1/chat/completions"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
WEATHER = ("get_weather", {"city": 'Saint "X"\n}', "days": 3})
THOUGHT = ("<|channel>", "thought\nhm\n", "<channel|>")


def sdk(client: TestClient) -> openai.OpenAI:
    """OpenAI's own client, without a network."""
    return openai.OpenAI(
        base_url="http://127.0.0.1:11535/v1", api_key="none", http_client=client, max_retries=0
    )


def request(*messages: Any, **fields: Any) -> dict[str, Any]:
    question = {"role": "user", "content": "Weather?"}
    given = asked(tools=[TOOL], messages=[question, *messages], max_tokens=400)
    return {**given, **fields}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_runs_calls_and_sends_their_results(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """The second prompt is what the model wrote, so nothing of it is computed again."""
    said = [*THOUGHT, "Let me see.", WEATHER, ("get_weather", {"city": "Oslo"})]
    prompts = script(monkeypatch, said, ["so", "<channel|>", "Sunny."])
    openai_client = sdk(client)
    asked_first = request(reasoning_effort="high")
    if stream:
        with openai_client.chat.completions.stream(**asked_first) as events:
            completion: Any = events.get_final_completion()
    else:
        completion = openai_client.chat.completions.create(**asked_first)
    (choice,) = completion.choices
    message = choice.message
    assert choice.finish_reason == "tool_calls"
    assert message.content == "Let me see."
    calls = [
        (each.function.name, json.loads(each.function.arguments)) for each in message.tool_calls
    ]
    assert calls == [WEATHER, ("get_weather", {"city": "Oslo"})]
    assert len({each.id for each in message.tool_calls}) == 2
    results = [
        {"role": "tool", "tool_call_id": each.id, "content": f"{number} degrees"}
        for number, each in enumerate(message.tool_calls)
    ]
    repeated = {
        "role": "assistant",
        "content": message.content,
        "tool_calls": [
            each.model_dump(exclude={"parsed_arguments"}) for each in message.tool_calls
        ],
    }
    for each in repeated["tool_calls"]:
        each["function"].pop("parsed_arguments", None)
    if not stream:
        repeated["reasoning_content"] = message.reasoning_content
    final = openai_client.chat.completions.create(
        **request(repeated, *results, reasoning_effort="high")
    )
    assert final.choices[0].finish_reason == "stop"
    assert final.choices[0].message.content == "Sunny."
    if not stream:
        first, second = completion.usage, final.usage
        known = first.prompt_tokens + first.completion_tokens
        assert second.prompt_tokens_details.cached_tokens == known
    thought = "" if stream else "<|channel>thought\nhm\n<channel|>"
    assert f"model\n{thought}Let me see.<|tool_call>call:get_weather{{city:" in prompts[1]
    assert prompts[1].endswith(
        'response:get_weather{value:<|"|>0 degrees<|"|>}<tool_response|><|tool_response>'
        'response:get_weather{value:<|"|>1 degrees<|"|>}<tool_response|><|channel>thought\n'
    )


def test_a_required_call_has_the_declared_form(client: TestClient) -> None:
    """A model that knows no functions still writes calls that fit, or is cut off inside one."""
    fields = {"tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 60}
    (choice,) = client.post(PATH, json=request(seed=1, temperature=1, **fields)).json()["choices"]
    (call,) = choice["message"]["tool_calls"]
    if choice["finish_reason"] == "tool_calls":
        arguments = json.loads(call["function"]["arguments"])
        assert isinstance(arguments["city"], str)
        assert arguments.keys() <= {"city", "days"}
    else:
        assert choice["finish_reason"] == "length" and call["function"]["name"] == "get_weather"
        assert call["function"]["arguments"].startswith('{"city":"')


def test_an_answer_that_must_be_json_may_call_functions_first(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    script(monkeypatch, [WEATHER], ['{"a":1}'])
    first = client.post(PATH, json=request(response_format=wanted)).json()["choices"][0]
    assert first["finish_reason"] == "tool_calls"
    second = client.post(PATH, json=request(response_format=wanted)).json()["choices"][0]
    assert (second["finish_reason"], second["message"]["content"]) == ("stop", '{"a":1}')


def test_a_request_may_allow_some_of_the_functions(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"type": "function", "function": {"name": "now"}}
    named = {"type": "function", "function": {"name": "now"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}
    script(monkeypatch, [("now", {})])
    found = answer(client, tools=[TOOL, other], tool_choice=choice, max_tokens=400)
    assert found["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, None, "name must be"),
        ({"tools": [TOOL, TOOL]}, None, "declared twice"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "now"}}},
            "tool_choice.function.name",
            "there is no function 'now'",
        ),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "must be an object"),
    ],
)
def test_tools_that_cannot_be_used_are_refused(
    serve: Serve, fields: dict[str, Any], param: str | None, message: str
) -> None:
    status, found, text = error(serve().post(PATH, json=request(**fields)))
    assert (status, found) == (400, param)
    assert message in text
