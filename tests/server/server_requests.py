"""What tests send to a server, and how they read what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

Serve = Callable[..., TestClient]
"""Makes a client of a server with options."""


class Log:
    """What the server tells its terminal."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[Exception] = []


def asked(text: str = "Hello", **fields: Any) -> dict[str, Any]:
    """A request with one question, answered greedily in a few tokens."""
    request = {
        "model": "tiny",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": 8,
    }
    return {**request, **fields}


def answer(client: TestClient, **fields: Any) -> dict[str, Any]:
    """The whole answer to a request."""
    response = client.post("/v1/chat/completions", json=asked(**fields))
    assert response.status_code == 200, response.text
    found = response.json()
    assert isinstance(found, dict)
    return found


def error(response: Any) -> tuple[int, str | None, str]:
    """Status, param and message of a refusal in OpenAI's form."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return response.status_code, body["error"]["param"], body["error"]["message"]


def chunks(client: TestClient, **fields: Any) -> list[dict[str, Any]]:
    """The objects of a streamed answer, which must end properly."""
    response = client.post("/v1/chat/completions", json=asked(stream=True, **fields))
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, end, rest = response.text.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events if event[:1] != ":"]
