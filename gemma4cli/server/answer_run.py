"""Answers that a thread computes, as the event loop sees them: what happens, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..conversations.chat import Chat
from ..engine.answering import Prompt
from ..errors import AnswerCutError
from ..events import Event
from ..messages import Message, sources_of
from ..options import GenerateOptions, MediaOptions
from ..processing.inputs import ModelInputs
from ..serving.queued_model import QueuedModel
from ..serving.request import AnswerEvents, AnswerStream
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceEvent:
    """What happened in one of several answers; a schema that it is too short for is one's end."""

    index: int
    event: Event | AnswerCutError


T = TypeVar("T")


class _QuestionRun(ThreadRun[Accepted | T]):
    """Opens a question's media and asks the model; see ``running``."""

    def __init__(self, served: Served, model: QueuedModel, question: Question) -> None:
        super().__init__()
        self._model = model
        self._question = question
        self._served = served
        self._answers: AnswerEvents | AnswerStream | None = None

    def cancel(self) -> None:
        super().cancel()
        if self._answers is not None:
            self._answers.close()

    def _prompt(self) -> ModelInputs | None:
        """None if nobody waits for the answer any more."""
        question = self._question
        media = question.media or self._served.options.media
        chat = Chat(self._model, media=media, tools=question.tools)
        has_media = any(sources_of(each.parts) for each in question.messages)
        opening = self._served.opening if has_media else nullcontext()
        with fetching(question.messages) as messages, opening:
            if self.is_cancelled:
                return None
            for _ in chat.load(messages):
                if self.is_cancelled:
                    return None
            return chat.prompt(question.options)

    def _accept(self, answers: AnswerEvents | AnswerStream, inputs: ModelInputs) -> None:
        self._answers = answers
        if self.is_cancelled:
            answers.close()
        self.tell(Accepted(prompt_tokens=len(inputs.ids)))


class AnswerRun(_QuestionRun[Event]):
    """One answer."""

    def run(self) -> None:
        inputs = self._prompt()
        if inputs is None:
            return
        events = self._model.generate(inputs, self._question.options)
        self._accept(events, inputs)
        for event in events:
            self.tell(event)


class ChoicesRun(_QuestionRun[ChoiceEvent]):
    """Several answers at once; a seed is the first one's, and each of the others has the next."""

    def __init__(self, served: Served, model: QueuedModel, question: Question, count: int) -> None:
        super().__init__(served, model, question)
        self._count = count

    def run(self) -> None:
        inputs = self._prompt()
        if inputs is None:
            return
        stream = self._model.stream(
            [Prompt(inputs=inputs, options=self._options(index)) for index in range(self._count)]
        )
        self._accept(stream, inputs)
        for index, event in stream.outcomes():
            if isinstance(event, Exception) and not isinstance(event, AnswerCutError):
                raise event
            self.tell(ChoiceEvent(index=index, event=event))

    def _options(self, index: int) -> GenerateOptions:
        options = self._question.options
        seed = None if options.seed is None else (options.seed + index) % 2**64
        return replace(options, seed=seed)
