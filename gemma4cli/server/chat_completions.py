"""/v1/chat/completions: answers as one JSON object, or in events as they come."""

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
from .answer_run import Accepted, ChoiceEvent, ChoicesRun, Question
from .answer_so_far import Answer, Call
from .chat_request import ChatRequest, chat_request
from .event_stream import EventStream
from .logprobs import logprobs_data
from .request_fields import parsed
from .request_log import note_tokens
from .served import Served
from .thread_run import running
from .token_usage import usage_data


class Completion:
    """The objects that are sent of the answers; with a ``tokenizer``, they have logprobs."""

    def __init__(self, model: str, *, includes_usage: bool, tokenizer: Tokenizer | None) -> None:
        self._head = {
            "id": f"chatcmpl-{token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }
        self._includes_usage = includes_usage
        self._tokenizer = tokenizer

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [self._choice(index, answer) for index, answer in enumerate(answers)],
            "usage": _usage(answers),
        }

    def part(self, index: int, event: object) -> dict[str, Any] | None:
        """The chunk for an event of an answer, if it adds to the message."""
        delta = delta_data(event)
        if delta is None:
            return None
        found = event.logprobs if isinstance(event, TextDelta) else ()
        return self.chunk(index, delta, logprobs=self._logprobs(found) if found else None)

    def chunk(
        self,
        index: int,
        delta: Mapping[str, Any],
        reason: str | None = None,
        logprobs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._chunk([choice], {"usage": None} if self._includes_usage else {})

    def usage(self, answers: Sequence[Answer]) -> dict[str, Any]:
        return self._chunk([], {"usage": _usage(answers)})

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        text = answer.text or (None if answer.calls else "")
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if answer.thoughts:
            message["reasoning_content"] = answer.thoughts
        if answer.calls:
            message["tool_calls"] = [_call_data(call) for call in answer.calls]
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(answer.logprobs),
            "finish_reason": answer.reason,
        }

    def _logprobs(self, found: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if self._tokenizer is None:
            return None
        return {"content": logprobs_data(self._tokenizer, found), "refusal": None}

    def _chunk(self, choices: list[Any], more: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "choices": choices, **more}


def _usage(answers: Sequence[Answer]) -> dict[str, Any]:
    return usage_data(
        [each.usage for each in answers], sum(each.thought_tokens for each in answers)
    )


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
    """Answer a conversation, ``n`` times. Raises RequestError, Gemma4Error and Disconnected."""
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
        choices = ChoicesRun(served, model.queued, question, asked.count)
        async with running(choices, receive) as run:
            tokenizer = model.queued.processor.tokenizer
            answers = [Answer(tokenizer=tokenizer) for _ in range(asked.count)]
            if asked.stream:
                stream = EventStream(served, send)
                await _stream(run, answers, completion, asked, stream)
                if all(each.reason is not None for each in answers):
                    note_tokens(scope, _written(answers))
            else:
                async for happened in run.events():
                    _take(answers, happened)
                note_tokens(scope, _written(answers))
                await JSONResponse(completion.whole(answers))(scope, receive, send)


def _read(body: bytes, served: Served) -> ChatRequest:
    return chat_request(parsed(body), served.options)


def _take(answers: Sequence[Answer], happened: Accepted | ChoiceEvent) -> bool:
    """Add what happened to its answer; returns whether it is news. Raises AnswerCutError."""
    match happened:
        case Accepted():
            for each in answers:
                each.take(happened)
            return False
        case ChoiceEvent(index=index, event=AnswerCutError() as error):
            answers[index].cut(error)
            return True
        case ChoiceEvent(index=index, event=event):
            return answers[index].take(event)


def _written(answers: Sequence[Answer]) -> int:
    return sum(each.usage.completion_tokens for each in answers)


async def _stream(
    run: ChoicesRun,
    answers: Sequence[Answer],
    completion: Completion,
    asked: ChatRequest,
    stream: EventStream,
) -> None:
    """Send answers as they come. Nothing is sent before the prompt is accepted."""
    if (accepted := await run.next()) is not None:
        _take(answers, accepted)
    async with stream:
        for index in range(asked.count):
            stream.put(completion.chunk(index, {"role": "assistant", "content": ""}))
        async for happened in stream.beating(run):
            if not isinstance(happened, ChoiceEvent) or not _take(answers, happened):
                continue
            index, answer = happened.index, answers[happened.index]
            if (part := completion.part(index, happened.event)) is not None:
                stream.put(part)
            if answer.reason is not None:
                stream.put(completion.chunk(index, {}, answer.reason))
        if asked.include_usage:
            stream.put(completion.usage(answers))
        await stream.done()
