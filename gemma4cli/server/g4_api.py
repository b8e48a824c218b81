"""/g4/v1: what a g4 asks that is the client of this one; see ``wire`` and ``remote``."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ..checked_json import LARGEST, JsonError
from ..engine.answering import Prompt
from ..errors import Gemma4Error, RemoteError, UnexpectedError, unexpected
from ..events import Finished
from ..serving.queued_model import QueuedModel
from ..wire.answers import STILL_THERE, error_line, event_line
from ..wire.faults import fault_of
from ..wire.model_facts import (
    MODEL_HEADER,
    NAME_PARAMETER,
    ModelFacts,
    Offer,
    facts_body,
    facts_of,
)
from ..wire.requests import PromptLimits, ids_body, read_options, read_prompts, read_texts
from .errors import RequestError, failure_of
from .g4_answers import PromptsRun
from .request_log import note_tokens
from .served import Served, ServedModel
from .thread_run import running

_BEAT_SECONDS = 10.0
"""A client gives a server up that says nothing for a minute."""
_JSON, _BYTES = "application/json", "application/octet-stream"
_HEADERS = ((b"content-type", b"application/x-ndjson"), (b"cache-control", b"no-store"))


async def show_facts(served: Served, request: Request) -> Response:
    """What a client must know of a model: that of ``?name=``, or the first."""
    model = served.chosen(request.query_params.get(NAME_PARAMETER))
    return Response(facts_body(await _facts(served, model)), media_type=_JSON)


async def _facts(served: Served, model: ServedModel) -> ModelFacts:
    if model.facts is None:
        model.facts = await run_in_threadpool(_facts_now, served, model)
    return model.facts


def _facts_now(served: Served, served_model: ServedModel) -> ModelFacts:
    model = served_model.queued
    tokenizer = model.model.tokenizer
    return facts_of(
        model.processor,
        tokenizer.controls,
        model.identity,
        names=served_model.names,
        offers=tuple(
            Offer(names=each.names, has_adapter=each.has_adapter) for each in served.models
        ),
        context_length=model.context_length,
        slots=model.slots,
        most_body=min(served.options.most_body, LARGEST),
        vocabulary=tokenizer.rows,
    )


async def _model_of(served: Served, request: Request) -> QueuedModel:
    """The model that a client began with.

    Raises RequestError if that is not here, but was at this address: its token ids would mean
    something else.
    """
    wanted = request.headers.get(MODEL_HEADER)
    for each in served.models:
        if wanted is None or wanted == (await _facts(served, each)).identity:
            return each.queued
    raise RequestError(
        "this server has another model than the one you began with",
        status=409,
        code="other_model",
    )


async def encode_texts(served: Served, scope: Scope, receive: Receive, send: Send) -> None:
    """The token ids of texts."""

    def ids(model: QueuedModel, body: bytes) -> bytes:
        texts = read_texts(body, model.context_length)
        return ids_body(model.model.tokenizer.encode_each(texts))

    await _answered(served, ids, scope, receive, send)


async def check_options(served: Served, scope: Scope, receive: Receive, send: Send) -> None:
    """Whether a schema can be enforced; the error says why it cannot."""

    def check(model: QueuedModel, body: bytes) -> bytes:
        model.check_schema(read_options(body))
        return b""

    await _answered(served, check, scope, receive, send)


async def _answered(
    served: Served,
    answer: Callable[[QueuedModel, bytes], bytes],
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    request = Request(scope, receive)
    model = await _model_of(served, request)
    body = await request.body()
    response: Response
    try:
        found = await run_in_threadpool(answer, model, body)
        response = Response(found, media_type=_BYTES)
    except (JsonError, Gemma4Error) as error:
        response = _refusal(served, error)
    await response(scope, receive, send)


async def answer_prompts(served: Served, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer prompts, which join the others together, in lines as the answers come."""
    request = Request(scope, receive)
    model = await _model_of(served, request)
    with served.admitted():
        body = await request.body()
        try:
            prompts = await run_in_threadpool(_prompts, model, body)
            del body
            async with running(PromptsRun(model, prompts), receive) as run:
                await run.next()
                await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS]})
                note_tokens(scope, await _stream(served, run, send))
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (JsonError, Gemma4Error) as error:
            await _refusal(served, error)(scope, receive, send)


def _prompts(model: QueuedModel, body: bytes) -> list[Prompt]:
    limits = PromptLimits(
        processor=model.processor,
        vocabulary=model.model.tokenizer.rows,
        context=model.context_length,
    )
    return read_prompts(body, limits)


async def _stream(served: Served, run: PromptsRun, send: Send) -> int:
    """Send an answer's lines, of which an error is the last; returns how many tokens it has."""
    tokens = 0
    while True:
        try:
            happened = await run.next(_BEAT_SECONDS)
        except TimeoutError:
            await _write(send, STILL_THERE)
        except Gemma4Error as error:
            await _write(send, error_line(_known(served, error)))
            return tokens
        else:
            if not isinstance(happened, tuple):
                return tokens
            if isinstance(happened[1], Finished):
                tokens += happened[1].usage.completion_tokens
            await _write(send, event_line(*happened))


async def _write(send: Send, line: bytes) -> None:
    await send({"type": "http.response.body", "body": line, "more_body": True})


def _refusal(served: Served, error: Exception) -> Response:
    """An error as OpenAI has it, with its class and fields."""
    if isinstance(error, JsonError):
        failure = failure_of(RequestError(f"the body is damaged: {error}", code="invalid_body"))
        return JSONResponse(failure.body, failure.status)
    failure = failure_of(error)
    known = fault_of(_known(served, error))
    return JSONResponse(
        {"error": {**failure.body["error"], **known}},
        failure.status,
        headers=dict(failure.headers),
    )


def _known(served: Served, error: Exception) -> Gemma4Error:
    """The error that a client gets; what g4 does not know is for the server's terminal only."""
    failure, known = failure_of(error), unexpected(error)
    served.report(error)
    return RemoteError(failure.message) if isinstance(known, UnexpectedError) else known
