"""A server in two processes gives what one in a single process gives."""

from __future__ import annotations

import base64
import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.launched import Process, started
from support.samples import sample

pytestmark = pytest.mark.slow
LIMIT = 120
"""Seconds in which an answer ends on the busiest machine."""

Body = dict[str, Any]


class Server:
    def __init__(self, processes: list[Process], address: str) -> None:
        self.processes = processes
        self._host = urlsplit(address).netloc

    def open(self, **fields: Any) -> HTTPResponse:
        """A response of which only the headers have been read."""
        connection = HTTPConnection(self._host, timeout=LIMIT)
        body = {"model": "tiny", "temperature": 0, **fields}
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        return connection.getresponse()

    def message(self, **fields: Any) -> Body:
        with self.open(**fields) as response:
            answer: Body = json.load(response)
        assert response.status == 200, answer
        found: Body = answer["choices"][0]["message"]
        for call in found.get("tool_calls") or ():
            del call["id"]
        return found


@contextmanager
def serving(folder: Path, count: int) -> Iterator[Server]:
    with started(folder, count, "serve", "-m", "tiny", "--port", "0") as processes:
        errors = processes[0].stderr
        assert errors is not None
        line = next(line for line in iter(errors.readline, "") if "http" in line)
        address = next(word for word in line.split() if "http" in word)
        # A pipe that is full would stop the server.
        said: list[str] = []
        thread = threading.Thread(target=lambda: said.extend(errors), daemon=True)
        thread.start()
        yield Server(processes, address)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("one"), 1) as server:
        yield server


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("two"), 2) as server:
        yield server


def asked(*parts: Body | str) -> Body:
    content = [{"type": "text", "text": each} if isinstance(each, str) else each for each in parts]
    return {"messages": [{"role": "user", "content": content}]}


def encoded(name: str) -> str:
    return base64.b64encode(Path(sample(name)).read_bytes()).decode()


IMAGE = {
    "type": "image_url",
    "image_url": {"url": f"data:image/png;base64,{encoded('image00.png')}"},
}
SOUND = {"type": "input_audio", "input_audio": {"data": encoded("speech00.wav"), "format": "wav"}}
LIST = {"type": "array", "items": {"enum": [1, 22]}, "minItems": 3, "maxItems": 5}
LONG = {"type": "array", "items": {"type": "integer"}, "minItems": 300, "maxItems": 300}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 5}},
            "required": ["city"],
        },
    },
}


def by_schema(schema: Body) -> Body:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}


REQUESTS = {
    "text": asked("Hello"),
    "image": asked(IMAGE, "Describe the picture."),
    "sound": asked(SOUND, "Transcribe."),
    "schema": {**asked("Hello"), "response_format": by_schema(LIST)},
    "tools": {**asked("Hello"), "tools": [WEATHER], "tool_choice": "required"},
    "thoughts": {**asked("Why?"), "reasoning_effort": "high", "max_tokens": 24},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_two_processes_answer_as_one_does(name: str, one: Server, two: Server) -> None:
    assert two.message(**REQUESTS[name]) == one.message(**REQUESTS[name])


def test_eight_clients_at_once_get_what_they_would_alone(one: Server, two: Server) -> None:
    requests = [*REQUESTS.values(), asked("Who are you?"), asked("Hello " * 40)]
    expected = [one.message(**each) for each in requests]
    with ThreadPoolExecutor(len(requests)) as threads:
        found = list(threads.map(lambda fields: two.message(**fields), requests))
    assert found == expected


def test_an_answer_is_streamed(one: Server, two: Server) -> None:
    with two.open(**asked("Hello"), stream=True) as response:
        lines = [line.decode() for line in response]
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    texts = [event["choices"][0]["delta"].get("content") or "" for event in events]
    assert sum(map(bool, texts)) > 1
    assert "".join(texts) == one.message(**asked("Hello"))["content"]


def test_a_client_that_leaves_ends_its_answer_only(one: Server, two: Server) -> None:
    with two.open(**asked("Hello"), response_format=by_schema(LONG), stream=True) as response:
        response.read(200)
    assert two.message(**REQUESTS["image"]) == one.message(**REQUESTS["image"])


def test_answers_that_have_begun_end_when_the_server_is_stopped(tmp_path: Path) -> None:
    with serving(tmp_path, 2) as server:
        body = {**asked("Hello"), "response_format": by_schema(LIST)}
        with server.open(**body, stream=True) as response:
            while '"content": "' not in response.readline().decode():
                continue
            for process in server.processes:  # as a launcher does
                process.send_signal(signal.SIGTERM)
            assert response.read().endswith(b"data: [DONE]\n\n")
        statuses = [each.wait(timeout=LIMIT) for each in server.processes]
    assert statuses == [128 + signal.SIGTERM] * 2


def test_a_server_that_has_told_a_client_of_a_lost_process_ends(tmp_path: Path) -> None:
    with serving(tmp_path, 2) as server:
        server.processes[1].kill()
        server.processes[1].wait(timeout=LIMIT)
        with server.open(**asked("Hello")) as response:
            assert (response.status, b"process 1 on" in response.read()) == (500, True)
        assert server.processes[0].wait(timeout=LIMIT) == 1
