"""Conversations: media are opened once, stay with the turn that brought them, and are answered.

The one path from messages to events; ``api`` and the command line stand on it. Knows no terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ConversationError
from ..events import Event, Finished, TextDelta, ThoughtDelta
from ..messages import Message, Part
from ..options import GenerateOptions, MediaOptions
from .open_media import OpenedMessage, open_message, prepare

if TYPE_CHECKING:
    from ..engine.model import LoadedModel
    from ..processing.inputs import ModelInputs


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextUse:
    """Tokens that a conversation takes as a prompt, and how many the model's context has."""

    tokens: int
    limit: int


class Chat:
    """A conversation with one model.

    ``history`` holds what was asked and answered, thoughts apart. A turn that was cancelled keeps
    what had been said; one that failed, or was cancelled before a word, leaves nothing behind.

    A turn computes what is new in it: the rest is in the KV cache from the turns before.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        system: str | None = None,
        media: MediaOptions | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        from ..engine.turn_cache import TurnCache

        self.model = model
        self.media = media or MediaOptions()
        self.tools = tuple(tools)
        self._opened: list[OpenedMessage] = []
        self._turns = TurnCache()
        self._think = False
        self._measured: tuple[tuple[object, ...], int] = ((), 0)
        if system:
            self._keep(Message(role="system", content=system))

    @property
    def history(self) -> tuple[Message, ...]:
        return tuple(item.said for item in self._opened)

    def _keep(self, message: Message) -> None:
        self._opened.append(OpenedMessage(message=message, said=message, media=()))

    def clear(self) -> None:
        """Forget everything but the system prompt."""
        self._opened = [item for item in self._opened if item.message.role == "system"]
        self._turns.clear()

    def load(self, messages: Sequence[Message]) -> Iterator[Event]:
        """Take over messages that were said elsewhere, opening their media."""
        for message in messages:
            yield from self._open(message, None)

    def _open(self, message: Message, options: GenerateOptions | None) -> Iterator[Event]:
        for step in open_message(
            self.model, message, self.media, before=self._opened, generate=options
        ):
            if isinstance(step, OpenedMessage):
                self._opened.append(step)
            else:
                yield step

    def send(
        self, content: str | tuple[Part, ...], options: GenerateOptions | None = None
    ) -> Iterator[Event]:
        """Say something and stream the answer; close the stream to cancel it."""
        before = list(self._opened)
        try:
            options = options or GenerateOptions()
            yield from self._open(Message(role="user", content=content), options)
            yield from self.reply(options)
        finally:
            if not self._is_answered():
                self._opened = before

    def retry(self, options: GenerateOptions | None = None) -> Iterator[Event]:
        """Drop the last answer and stream another; without one, the old answer stays."""
        before = list(self._opened)
        try:
            while self._is_answered():
                del self._opened[-1]
            yield from self.reply(options)
        finally:
            if not self._is_answered():
                self._opened = before

    def reply(self, options: GenerateOptions | None = None) -> Iterator[Event]:
        """Stream the answer to the conversation as it stands."""
        from ..engine.generate import generate

        options = options or GenerateOptions()
        if not self._opened or self._opened[-1].message.role not in ("user", "tool"):
            raise ConversationError("the conversation does not end with something to answer")
        self._think = options.think
        inputs = self._inputs()
        said: list[str] = []
        thought: list[str] = []
        kept = False
        try:
            for event in generate(self.model, inputs, options, self._turns):
                if isinstance(event, TextDelta):
                    said.append(event.text)
                elif isinstance(event, ThoughtDelta):
                    thought.append(event.text)
                kept = isinstance(event, Finished)
                yield event
        except (GeneratorExit, KeyboardInterrupt):
            kept = kept or bool(said)
            raise
        finally:
            if kept:
                self._keep(
                    Message(
                        role="assistant",
                        content="".join(said),
                        thoughts="".join(thought) or None,
                    )
                )

    def undo(self) -> bool:
        """Forget the last user turn and what followed it; False where there is none."""
        turns = self._user_turns()
        if turns:
            del self._opened[turns[-1] :]
        return bool(turns)

    def drop_oldest(self) -> int:
        """Forget the oldest user turn with its answer; returns how many user turns that were.

        Those that got no answer go with the one behind them. The system prompt stays.
        """
        turns = self._user_turns()
        if not turns:
            return 0
        next_turn = (i for i in turns[1:] if self._opened[i - 1].message.role != "user")
        end = next(next_turn, len(self._opened))
        kept = [item for item in self._opened[:end] if item.message.role == "system"]
        self._opened = kept + self._opened[end:]
        return sum(i < end for i in turns)

    def context(self) -> ContextUse:
        """How much of the model's context the conversation takes, thinking as in the last turn."""
        state = (*self._opened, self.model, self.media, self.tools, self._think)
        if state != self._measured[0]:
            tokens = len(self._inputs().ids) if self._opened else 0
            self._measured = (state, tokens)
        return ContextUse(tokens=self._measured[1], limit=self.model.context_length)

    def _inputs(self) -> ModelInputs:
        return prepare(self.model, self._opened, self.media, think=self._think, tools=self.tools)

    def _is_answered(self) -> bool:
        return bool(self._opened) and self._opened[-1].message.role == "assistant"

    def _user_turns(self) -> list[int]:
        """Where user messages stand."""
        return [i for i, item in enumerate(self._opened) if item.message.role == "user"]
