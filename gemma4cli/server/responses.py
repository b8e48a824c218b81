"""/v1/responses: an answer as a response of items, whole or in events as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ..errors import AnswerCutError
from .answer_run import AnswerRun, Question
from .answer_so_far import Answer
from .errors import Failure
from .event_stream import EventStream
from .request_fields import parsed
from .request_log import note_tokens
from .response_output import Output
from .response_request import ResponseRequest, response_request
from .served import Served, ServedModel
from .thread_run import running


class Response:
    """A response in the making."""

    def __init__(self, model: ServedModel, asked: ResponseRequest) -> None:
        tokenizer = model.queued.model.tokenizer
        self.answer = Answer(tokenizer=tokenizer)
        self.output = Output(tokenizer)
        self._head = {
            "id": f"resp_{token_hex(12)}",
            "object": "response",
            "created_at": int(time.time()),
            "model": model.name,
        }
        self._repeated = asked.repeated

    def take(self, event: object) -> list[dict[str, Any]]:
        """Add what happened; returns the events to send."""
        return self.output.take(event) if self.answer.take(event) else []

    def end(self) -> list[dict[str, Any]]:
        """End what is not done; returns the events to send."""
        return self.output.end(self._status)

    @property
    def _status(self) -> str:
        match self.answer.reason:
            case None:
                return "in_progress"
            case "length":
                return "incomplete"
        return "completed"

    def data(self) -> dict[str, Any]:
        """The object so far."""
        status = self._status
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            **self._head,
            **self._repeated,
            "status": status,
            "error": None,
            "incomplete_details": cut,
            "output": self.output.data(),
            "previous_response_id": None,
            "store": False,
            "truncation": "disabled",
            "usage": None if status == "in_progress" else self._usage(),
        }

    def _usage(self) -> dict[str, Any]:
        usage = self.answer.usage
        return {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self.answer.thought_tokens},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }


class ResponseStream(EventStream):
    """Events with their kind and a number; the last one is the end."""

    _sent = 0

    def framed(self, data: Mapping[str, Any]) -> bytes:
        numbered = {**data, "sequence_number": self._sent}
        self._sent += 1
        content = json.dumps(numbered, ensure_ascii=False)
        return f"event: {data['type']}\ndata: {content}\n\n".encode()

    async def fail(self, failure: Failure) -> None:
        error = {"code": failure.kind.code or failure.kind.type, "param": failure.param}
        self.put({"type": "error", "message": failure.message, **error})
        await self.end()


async def responses(served: Served, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a conversation. Raises RequestError, Gemma4Error and Disconnected."""
    with served.admitted():
        body = await Request(scope, receive).body()
        asked = await run_in_threadpool(_read, body, served)
        del body
        model = served.chosen(asked.model)
        question = Question(messages=asked.messages, options=asked.options, tools=asked.tools)
        async with running(AnswerRun(served, model.queued, question), receive) as run:
            response = Response(model, asked)
            if asked.stream:
                await _stream(run, response, ResponseStream(served, send))
            else:
                await _whole(run, response)
            note_tokens(scope, response.answer.usage.completion_tokens)
            if not asked.stream:
                await JSONResponse(response.data())(scope, receive, send)


def _read(body: bytes, served: Served) -> ResponseRequest:
    return response_request(parsed(body), served.options)


async def _whole(run: AnswerRun, response: Response) -> None:
    try:
        async for event in run.events():
            response.take(event)
    except AnswerCutError as error:
        response.answer.cut(error)
    response.end()


async def _stream(run: AnswerRun, response: Response, stream: ResponseStream) -> None:
    """Send an answer as it comes. Nothing is sent before the prompt is accepted."""
    response.take(await run.next())
    async with stream:
        for kind in ("created", "in_progress"):
            stream.put({"type": f"response.{kind}", "response": response.data()})
        try:
            async for event in stream.beating(run):
                for each in response.take(event):
                    stream.put(each)
        except AnswerCutError as error:
            response.answer.cut(error)
        for each in response.end():
            stream.put(each)
        data = response.data()
        stream.put({"type": f"response.{data['status']}", "response": data})
        await stream.end()
