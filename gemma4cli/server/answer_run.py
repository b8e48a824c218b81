"""An answer that a thread computes, as the event loop sees it: what happens, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from ..conversations.chat import Chat
from ..events import Event
from ..messages import Message, sources_of
from ..options import GenerateOptions, MediaOptions
from ..serving.queued_model import QueuedModel
from ..serving.request import AnswerEvents
from .media_urls import fetching
from .served import Served
from .thread_run import ThreadRun


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What the model is to answer; ``media`` is the server's own way to sample them if None."""

    messages: Sequence[Message]
    options: GenerateOptions
    tools: Sequence[Mapping[str, Any]] = ()
    media: MediaOptions | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The prompt was let into the queue; what was wrong with it would have been found before."""

    prompt_tokens: int


class AnswerRun(ThreadRun[Accepted | Event]):
    """Opens a question's media and asks the model; see ``running``."""

    def __init__(self, served: Served, model: QueuedModel, question: Question) -> None:
        super().__init__()
        self._served = served
        self._model = model
        self._question = question
        self._events: AnswerEvents | None = None

    def cancel(self) -> None:
        super().cancel()
        if self._events is not None:
            self._events.close()

    def run(self) -> None:
        question = self._question
        media = question.media or self._served.options.media
        chat = Chat(self._model, media=media, tools=question.tools)
        has_media = any(sources_of(each.parts) for each in question.messages)
        opening = self._served.opening if has_media else nullcontext()
        with fetching(question.messages) as messages, opening:
            if self.is_cancelled:
                return
            for _ in chat.load(messages):
                if self.is_cancelled:
                    return
            inputs = chat.prompt(question.options)
        self._events = self._model.generate(inputs, question.options)
        if self.is_cancelled:
            self._events.close()
        self.tell(Accepted(prompt_tokens=len(inputs.ids)))
        for event in self._events:
            self.tell(event)
