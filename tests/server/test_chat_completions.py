"""/v1/chat/completions: what clients of OpenAI's API send, and what they get."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from server_requests import Serve, answer, asked, chunks, error
from starlette.testclient import TestClient
from support.odd_servers import answering
from support.samples import sample

from gemma4cli.api import stream_generate
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import Finished
from gemma4cli.media import guarded_http
from gemma4cli.options import GenerateOptions

SCENE = Path(__file__).parents[2] / "fixtures" / "scene.png"
PATH = "/v1/chat/completions"


def data_url(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{encoded(path)}"


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def local(tiny: LoadedModel, **question: Any) -> Finished:
    """The answer of the same model without a server."""
    options = GenerateOptions(temperature=0, max_tokens=8)
    *_, last = stream_generate(tiny, "Hello", options=options, **question)
    assert isinstance(last, Finished)
    return last


def test_an_answer_is_the_one_that_the_model_gives_without_a_server(
    client: TestClient, tiny: LoadedModel
) -> None:
    found = answer(client)
    expected = local(tiny)
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": expected.text, "refusal": None}
    assert choice["finish_reason"] == "length"
    assert found["object"] == "chat.completion" and found["model"] == "tiny"
    usage = found["usage"]
    assert usage["prompt_tokens"] == expected.usage.prompt_tokens
    assert usage["completion_tokens"] == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8


def test_a_streamed_answer_has_the_same_text_in_parts(client: TestClient) -> None:
    whole = answer(client)
    first, *parts, last, usage = chunks(client, stream_options={"include_usage": True})
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(part["choices"][0]["delta"]["content"] for part in parts)
    assert len(parts) > 1 and text == whole["choices"][0]["message"]["content"]
    assert last["choices"][0]["delta"] == {} and last["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == [] and usage["usage"] == whole["usage"]
    every = [first, *parts, last, usage]
    assert len({chunk["id"] for chunk in every}) == 1
    assert all(chunk["usage"] is None for chunk in every[:-1])


def test_without_include_usage_chunks_have_no_usage(client: TestClient) -> None:
    assert not any("usage" in chunk for chunk in chunks(client))


SAMPLED: dict[str, Any] = {"temperature": 3, "seed": 5, "max_tokens": 6}


def test_several_answers_are_those_of_the_seeds_that_follow(client: TestClient) -> None:
    found = answer(client, n=3, **SAMPLED)
    alone = [answer(client, **{**SAMPLED, "seed": seed}) for seed in (5, 6, 7)]
    texts = [each["choices"][0]["message"]["content"] for each in alone]
    assert [each["message"]["content"] for each in found["choices"]] == texts
    assert len(set(texts)) == 3 and [each["index"] for each in found["choices"]] == [0, 1, 2]
    usage = found["usage"]
    assert usage["prompt_tokens"] == alone[0]["usage"]["prompt_tokens"]
    assert usage["completion_tokens"] == sum(each["usage"]["completion_tokens"] for each in alone)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_several_answers_without_a_seed_differ(client: TestClient) -> None:
    found = answer(client, n=3, **{**SAMPLED, "seed": None})
    assert len({each["message"]["content"] for each in found["choices"]}) == 3


def test_several_streamed_answers_have_the_same_texts_in_parts(client: TestClient) -> None:
    whole = answer(client, n=2, **SAMPLED)
    *found, usage = chunks(client, n=2, stream_options={"include_usage": True}, **SAMPLED)
    for index in range(2):
        mine = [each["choices"][0] for each in found if each["choices"][0]["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        text = "".join(each["delta"].get("content", "") for each in mine)
        assert text == whole["choices"][index]["message"]["content"]
        assert [each["finish_reason"] for each in mine] == [None] * (len(mine) - 1) + ["length"]
    assert usage["choices"] == [] and usage["usage"] == whole["usage"]


def test_a_token_with_a_bias_is_left_out_or_always_chosen(
    client: TestClient, tiny: LoadedModel
) -> None:
    first = local(tiny).token_ids[0]
    without = answer(client, logit_bias={str(first): -100})["choices"][0]["message"]["content"]
    assert without != local(tiny).text
    always = answer(client, logit_bias={str(first): 100}, max_tokens=3)
    text = tiny.tokenizer.decode([first] * 3)
    assert always["choices"][0]["message"]["content"].strip() == text.strip()


@pytest.mark.parametrize("given", ["data", "object"])
def test_a_picture_comes_as_a_data_url(client: TestClient, tiny: LoadedModel, given: str) -> None:
    url = data_url(SCENE, "image/png")
    part = {"type": "image_url", "image_url": url if given == "data" else {"url": url}}
    content = [part, {"type": "text", "text": "Hello"}]
    found = answer(client, messages=[{"role": "user", "content": content}])
    expected = local(tiny, images=[SCENE])
    assert found["choices"][0]["message"]["content"] == expected.text
    assert found["usage"]["prompt_tokens"] == expected.usage.prompt_tokens


def test_a_picture_may_have_more_soft_tokens(client: TestClient) -> None:
    part = {"type": "image_url", "image_url": data_url(SCENE, "image/png")}
    few, many = (
        answer(client, messages=[{"role": "user", "content": [part]}], max_soft_tokens=budget)
        for budget in (70, 280)
    )
    assert few["usage"]["prompt_tokens"] < many["usage"]["prompt_tokens"]


def test_a_length_beyond_the_context_is_the_rest_of_it(client: TestClient) -> None:
    assert answer(client, max_tokens=2**31 - 1)["choices"][0]["finish_reason"] == "stop"


def test_sound_comes_as_base64(client: TestClient, tiny: LoadedModel) -> None:
    speech = Path(sample("speech00.wav"))
    sound = {"type": "input_audio", "input_audio": {"data": encoded(speech), "format": "wav"}}
    content = [{"type": "text", "text": "Hello"}, sound]
    found = answer(client, messages=[{"role": "user", "content": content}])
    expected = local(tiny, audio=[speech])
    assert found["choices"][0]["message"]["content"] == expected.text
    assert found["usage"]["prompt_tokens"] == expected.usage.prompt_tokens


@pytest.mark.slow
def test_a_clip_comes_as_a_data_url(client: TestClient, tiny: LoadedModel) -> None:
    clip = Path(sample("video00.mp4"))
    video = {"type": "video_url", "video_url": {"url": data_url(clip, "video/mp4")}}
    content = [video, {"type": "text", "text": "Hello"}]
    found = answer(client, messages=[{"role": "user", "content": content}])
    expected = local(tiny, videos=[clip])
    assert found["choices"][0]["message"]["content"] == expected.text
    assert found["usage"]["prompt_tokens"] == expected.usage.prompt_tokens


def test_a_conversation_has_all_roles(client: TestClient) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "What time is it?", "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    ]
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
    longer = answer(client, messages=messages, tools=[tool])["usage"]["prompt_tokens"]
    assert longer > answer(client, messages=messages)["usage"]["prompt_tokens"]


def test_an_answer_ends_before_a_text_that_the_client_names(client: TestClient) -> None:
    text = answer(client)["choices"][0]["message"]["content"]
    word = text.split()[-1]
    for stop in (word, ["not in it", word]):
        (choice,) = answer(client, stop=stop)["choices"]
        assert choice["finish_reason"] == "stop"
        assert choice["message"]["content"] == text[: text.index(word)]


def test_an_answer_may_have_to_be_json(client: TestClient) -> None:
    schema = {
        "type": "object",
        "properties": {"color": {"enum": ["red", "blue"]}},
        "required": ["color"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "color", "schema": schema}}
    (choice,) = answer(client, response_format=wanted, max_tokens=30)["choices"]
    assert json.loads(choice["message"]["content"])["color"] in ("red", "blue")
    assert choice["finish_reason"] == "stop"
    (choice,) = answer(client, response_format={"type": "json_object"}, max_tokens=60)["choices"]
    assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_the_same_seed_gives_the_same_answer(client: TestClient) -> None:
    sampled = {"temperature": 2.0, "top_p": 1, "top_k": 0, "max_tokens": 12}
    first, second, other = (
        answer(client, seed=seed, **sampled)["choices"][0]["message"]["content"]
        for seed in (7, 7, -9)
    )
    assert first == second != other


def test_fields_that_other_servers_know_are_ignored(client: TestClient) -> None:
    odd = {"min_p": 0.1, "presence_penalty": 0.5, "user": "ada", "stop": None, "tools": None}
    assert answer(client, **odd)["choices"] == answer(client)["choices"]


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no messages": ({"messages": []}, "messages", "is empty"),
    "messages of another type": ({"messages": "Hello"}, "messages", "must be a list"),
    "a role": ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role", "unknown"),
    "nothing to answer": ({"messages": [{"role": "assistant", "content": "x"}]}, "", "answer"),
    "a temperature": ({"temperature": "hot"}, "temperature", "must be a number, not 'hot'"),
    "a negative temperature": ({"temperature": -1}, "temperature", "must be from 0 to"),
    "a length": ({"max_tokens": 0}, "max_tokens", "must be a whole number from 1"),
    "a length that is true": ({"max_completion_tokens": True}, "max_completion_tokens", "True"),
    "stream": ({"stream": "yes"}, "stream", "must be true or false"),
    "many stops": ({"stop": list("abcde")}, "stop", "the most are 4"),
    "an empty stop": ({"stop": ["a", ""]}, "stop[1]", "must be a text"),
    "no answers": ({"n": 0}, "n", "must be a whole number from 1 to 16"),
    "many answers": ({"n": 17}, "n", "must be a whole number from 1 to 16"),
    "likeliest tokens alone": ({"top_logprobs": 2}, "top_logprobs", "needs logprobs"),
    "many likeliest tokens": ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "to 20"),
    "biases": ({"logit_bias": [1]}, "logit_bias", "must be an object"),
    "a bias of a text": ({"logit_bias": {"the": 1}}, "logit_bias", "ids of tokens as keys"),
    "a large bias": ({"logit_bias": {"7": 101}}, "logit_bias.7", "must be from -100"),
    "many biases": ({"logit_bias": dict.fromkeys(map(str, range(2000)), 1)}, "logit_bias", "1024"),
    "a bias of no token": ({"logit_bias": {"999999": 1}}, "", "there is no token 999999"),
    "a budget": ({"max_soft_tokens": 100}, "max_soft_tokens", "one of 70"),
    "a format": ({"response_format": {"type": "xml"}}, "response_format.type", "not 'xml'"),
    "a schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
        "must be an object",
    ),
    "an effort": ({"reasoning_effort": "much"}, "reasoning_effort", "not 'much'"),
    "a forced call of nothing": ({"tool_choice": "required"}, "tool_choice", "no tools"),
    "a choice": ({"tool_choice": "perhaps"}, "tool_choice", "not 'perhaps'"),
    "an unknown function": (
        {"tool_choice": {"type": "function", "function": {"name": "later"}}},
        "tool_choice.function.name",
        "there is no function 'later'",
    ),
    "a tool without a name": ({"tools": [{"function": {}}]}, "tools[0].function", "lacks 'name'"),
    "a model's type": ({"model": 7}, "model", "must be a string"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_is_wrong_is_told_where(client: TestClient, case: str) -> None:
    fields, param, problem = REFUSED[case]
    status, where, message = error(client.post(PATH, json=asked(**fields)))
    assert (status, where or "") == (400, param)
    assert problem in message


PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "a path": ({"type": "image_url", "image_url": {"url": "/etc/passwd"}}, "opens no files"),
    "a file URL": ({"type": "image_url", "image_url": "file:///etc/passwd"}, "opens no files"),
    "an empty data URL": ({"type": "image_url", "image_url": "data:,"}, "empty"),
    "an address": ({"type": "image_url", "image_url": "https://x.org/a"}, "--allow-media-urls"),
    "not base64": ({"type": "image_url", "image_url": "data:image/png;base64,*"}, "not base64"),
    "no picture": ({"type": "image_url", "image_url": "data:text/plain,hello"}, "image"),
    "nothing": ({"type": "input_audio", "input_audio": {"data": ""}}, "is empty"),
    "a file": ({"type": "file", "file": {"file_data": "x"}}, "files are not taken"),
    "a path by its name": ({"type": "image", "path": "/etc/passwd"}, "unknown type 'image'"),
}


@pytest.mark.parametrize("case", PARTS)
def test_media_that_cannot_be_used_are_named_by_their_place(client: TestClient, case: str) -> None:
    part, problem = PARTS[case]
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hello"}, part]}]
    status, where, message = error(client.post(PATH, json=asked(messages=messages)))
    assert status == 400 and problem in message
    assert (where or "").startswith("messages[0].content[1]")


def test_a_request_has_only_so_many_media(client: TestClient) -> None:
    part = {"type": "image_url", "image_url": "data:,x"}
    messages = [{"role": "user", "content": [part] * 300}]
    status, where, message = error(client.post(PATH, json=asked(messages=messages)))
    assert (status, where) == (400, "messages") and "300 media" in message


def test_addresses_of_media_are_those_of_public_hosts(serve: Serve) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png?key=secret"}}
    messages = [{"role": "user", "content": [part]}]
    client = serve(media_urls=True)
    status, _, message = error(client.post(PATH, json=asked(messages=messages)))
    assert status == 400 and "public" in message and "secret" not in message


def test_media_are_downloaded_where_that_is_allowed(
    serve: Serve, tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\n"
    monkeypatch.setattr(guarded_http, "are_public", lambda found: True)
    with answering(head + SCENE.read_bytes()) as port:
        part = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{port}/scene"}}
        content = [part, {"type": "text", "text": "Hello"}]
        messages = [{"role": "user", "content": content}]
        found = answer(serve(media_urls=True), messages=messages)
    expected = local(tiny, images=[SCENE])
    assert found["choices"][0]["message"]["content"] == expected.text


def test_what_is_not_json_is_refused(client: TestClient) -> None:
    for body in (b"", b"{", b"[]", b'{"a": 1, "a": 2}', b"\xff"):
        assert error(client.post(PATH, content=body))[:2] == (400, None)


def test_half_a_character_can_be_refused_and_answered(client: TestClient) -> None:
    for url in ("\ud800", "http://x.org/\ud800", "data:\ud800,x"):
        content = [{"type": "image_url", "image_url": url}]
        body = json.dumps(asked(messages=[{"role": "user", "content": content}]))
        assert error(client.post(PATH, content=body))[0] == 400
    assert client.post(PATH, content=json.dumps(asked("\ud800"))).status_code == 200


def test_a_prompt_that_is_too_long_is_refused_before_a_stream_begins(client: TestClient) -> None:
    response = client.post(PATH, json=asked("word " * 20_000, stream=True))
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert response.status_code == 400


def test_only_the_model_that_is_here_answers(client: TestClient) -> None:
    for name in ("tiny", "built-in/tiny", "default"):
        assert answer(client, model=name)["model"] == "tiny"
    status, _, message = error(client.post(PATH, json=asked(model="gpt\n5")))
    assert status == 404 and "gpt\\n5" in message
