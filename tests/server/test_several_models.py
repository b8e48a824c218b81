"""A server with several adapters: a request chooses one by its model's name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from server_requests import Log, answer, asked, chunks, error
from starlette.testclient import TestClient
from support.samples import sample
from support.served_adapters import NAMES, write_three

from gemma4cli.api import load
from gemma4cli.engine.adapter_loading import with_adapters
from gemma4cli.engine.local import LocalModel
from gemma4cli.hub.adapters import find_adapter
from gemma4cli.server.app import make_app
from gemma4cli.server.served import Served, ServerOptions
from gemma4cli.serving.queue import Queue
from gemma4cli.serving.queued_model import QueuedModel

URL = "http://127.0.0.1:11535"
EVERY = (*NAMES, "tiny")


@pytest.fixture(scope="module")
def models(
    tiny: LocalModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[QueuedModel]]:
    folders = write_three(tmp_path_factory.mktemp("adapters"), tiny)
    files = [find_adapter(str(folders[name])) for name in NAMES]
    queue = Queue(lambda: with_adapters(load("tiny"), files))
    yield [QueuedModel(queue, place) for place in range(len(EVERY))]
    queue.close()


@pytest.fixture
def client(models: list[QueuedModel], log: Log) -> TestClient:
    names = [(name, f"tiny+{name}") for name in NAMES]
    served = Served(ServerOptions(), *names, ("tiny",), on_error=log.errors.append)
    served.ready(*models)
    return TestClient(make_app(served, log.lines.append), base_url=URL)


def text(client: TestClient, **fields: object) -> str:
    return str(answer(client, **fields)["choices"][0]["message"]["content"])


def response_text(client: TestClient, model: str) -> str:
    body = {"model": model, "input": "Hello", "temperature": 0, "max_output_tokens": 16}
    found = client.post("/v1/responses", json=body).json()
    assert found["model"] == model.removeprefix("tiny+")
    return str(found["output"][-1]["content"][0]["text"])


def streamed(client: TestClient, model: str) -> str:
    events = chunks(client, model=model, max_tokens=16)
    assert {event["model"] for event in events} == {model}
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_all_models_are_listed_the_first_adapter_first(client: TestClient) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert [each["id"] for each in listed] == list(EVERY)
    assert [each.get("parent") for each in listed] == ["tiny", "tiny", "tiny", None]
    assert "parent" not in listed[-1]
    for each in listed:
        assert client.get(f"/v1/models/{each['id']}").json() == each
    assert client.get("/v1/models/tiny+loud").json()["id"] == "loud"


def test_the_name_in_a_request_chooses(client: TestClient, tiny: LocalModel) -> None:
    found = {name: text(client, model=name, max_tokens=16) for name in EVERY}
    assert len(set(found.values())) == len(EVERY)
    assert found["tiny"].startswith("Hello!")
    for name in EVERY:
        assert streamed(client, name) == response_text(client, name) == found[name]
        assert answer(client, model=name)["model"] == name
    assert text(client, model="tiny+loud", max_tokens=16) == found["loud"]
    assert response_text(client, "tiny+loud") == found["loud"]


def test_without_a_name_the_first_one_answers(client: TestClient) -> None:
    expected = text(client, model=NAMES[0])
    assert text(client, model=None) == text(client, model="default") == expected
    body = {key: value for key, value in asked().items() if key != "model"}
    found = client.post("/v1/chat/completions", json=body).json()
    assert (found["model"], found["choices"][0]["message"]["content"]) == (NAMES[0], expected)


def chat(client: TestClient) -> object:
    return client.post("/v1/chat/completions", json=asked(model="other"))


def transcription(client: TestClient) -> object:
    with open(sample("speech00.wav"), "rb") as file:
        return client.post(
            "/v1/audio/transcriptions", files={"file": file}, data={"model": "other"}
        )


@pytest.mark.parametrize(
    "ask",
    [
        chat,
        transcription,
        lambda client: client.get("/v1/models/other"),
        lambda client: client.get("/g4/v1/model?name=other"),
        lambda client: client.post("/v1/responses", json={"model": "other", "input": "Hello"}),
    ],
    ids=["chat", "transcription", "model", "facts", "response"],
)
def test_a_name_that_is_not_here_is_an_error_that_lists_those_that_are(
    client: TestClient, ask: Callable[[TestClient], object]
) -> None:
    status, _, message = error(ask(client))
    assert status == 404
    assert "'other'" in message and message.endswith("'brief', 'loud', 'dora', 'tiny'")


def test_recordings_are_heard_by_the_model_that_is_named(client: TestClient) -> None:
    def heard(model: str) -> str:
        with open(sample("speech00.wav"), "rb") as file:
            sent = {"file": file}
            found = client.post("/v1/audio/transcriptions", files=sent, data={"model": model})
        return str(found.json()["text"])

    assert heard("tiny") != heard("loud")


def test_metrics_say_what_each_model_did(client: TestClient) -> None:
    def generated(name: str) -> int:
        lines = client.get("/metrics").text.splitlines()
        head = f'g4_model_generated_tokens_total{{model="{name}"}} '
        (line,) = [each for each in lines if each.startswith(head)]
        return int(line.removeprefix(head))

    before = {name: generated(name) for name in EVERY}
    answer(client, model="dora")
    gained = {name: generated(name) - before[name] for name in EVERY}
    assert gained["dora"] > 0
    assert not any(gained[name] for name in EVERY if name != "dora")


def test_facts_are_those_of_the_model_that_is_named(client: TestClient) -> None:
    facts = {name: client.get("/g4/v1/model", params={"name": name}).json() for name in EVERY}
    assert client.get("/g4/v1/model").json() == facts["brief"]
    assert len({each["identity"] for each in facts.values()}) == len(EVERY)
    assert [each["names"][0] for each in facts.values()] == list(EVERY)
    (offers,) = {json.dumps(each["offers"]) for each in facts.values()}
    assert [each["has_adapter"] for each in json.loads(offers)] == [True, True, True, False]
