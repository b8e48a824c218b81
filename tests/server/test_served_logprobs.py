"""How likely tokens were, in the form that clients of OpenAI's API read."""

from __future__ import annotations

import openai
from server_requests import answer, chunks
from starlette.testclient import TestClient

from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import TokenLogprob
from gemma4cli.server.logprobs import logprobs_data


def test_each_token_of_an_answer_has_its_probability(client: TestClient) -> None:
    (choice,) = answer(client, logprobs=True, top_logprobs=2)["choices"]
    content = choice["logprobs"]["content"]
    assert (
        b"".join(bytes(each["bytes"]) for each in content).decode()
        == (choice["message"]["content"])
    )
    for each in content:
        assert each["logprob"] <= 0 and len(each["top_logprobs"]) == 2
        assert each["top_logprobs"][0] == {key: each[key] for key in ("token", "logprob", "bytes")}
    assert choice["logprobs"]["refusal"] is None


def test_without_a_number_no_other_tokens_are_named(client: TestClient) -> None:
    (choice,) = answer(client, logprobs=True)["choices"]
    assert all(each["top_logprobs"] == [] for each in choice["logprobs"]["content"])
    (choice,) = answer(client, logprobs=False, top_logprobs=None)["choices"]
    assert choice["logprobs"] is None


def test_the_chunks_of_a_stream_have_those_of_their_text(client: TestClient) -> None:
    (whole,) = answer(client, logprobs=True, top_logprobs=1)["choices"]
    found = [chunk["choices"][0] for chunk in chunks(client, logprobs=True, top_logprobs=1)]
    parts = [each for each in found if each["delta"].get("content")]
    for each in parts:
        text = b"".join(bytes(token["bytes"]) for token in each["logprobs"]["content"])
        assert text.decode() == each["delta"]["content"]
    streamed = [token for each in parts for token in each["logprobs"]["content"]]
    assert [each["token"] for each in streamed] == [
        each["token"] for each in whole["logprobs"]["content"]
    ]
    assert found[0]["logprobs"] is None and found[-1]["logprobs"] is None


def test_a_part_of_a_character_is_named_by_its_byte(tiny: LoadedModel) -> None:
    ids = tiny.tokenizer.encode("\U0001f600")
    found = [TokenLogprob(token=token, logprob=-1.0) for token in ids]
    data = logprobs_data(tiny.tokenizer, found)
    assert bytes(byte for each in data for byte in each["bytes"]).decode() == "\U0001f600"
    assert data[0]["token"] == "\\xf0"


def test_the_openai_package_reads_them(client: TestClient) -> None:
    sdk = openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="x", http_client=client)  # type: ignore[arg-type]
    found = sdk.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "Hello"}],
        max_tokens=4,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
    )
    logprobs = found.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert "".join(each.token for each in logprobs.content) == found.choices[0].message.content
