"""/v1/chat/completions: an answer as one JSON object, or in events as it comes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ..errors import AnswerCutError
from ..events import TextDelta, ThoughtDelta, TokenLogprob, ToolCallDelta
from ..processing.tokenizer import Tokenizer
from .answer_run import AnswerRun, Question
from .answer_so_far import Answer, Call
from .chat_request import ChatRequest, chat_request
from .event_stream import EventStream
from .logprobs import logprobs_data
from .request_fields import parsed
from .request_log import note_tokens
from .served import Served
from .thread_run import running


class Completion:
    """The objects that are sent of one answer; with a ``tokenizer``, they have logprobs."""

    def __init__(self, model: str, *, includes_usage: bool, tokenizer: Tokenizer | None) -> None:
        self._head = {
            "id": f"chatcmpl-{token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }
        self._includes_usage = includes_usage
        self._tokenizer = tokenizer

    def whole(self, answer: Answer) -> dict[str, Any]:
        text = answer.text or (None if answer.calls else "")
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if answer.thoughts:
            message["reasoning_content"] = answer.thoughts
        if answer.calls:
            message["tool_calls"] = [_call_data(call) for call in answer.calls]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": self._logprobs(answer.logprobs),
            "finish_reason": answer.reason,
        }
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": answer.usage_data,
        }

    def part(self, event: object) -> dict[str, Any] | None:
        """The chunk for an event, if it adds to the message."""
        delta = delta_data(event)
        if delta is None:
            return None
        found = event.logprobs if isinstance(event, TextDelta) else ()
        return self.chunk(delta, logprobs=self._logprobs(found) if found else None)

    def chunk(
        self,
        delta: Mapping[str, Any],
        reason: str | None = None,
        logprobs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._chunk([choice], {"usage": None} if self._includes_usage else {})

    def usage(self, answer: Answer) -> dict[str, Any]:
        return self._chunk([], {"usage": answer.usage_data})

    def _logprobs(self, found: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if self._tokenizer is None:
            return None
        return {"content": logprobs_data(self._tokenizer, found), "refusal": None}

    def _chunk(self, choices: list[Any], more: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "choices": choices, **more}


def _call_data(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def delta_data(event: object) -> dict[str, Any] | None:
    """What an event adds to a streamed message, if it does."""
    match event:
        case TextDelta(text=text):
            return {"content": text}
        case ThoughtDelta(text=text):
            return {"reasoning_content": text}
        case ToolCallDelta(arguments=""):
            function = {"name": event.name, "arguments": ""}
            call = {"index": event.index, "id": event.id, "type": "function", "function": function}
            return {"tool_calls": [call]}
        case ToolCallDelta():
            function = {"arguments": event.arguments}
            return {"tool_calls": [{"index": event.index, "function": function}]}
    return None


async def chat_completions(served: Served, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a conversation. Raises RequestError, Gemma4Error and Disconnected."""
    with served.admitted():
        body = await Request(scope, receive).body()
        asked = await run_in_threadpool(_read, body, served)
        del body
        model = served.chosen(asked.model)
        question = Question(
            messages=asked.messages, options=asked.options, tools=asked.tools, media=asked.media
        )
        completion = Completion(
            model.name,
            includes_usage=asked.include_usage,
            tokenizer=None if asked.options.logprobs is None else model.queued.model.tokenizer,
        )
        async with running(AnswerRun(served, model.queued, question), receive) as run:
            answer = Answer(tokenizer=model.queued.processor.tokenizer)
            if asked.stream:
                stream = EventStream(served, send)
                await _stream(run, answer, completion, asked, stream)
                if answer.reason is not None:
                    note_tokens(scope, answer.usage.completion_tokens)
            else:
                await _whole(run, answer)
                note_tokens(scope, answer.usage.completion_tokens)
                await JSONResponse(completion.whole(answer))(scope, receive, send)


def _read(body: bytes, served: Served) -> ChatRequest:
    return chat_request(parsed(body), served.options)


async def _whole(run: AnswerRun, answer: Answer) -> None:
    try:
        async for event in run.events():
            answer.take(event)
    except AnswerCutError as error:
        answer.cut(error)


async def _stream(
    run: AnswerRun, answer: Answer, completion: Completion, asked: ChatRequest, stream: EventStream
) -> None:
    """Send an answer as it comes. Nothing is sent before the prompt is accepted."""
    answer.take(await run.next())
    async with stream:
        stream.put(completion.chunk({"role": "assistant", "content": ""}))
        try:
            async for event in stream.beating(run):
                if answer.take(event) and (part := completion.part(event)) is not None:
                    stream.put(part)
        except AnswerCutError as error:
            answer.cut(error)
        stream.put(completion.chunk({}, answer.reason))
        if asked.include_usage:
            stream.put(completion.usage(answer))
        await stream.done()
