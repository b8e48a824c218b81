"""What is learned from, before a model has seen it: conversations, and what is wrong with data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..conversations.file import Conversation
from ..messages import AudioPart, Message, sources_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A conversation whose answers are learned.

    Attributes:
        origin: Where it is from, for messages: "data.jsonl:12", or the name of a media file.
        conversation: The messages and how its media are sampled.
        repeats: How often it is seen in a round; kohya's "10_name" folders say so.
    """

    origin: str
    conversation: Conversation
    repeats: int = 1

    @property
    def group(self) -> tuple[str, ...]:
        """What it is about: samples of the same media are held out together."""
        parts = [part for message in self.conversation.messages for part in message.parts]
        if any(isinstance(part, AudioPart) and part.end is not None for part in parts):
            return (self.origin,)  # other parts of a recording say something else
        return tuple(str(each.path or each.name) for each in sources_of(parts)) or (self.origin,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why an example cannot be learned from; ``origin`` is its file and, in a list, its line."""

    origin: str
    problem: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.problem}"


def medium_sample(question: Message, answer: str, origin: str, repeats: int = 1) -> Sample:
    """A question about a picture or a recording, with its caption or transcript."""
    messages = (question, Message(role="assistant", content=answer))
    return Sample(origin=origin, conversation=Conversation(messages=messages), repeats=repeats)


def problem_of(messages: Sequence[Message]) -> str | None:
    """Why nothing can be learned from messages, if so."""
    answers = [(n, each) for n, each in enumerate(messages) if each.role == "assistant"]
    if not answers:
        return "has no answer: end the conversation with a message of the assistant"
    for index, message in answers:
        if not message.tool_calls and not any(
            getattr(part, "text", "").strip() for part in message.parts
        ):
            return f"messages[{index}] is an empty answer"
        if len(sources_of(message.parts)):
            return f"messages[{index}] is an answer with media, which the model cannot give"
    return missing_media(messages)


def missing_media(messages: Sequence[Message]) -> str | None:
    """Which file of ``messages`` is not there, if so."""
    for message in messages:
        for source in sources_of(message.parts):
            if source.path is not None and not source.path.is_file():
                return f"{source.name}: no such file"
    return None
