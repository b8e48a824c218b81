"""The routes of the server."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .chat_completions import chat_completions
from .errors import RequestError, failure_of
from .g4_api import answer_prompts, check_options, encode_texts, show_facts
from .guard import Guard
from .models import list_models, show_model
from .page import page
from .request_log import RequestLog
from .responses import responses
from .served import Served
from .status import health, metrics
from .thread_run import Disconnected
from .transcriptions import transcriptions, translations

Handler = Callable[[Served, Request], Awaitable[Response]]
Answering = Callable[[Served, Scope, Receive, Send], Awaitable[None]]


def make_app(served: Served, log: Callable[[str], None]) -> ASGIApp:
    """The application for a model; ``log`` is called with a line for each request."""
    # What is wrong in a client's form is an answer to the client, not news for the terminal.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    routes = [
        _post("/v1/chat/completions", chat_completions, served),
        _post("/v1/responses", responses, served),
        _post("/v1/audio/transcriptions", transcriptions, served),
        _post("/v1/audio/translations", translations, served),
        _get("/v1/models", list_models, served),
        _get("/v1/models/{name:path}", show_model, served),
        _get("/g4/v1/model", show_facts, served),
        _post("/g4/v1/tokens", encode_texts, served),
        _post("/g4/v1/check", check_options, served),
        _post("/g4/v1/generate", answer_prompts, served),
        _get("/", page, served),
        _get("/health", health, served),
        _get("/metrics", metrics, served),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(RequestLog, write=log), Middleware(Guard, served=served)],
        exception_handlers={HTTPException: _not_found},
    )


def _get(path: str, handler: Handler, served: Served) -> Route:
    async def answer(served: Served, scope: Scope, receive: Receive, send: Send) -> None:
        await (await handler(served, Request(scope, receive)))(scope, receive, send)

    return Route(path, _Endpoint(answer, served), methods=["GET"])


def _post(path: str, handler: Answering, served: Served) -> Route:
    return Route(path, _Endpoint(handler, served), methods=["POST"])


class _Endpoint:
    """An ASGI application of one handler, whose errors are sent as OpenAI's objects."""

    def __init__(self, handler: Answering, served: Served) -> None:
        self._handler = handler
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._handler(self._served, scope, receive, send)
        except (Disconnected, ClientDisconnect):
            return
        except Exception as error:  # noqa: BLE001 - a client gets an object, the terminal a line
            self._served.report(error)
            failure = failure_of(error)
            response = JSONResponse(failure.body, failure.status, headers=dict(failure.headers))
            await response(scope, receive, send)


async def _not_found(request: Request, error: Exception) -> Response:
    """For paths and methods that there are not."""
    assert isinstance(error, HTTPException)
    problem = "this path is not served here"
    if error.status_code == 405:
        problem = f"this path takes no {request.method} requests"
    elif error.status_code != 404:
        problem = error.detail
    code = "not_found" if error.status_code == 404 else None
    failure = failure_of(RequestError(problem, status=error.status_code, code=code))
    return JSONResponse(failure.body, failure.status, headers=error.headers)
