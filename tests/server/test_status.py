"""What a server says of itself."""

from __future__ import annotations

import pytest
from server_requests import answer, error
from starlette.testclient import TestClient


def test_the_one_model_is_listed(client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert model["id"] == "tiny" and model["object"] == "model"
    for name in ("tiny", "built-in/tiny"):
        assert client.get(f"/v1/models/{name}").json() == model
    assert error(client.get("/v1/models/other"))[0] == 404


def test_health_is_ready(client: TestClient) -> None:
    response = client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


def test_metrics_are_prometheus_text(client: TestClient) -> None:
    answer(client)
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    assert "# TYPE g4_running gauge" in lines
    assert "# TYPE g4_generated_tokens_total counter" in lines
    values = [line.split() for line in lines if line[0] != "#"]
    assert len(values) > 10 and all(float(value) >= 0 for _, value in values)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405), ("PUT", "/health", 405)],
)
def test_paths_that_are_not_served(client: TestClient, method: str, path: str, status: int) -> None:
    assert error(client.request(method, path))[0] == status
