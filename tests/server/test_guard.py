"""Who may call, and with how much."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from server_requests import Log, Serve, asked, error
from starlette.testclient import TestClient

from gemma4cli.server import served

PATH = "/v1/chat/completions"
PAGE = "https://page.example"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@x"])
def test_a_name_that_is_not_this_machine_is_refused(client: TestClient, host: str) -> None:
    """A page whose host name was made to mean this machine would be read otherwise."""
    assert error(client.get("/v1/models", headers={"Host": host}))[0] == 403


@pytest.mark.parametrize("host", ["localhost:11535", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_this_machine_has_several_names(client: TestClient, host: str) -> None:
    assert client.get("/v1/models", headers={"Host": host}).status_code == 200


def test_a_page_of_another_origin_is_refused_without_being_asked(client: TestClient) -> None:
    for origin in (PAGE, "null", "http://127.0.0.1:3000"):
        headers = {"Origin": origin, "Content-Type": "text/plain"}
        assert error(client.post(PATH, json=asked(), headers=headers))[0] == 403
    own = {"Origin": "http://127.0.0.1:11535"}
    assert client.get("/v1/models", headers=own).status_code == 200


def test_pages_that_are_allowed_may_ask_and_read(serve: Serve) -> None:
    client = serve(origins=frozenset({PAGE}), token="secret")
    preflight = client.options(
        PATH,
        headers={
            "Origin": PAGE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    headers = {"Origin": PAGE, "Authorization": "Bearer secret"}
    response = client.get("/v1/models", headers=headers)
    assert response.headers["access-control-allow-origin"] == PAGE
    refused = client.get("/v1/models", headers={"Origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
    other = client.options(
        PATH, headers={"Origin": "https://o.example", "Access-Control-Request-Method": "POST"}
    )
    assert other.status_code == 403 and "access-control-allow-origin" not in other.headers


def test_with_a_token_only_its_owners_get_in(serve: Serve) -> None:
    client = serve(token="s3cret")
    for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Basic s3cret"}):
        response = client.get("/v1/models", headers=headers)
        assert error(response)[0] == 401
        assert response.headers["www-authenticate"] == "Bearer"
    for headers in ({"Authorization": "bearer s3cret"}, {"X-Api-Key": "s3cret"}):
        assert client.get("/v1/models", headers=headers).status_code == 200
        named = {**headers, "Host": "server.example"}
        assert client.get("/v1/models", headers=named).status_code == 200
    assert client.get("/health").status_code == 200
    assert client.get("/metrics").status_code == 401


def test_a_body_is_not_read_beyond_its_limit(serve: Serve) -> None:
    client = serve(most_body=1000)

    def parts() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    for content in (b" " * 1001, parts()):
        response = client.post(PATH, content=content)
        assert error(response)[0] == 413
        assert response.headers["connection"].lower() == "close"
    assert error(client.post(PATH, content=b" " * 999))[0] == 400


def test_all_bodies_together_have_a_limit(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_BODIES", 0.5)
    client = serve(most_body=1000)
    for _ in range(3):
        assert error(client.post(PATH, content=b" " * 1200))[0] == 413
        assert error(client.post(PATH, content=b" " * 600))[0] == 429
        assert error(client.post(PATH, content=b" " * 400))[0] == 400


def test_a_body_of_a_million_values_is_not_read(client: TestClient) -> None:
    for content in (b"[" * 1_000_001, b"{}," * 500_001):
        assert error(client.post(PATH, content=content))[0] == 413


def test_more_requests_than_may_wait_are_told_when_to_come_back(serve: Serve) -> None:
    response = serve(most_requests=0).post(PATH, json=asked())
    assert error(response)[0] == 429
    assert int(response.headers["retry-after"]) > 0


def test_while_the_model_loads_requests_are_told_so(serve: Serve) -> None:
    client = serve(model=None)
    assert (client.get("/health").status_code, client.get("/health").json()) == (
        503,
        {"status": "loading"},
    )
    for response in (client.post(PATH, json=asked()), client.get("/v1/models")):
        assert error(response)[0] == 503 and "retry-after" in response.headers


def test_a_line_says_what_happened_and_not_what_was_said(client: TestClient, log: Log) -> None:
    client.post(PATH, json=asked("my secret"))
    client.get("/v1/nothing?key=secret")
    first, second = log.lines
    assert first.startswith("POST /v1/chat/completions 200 ") and re.search(
        r" s \d+ tokens$", first
    )
    assert second.startswith("GET /v1/nothing 404 ")
    assert "secret" not in first + second
