"""A server in this process, in front of the built-in model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from server_requests import Log, Serve
from starlette.testclient import TestClient

from gemma4cli.api import load
from gemma4cli.server.app import make_app
from gemma4cli.server.served import Served, ServerOptions
from gemma4cli.serving.queued_model import QueuedModel

URL = "http://127.0.0.1:11535"


@pytest.fixture(scope="session")
def queued() -> Iterator[QueuedModel]:
    model = QueuedModel.alone(lambda: load("tiny"))
    yield model
    model.queue.close()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def serve(queued: QueuedModel, log: Log) -> Serve:
    """Makes a client of a server with options."""

    def make(model: QueuedModel | None = queued, **options: Any) -> TestClient:
        served = Served(
            ServerOptions(**options), ("tiny", "built-in/tiny"), on_error=log.errors.append
        )
        if model is not None:
            served.ready(model)
        return TestClient(make_app(served, log.lines.append), base_url=URL)

    return make


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve()
