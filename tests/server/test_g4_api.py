"""/g4/v1: what other g4s ask; what none of them would ask is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from server_requests import Log, Serve
from starlette.testclient import TestClient

from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import Gemma4Error
from gemma4cli.events import Finished
from gemma4cli.messages import Message
from gemma4cli.options import GenerateOptions
from gemma4cli.wire.answers import read_line
from gemma4cli.wire.faults import error_of
from gemma4cli.wire.requests import options_body, prompts_body

SHORT = GenerateOptions(temperature=0, max_tokens=2)


@pytest.fixture
def body(tiny: LoadedModel) -> bytes:
    """Two prompts."""
    inputs = [
        tiny.processor.prepare_prompt([Message(role="user", content=text)], [])
        for text in ("Hello", "What is this?")
    ]
    return prompts_body([Prompt(inputs=each, options=SHORT) for each in inputs])


def test_prompts_are_answered_in_lines(client: TestClient, body: bytes) -> None:
    response = client.post("/g4/v1/generate", content=body)
    assert response.headers["content-type"] == "application/x-ndjson"
    found = [read_line(line + b"\n", 2) for line in response.content.splitlines()]
    last = {each[0]: each[1] for each in found if each is not None}
    assert last.keys() == {0, 1}
    assert all(isinstance(each, Finished) and len(each.token_ids) == 2 for each in last.values())


def test_damaged_bodies_are_refused(client: TestClient, log: Log, body: bytes) -> None:
    """Whatever comes, it is answered with 400, or read if it says something after all."""
    random = np.random.default_rng(2)
    refused = 0
    for number in range(60):
        damaged = bytearray(body)
        if number % 2:
            del damaged[random.integers(len(body)) :]
        for place in random.integers(0, len(damaged), min(len(damaged), 1 + number % 9)):
            damaged[place] = random.integers(256)
        path = ("generate", "generate", "tokens", "check")[number % 4]
        response = client.post(f"/g4/v1/{path}", content=bytes(damaged))
        assert response.status_code in (200, 400), response.text
        if response.status_code == 400:
            refused += 1
            assert isinstance(error_of(response.json()["error"]), Gemma4Error)
    assert refused > 45
    assert log.errors == []
    assert client.post("/g4/v1/generate", content=body).status_code == 200


def test_a_client_that_began_with_another_model_is_refused(client: TestClient, body: bytes) -> None:
    identity = client.get("/g4/v1/model").json()["identity"]
    for path, content in (("generate", body), ("tokens", b'{"texts": ["a"]}')):
        answers = [
            client.post(f"/g4/v1/{path}", content=content, headers={"X-G4-Model": each})
            for each in (identity, "another")
        ]
        assert [each.status_code for each in answers] == [200, 409]
        assert answers[1].json()["error"]["code"] == "other_model"


def test_an_error_has_its_class(client: TestClient) -> None:
    schema = GenerateOptions(schema='{"type": "nothing"}')
    response = client.post("/g4/v1/check", content=options_body(schema))
    assert response.status_code == 400
    assert response.json()["error"]["class"] == "OptionError"
    fine = GenerateOptions(schema='{"type": "string"}')
    assert client.post("/g4/v1/check", content=options_body(fine)).status_code == 200


def test_a_prompt_that_does_not_fit_is_refused(client: TestClient, tiny: LoadedModel) -> None:
    text = Message(role="user", content="word " * 9000)
    inputs = tiny.processor.prepare_prompt([text], [])
    long = prompts_body([Prompt(inputs=inputs, options=SHORT)])
    error = client.post("/g4/v1/generate", content=long).json()["error"]
    assert (error["class"], error["code"]) == ("ContextLengthError", "context_length_exceeded")
    assert error["fields"]["limit"] == tiny.context_length


def test_a_token_and_no_page_of_another_origin(serve: Serve) -> None:
    client = serve(token="secret")
    assert client.get("/g4/v1/model").status_code == 401
    headers = {"Authorization": "Bearer secret"}
    assert client.get("/g4/v1/model", headers=headers).status_code == 200
    page = {**headers, "Origin": "http://evil.example"}
    assert client.get("/g4/v1/model", headers=page).status_code == 403


def test_a_model_that_is_being_loaded_is_waited_for(serve: Serve) -> None:
    response = serve(None).get("/g4/v1/model")
    assert (response.status_code, "Retry-After" in response.headers) == (503, True)


def test_text_never_becomes_a_control_token(client: TestClient, tiny: LoadedModel) -> None:
    response = client.post("/g4/v1/tokens", content=json.dumps({"texts": ["<|turn>"]}))
    assert tiny.tokenizer.control_id("<|turn>") not in response.content
