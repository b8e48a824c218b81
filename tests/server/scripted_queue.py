"""A queue whose answers a test wrote."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue

from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.local import LocalModel
from gemma4cli.events import Event, Finished, FinishReason, Timings, Usage
from gemma4cli.messages import ToolCall
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs
from gemma4cli.serving.queued_model import QueuedModel
from gemma4cli.serving.request import AnswerEvents, AnswerStream, Events, Request


class Scripted(QueuedModel):
    """Answers each prompt with the same events; an exception among them ends the answer."""

    def __init__(self, model: LocalModel, *events: Event | Exception) -> None:
        self.model = model
        self.requests: list[Request] = []
        self._script = events

    def generate(
        self, inputs: ModelInputs, options: GenerateOptions, turns: object = None
    ) -> AnswerEvents:
        return AnswerEvents(self.stream([Prompt(inputs=inputs, options=options)]))

    def stream(self, prompts: Sequence[Prompt]) -> AnswerStream:
        events: Events = SimpleQueue()
        requests = [Request(0, each, None, number, events) for number, each in enumerate(prompts)]
        for event in self._script:
            for each in requests:
                each.put(event)
        self.requests += requests
        return AnswerStream(requests, events)


def finished(
    text: str, *calls: ToolCall, thoughts: str = "", reason: FinishReason = "stop"
) -> Finished:
    return Finished(
        reason=reason,
        text=text,
        thoughts=thoughts,
        token_ids=(),
        usage=Usage(prompt_tokens=20, completion_tokens=7, cached_tokens=5),
        timings=Timings(),
        tool_calls=calls,
    )
