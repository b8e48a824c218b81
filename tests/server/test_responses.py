"""/v1/responses: inputs of items, responses of items, the events of a stream, what is refused."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted_queue import Scripted, finished
from server_requests import Log, Serve, answer, error
from starlette.testclient import TestClient
from support.samples import GREETING, sample

from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import AnswerCutError, NonFiniteError
from gemma4cli.events import Event, TextDelta, ThoughtDelta, ToolCallDelta, ToolCallFinished
from gemma4cli.messages import Message, TextPart, ToolCall
from gemma4cli.server.response_request import response_request
from gemma4cli.server.served import ServerOptions

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": "tiny", "input": "Hello", "temperature": 0, "max_output_tokens": 20, **fields}


def respond(client: TestClient, **fields: Any) -> dict[str, Any]:
    response = client.post(PATH, json=asked(**fields))
    assert response.status_code == 200, response.text
    found = response.json()
    assert isinstance(found, dict)
    return found


def events(client: TestClient, **fields: Any) -> list[dict[str, Any]]:
    """The events of a stream, whose names and numbers are right."""
    response = client.post(PATH, json=asked(stream=True, **fields))
    assert response.headers["content-type"].startswith("text/event-stream")
    *parts, rest = response.text.split("\n\n")
    assert rest == ""
    found = []
    for number, part in enumerate(each for each in parts if each[:1] != ":"):
        name, data = part.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
        assert found[-1]["sequence_number"] == number
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [each["type"].removeprefix("response.") for each in found]


def messages(**fields: Any) -> tuple[Message, ...]:
    return response_request(asked(**fields), ServerOptions()).messages


def test_a_response_has_a_message_with_the_answer(client: TestClient) -> None:
    found = respond(client, metadata={"a": "b"})
    (item,) = found["output"]
    (content,) = item["content"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert (content["type"], content["text"]) == ("output_text", GREETING)
    assert found["object"] == "response" and found["status"] == "completed"
    assert found["error"] is found["incomplete_details"] is found["previous_response_id"] is None
    assert found["store"] is False and found["metadata"] == {"a": "b"}
    usage = found["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_an_answer_that_is_too_long_is_incomplete(client: TestClient) -> None:
    found = respond(client, max_output_tokens=2)
    assert found["status"] == found["output"][0]["status"] == "incomplete"
    assert found["incomplete_details"] == {"reason": "max_output_tokens"}
    assert events(client, max_output_tokens=2)[-1]["type"] == "response.incomplete"


def test_a_stream_builds_the_response_event_by_event(client: TestClient) -> None:
    found = events(client)
    assert [each for each in kinds(found) if each != "output_text.delta"] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    deltas = [each for each in found if each["type"].endswith("delta")]
    text = "".join(each["delta"] for each in deltas)
    *_, done, part, item, last = found
    assert text == done["text"] == part["part"]["text"] == item["item"]["content"][0]["text"]
    assert last["response"]["output"] == [item["item"]]
    assert {each["item_id"] for each in [*deltas, done, part]} == {item["item"]["id"]}
    assert found[0]["response"]["id"] == last["response"]["id"]
    assert found[0]["response"]["status"] == "in_progress" and found[0]["response"]["usage"] is None
    assert text == respond(client)["output"][0]["content"][0]["text"]


def test_media_are_parts_of_the_input(client: TestClient) -> None:
    picture = b64encode(Path(sample("image00.png")).read_bytes()).decode()
    speech = b64encode(Path(sample("speech07.wav")).read_bytes()).decode()
    url = f"data:image/png;base64,{picture}"
    content = [
        {"type": "input_image", "image_url": url, "detail": "auto"},
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_audio", "input_audio": {"data": speech, "format": "wav"}},
    ]
    found = respond(client, input=[{"role": "user", "content": content}])
    chat = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "What is this?"},
        content[2],
    ]
    other = answer(client, messages=[{"role": "user", "content": chat}], max_tokens=20)
    assert found["output"][0]["content"][0]["text"] == other["choices"][0]["message"]["content"]
    assert found["usage"]["input_tokens"] == other["usage"]["prompt_tokens"]


def test_instructions_come_first() -> None:
    user = Message(role="user", content="Hello")
    assert messages(instructions="Be brief.") == (
        Message(role="system", content="Be brief."),
        user,
    )
    developer = {
        "role": "developer",
        "content": [{"type": "input_text", "text": "In rhyme."}],
    }
    items = [developer, {"type": "message", "role": "user", "content": "Hello"}]
    assert messages(instructions="Be brief.", input=items) == (
        Message(role="system", content="Be brief.\n\nIn rhyme."),
        user,
    )


def test_items_of_an_earlier_response_are_input() -> None:
    """Thoughts, a text and calls that follow each other are one turn of the model."""
    items = [
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "1", "name": "weather", "arguments": '{"city": "X"}'},
        {"type": "function_call", "call_id": "2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "rain"},
        {
            "type": "function_call_output",
            "call_id": "2",
            "output": [{"type": "input_text", "text": "sun"}],
        },
    ]
    calls = (
        ToolCall(name="weather", arguments={"city": "X"}, id="1"),
        ToolCall(name="weather", arguments={}, id="2"),
    )
    assert messages(input=items) == (
        Message(role="user", content="Weather?"),
        Message(
            role="assistant",
            content=(TextPart(text="I look."),),
            thoughts="Hm.",
            tool_calls=calls,
        ),
        Message(role="tool", content="rain", tool_call_id="1"),
        Message(role="tool", content=(TextPart(text="sun"),), tool_call_id="2"),
    )


def test_an_answer_may_have_to_be_json(client: TestClient) -> None:
    schema = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "blue"]}},
        "required": ["color"],
        "additionalProperties": False,
    }
    wanted = {"format": {"type": "json_schema", "name": "color", "schema": schema, "strict": True}}
    found = respond(client, text=wanted, max_output_tokens=30)
    assert json.loads(found["output"][0]["content"][0]["text"])["color"] in ("red", "blue")
    assert found["text"] == wanted


def test_probabilities_are_sent_where_they_are_included(client: TestClient) -> None:
    include = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    (content,) = respond(client, **include)["output"][0]["content"]
    assert "".join(each["token"] for each in content["logprobs"]) == content["text"]
    assert all(len(each["top_logprobs"]) == 2 for each in content["logprobs"])
    found = events(client, **include)
    parts = [each["logprobs"] for each in found if each["type"] == "response.output_text.delta"]
    assert sum(map(len, parts)) == len(content["logprobs"])


CALL = ToolCall(name="weather", arguments={"city": "X"}, id="call_1")
CALLED: tuple[Event, ...] = (
    ToolCallDelta(index=0, id="call_1", name="weather"),
    ToolCallDelta(index=0, id="call_1", name="weather", arguments='{"city": '),
    ToolCallDelta(index=0, id="call_1", name="weather", arguments='"X"}'),
)


def test_thoughts_text_and_calls_are_items(serve: Serve, tiny: LocalModel) -> None:
    script = (
        ThoughtDelta(text="Hm"),
        TextDelta(text="I look."),
        *CALLED,
        ToolCallFinished(index=0, call=CALL),
    )
    last = finished("I look.", CALL, thoughts="Hm", reason="tool_calls")
    model = Scripted(tiny, *script, last)
    client = serve(model)
    found = respond(client, tools=[TOOL], reasoning={"effort": "high"})
    reasoning, message, call = found["output"]
    assert found["status"] == "completed"
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Hm"}]
    assert message["content"][0]["text"] == "I look."
    assert (call["type"], call["call_id"], call["name"]) == ("function_call", "call_1", "weather")
    assert json.loads(call["arguments"]) == {"city": "X"}
    assert all(each["status"] == "completed" for each in found["output"])
    assert model.requests[0].prompt.options.think and model.requests[0].prompt.options.tools

    streamed = events(client, tools=[TOOL])
    assert kinds(streamed)[2:-1] == [
        *("output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", *["function_call_arguments.delta"] * 2),
        *("function_call_arguments.done", "output_item.done"),
    ]
    indices = [each["output_index"] for each in streamed[2:-1]]
    assert indices == [0] * 6 + [1] * 6 + [2] * 5


def test_a_call_that_is_cut_off_is_incomplete(serve: Serve, tiny: LocalModel) -> None:
    script = (*CALLED[:2], TextDelta(text="call:weather{city:"), finished("", reason="length"))
    found = respond(serve(Scripted(tiny, *script)), tools=[TOOL])
    (call,) = found["output"]
    assert (call["status"], call["arguments"]) == ("incomplete", '{"city": ')
    assert found["status"] == "incomplete"


def test_a_document_that_is_cut_off_is_incomplete(serve: Serve, tiny: LocalModel) -> None:
    client = serve(Scripted(tiny, TextDelta(text='{"a'), AnswerCutError(9)))
    assert respond(client)["usage"]["output_tokens"] == 9
    assert events(client)[-1]["response"]["status"] == "incomplete"


def test_an_error_is_the_last_event_of_a_stream(serve: Serve, tiny: LocalModel, log: Log) -> None:
    client = serve(Scripted(tiny, TextDelta(text="Well"), NonFiniteError("decoding")))
    *_, last = events(client)
    assert (last["type"], last["param"]) == ("error", None)
    assert "NaN" in last["message"] and [type(each) for each in log.errors] == [NonFiniteError]
    assert error(client.post(PATH, json=asked()))[0] == 500


def test_what_is_wrong_with_a_prompt_is_found_before_a_stream_begins(client: TestClient) -> None:
    response = client.post(PATH, json=asked(stream=True, input="word " * 20_000))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


def part(**fields: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [fields]}]}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no input": ({"input": None}, "input", "must be a list"),
    "an empty input": ({"input": []}, "input", "is empty"),
    "an item": ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type", "unknown"),
    "a role": ({"input": [{"role": "robot", "content": ""}]}, "input[0].role", "unknown"),
    "a length": ({"max_output_tokens": 0}, "max_output_tokens", "must be a whole number"),
    "an effort": ({"reasoning": {"effort": "much"}}, "reasoning.effort", "not 'much'"),
    "a format": ({"text": {"format": {"type": "xml"}}}, "text.format.type", "not 'xml'"),
    "a schema": ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema", "an object"),
    "another tool": ({"tools": [{"type": "mcp"}]}, "tools[0].type", "must be function"),
    "a tool": ({"tools": [{"type": "function"}]}, "tools[0]", "lacks 'name'"),
    "a choice": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "later"}},
        "tool_choice.name",
        "there is no function 'later'",
    ),
    "a kind of choice": ({"tool_choice": {"type": "mcp"}}, "tool_choice.type", "not 'mcp'"),
    "an earlier response": ({"previous_response_id": "x"}, "previous_response_id", "not stored"),
    "a conversation": ({"conversation": {"id": "x"}}, "conversation", "not stored"),
    "storing": ({"store": True}, "store", "not stored"),
    "the background": ({"background": True}, "background", "not stored"),
    "a prompt": ({"prompt": {"id": "x"}}, "prompt", "not stored"),
    "a file": (part(type="input_file", file_id="x"), "input[0].content[0].type", "not taken"),
    "a path": (
        part(type="input_image", image_url="/etc/passwd"),
        "input[0].content[0].image_url",
        "opens no files",
    ),
    "no picture": (
        part(type="input_image", image_url="data:,x"),
        "input[0].content[0].image_url",
        "not an image",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_field_that_is_wrong_is_named(client: TestClient, case: str) -> None:
    fields, param, problem = REFUSED[case]
    status, where, message = error(client.post(PATH, json=asked(**fields)))
    assert (status, where) == (400, param)
    assert problem in message


def test_the_openai_package_reads_responses_and_streams(client: TestClient) -> None:
    sdk = openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="x", http_client=client)  # type: ignore[arg-type]
    found = sdk.responses.create(model="tiny", input="Hello", temperature=0, max_output_tokens=20)
    assert found.output_text == GREETING and found.usage is not None
    with sdk.responses.stream(model="tiny", input="Hello", temperature=0) as stream:
        text = "".join(each.delta for each in stream if each.type == "response.output_text.delta")
        assert text == stream.get_final_response().output_text == GREETING
    with pytest.raises(openai.BadRequestError, match="not stored"):
        sdk.responses.create(model="tiny", input="Hello", previous_response_id="x")
