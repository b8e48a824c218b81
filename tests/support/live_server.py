"""A server of this process that listens at a port, as ``g4 serve`` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from gemma4cli.server.app import make_app
from gemma4cli.server.listening import HttpThread, bound_socket, url_of
from gemma4cli.server.served import Served, ServerOptions
from gemma4cli.serving.queued_model import QueuedModel


@contextmanager
def serving(model: QueuedModel, name: str = "tiny", **options: Any) -> Iterator[str]:
    """The address of a server with a model that is loaded."""
    with serving_each({name: model}, **options) as address:
        yield address


@contextmanager
def serving_each(models: Mapping[str, QueuedModel], **options: Any) -> Iterator[str]:
    """The address of a server with models of one queue, by their names."""
    served = Served(ServerOptions(**options), *((name,) for name in models))
    served.ready(*models.values())
    with (
        closing(bound_socket("127.0.0.1", 0)) as bound,
        HttpThread(make_app(served, lambda line: None), bound),
    ):
        yield url_of(bound)
