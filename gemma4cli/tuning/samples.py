"""What is learned from, before a model has seen it: conversations, and what is wrong with data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..conversations.file import Conversation
from ..messages import Message, Source, content_of, sources_of


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
        return tuple(str(each.path or each.name) for each in sources_of(parts)) or (self.origin,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why an example cannot be learned from; ``origin`` is its file and, in a list, its line."""

    origin: str
    problem: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.problem}"


@dataclass(kw_only=True, slots=True)
class Samples:
    """What was found in DATA; ``held_out`` are those that came as data for validation."""

    found: list[Sample] = field(default_factory=list)
    held_out: list[Sample] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def medium_sample(
    medium: Path, answer: str, prompt: str, *, sound: bool, repeats: int = 1
) -> Sample:
    """A picture with its caption, or a recording with its transcript."""
    source = Source.of(medium)
    content = content_of(prompt, audio=[source]) if sound else content_of(prompt, images=[source])
    messages = (
        Message(role="user", content=content),
        Message(role="assistant", content=answer),
    )
    return Sample(origin=str(medium), conversation=Conversation(messages=messages), repeats=repeats)


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
    missing = [
        source
        for message in messages
        for source in sources_of(message.parts)
        if source.path is not None and not source.path.is_file()
    ]
    return f"{missing[0].name}: no such file" if missing else None
