"""Conversations: each turn's media are opened once and kept with the turn.

The only path from messages to events; ``api`` and the command line use it. Knows no terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import ConversationError
from ..events import Event, Finished, Notice, TextDelta, ThoughtDelta
from ..messages import Message, Part, TextPart, ToolCall
from ..options import GenerateOptions, MediaOptions
from .open_media import open_message, prepare
from .opened import OpenedMessage

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel
    from ..processing.inputs import ModelInputs
    from .prompt_cache import PromptCache


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextUse:
    """How full the context is.

    Attributes:
        tokens: Tokens of the conversation as a prompt, soft tokens included.
        limit: Tokens of the model's context.
    """

    tokens: int
    limit: int


class Chat:
    """A conversation with one model.

    A turn that is cancelled keeps the text generated so far; one that fails, or is cancelled
    before any text, is removed. Each turn computes only what is new; earlier turns are in the KV
    cache.

    Attributes:
        model: The model that answers.
        media: How media are sampled; may be replaced between turns.
        tools: Descriptions of the functions that the model may call.
    """

    def __init__(
        self,
        model: AnsweringModel,
        *,
        system: str | None = None,
        media: MediaOptions | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Start a conversation.

        Args:
            model: The model that answers; see ``api.load``.
            system: The system prompt.
            media: How media are sampled. None means ``MediaOptions()``.
            tools: Descriptions of the functions that the model may call, in OpenAI's format:
                ``{"type": "function", "function": {"name": ..., "parameters": ...}}``.
        """
        self.model = model
        self.media = media or MediaOptions()
        self.tools = tuple(tools)
        self._opened: list[OpenedMessage] = []
        self._turns = model.new_turns()
        self._prompt_cache: PromptCache | None = None
        self._is_read = self._is_written = True
        self._think = False
        self._measured: tuple[tuple[object, ...], int] = ((), 0)
        if system:
            self._append(Message(role="system", content=system))

    @property
    def history(self) -> tuple[Message, ...]:
        """The messages so far, in order, the system prompt included."""
        return tuple(item.original for item in self._opened)

    def _append(self, message: Message) -> None:
        self._opened.append(OpenedMessage(message=message, original=message, media=()))

    def clear(self) -> None:
        """Remove all messages except the system prompt."""
        self._opened = [item for item in self._opened if item.message.role == "system"]
        self._turns.clear()

    def use_prompt_cache(self, cache: PromptCache) -> None:
        """Continue from what an earlier process computed, where the next prompt begins alike.

        Args:
            cache: Its file; it is read by the next turn, and written by ``write_prompt_cache``.
        """
        self._prompt_cache = cache
        self._turns.shared = cache.shared
        self._is_read = False

    def write_prompt_cache(self) -> str | None:
        """Write what the turns of this process computed to the prompt cache, if there is one.

        Returns:
            Why that was not possible, if it was not.
        """
        if self._prompt_cache is None or self._is_written:
            return None
        self._is_written = True
        return self._prompt_cache.write(self._turns)

    def load(self, messages: Sequence[Message]) -> Iterator[Event]:
        """Append messages from elsewhere and open their media; nothing is generated.

        Args:
            messages: Messages in order, such as those of a saved conversation.

        Yields:
            Events of decoding the media. The messages are appended as the stream is consumed.

        Raises:
            MediaError: A file is missing, or cannot be decoded.
            UnsupportedModalityError: The model does not take one of the media.
        """
        for message in messages:
            for each in _in_order(message):
                yield from self._open(each, None)

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
        """Ask something and stream the answer. Closing the stream cancels the run.

        Args:
            content: The user's message: text, or text and media as parts.
            options: How the answer is generated. None means ``GenerateOptions()``.

        Yields:
            Events: progress, then ThoughtDelta and TextDelta, at last one Finished.

        Raises:
            MediaError: A file is missing, or cannot be decoded.
            PromptError: The model does not take one of the media, or the conversation does not
                fit the model's context or the memory.
            OptionError: ``options.schema`` is not a JSON Schema that decoding can enforce.
            AnswerCutError: The answer may not be as long as the schema's shortest document.
            NonFiniteError: The model produced NaN or infinity.
        """
        before = list(self._opened)
        try:
            options = options or GenerateOptions()
            yield from self._open(Message(role="user", content=content), options)
            yield from self.reply(options)
        finally:
            if not self._is_answered():
                self._opened = before

    def retry(self, options: GenerateOptions | None = None) -> Iterator[Event]:
        """Replace the last answer by another. If there is no new one, the old answer stays.

        Args:
            options: How the answer is generated. None means ``GenerateOptions()``.

        Yields:
            Events, as ``send``.

        Raises:
            ConversationError: There is nothing to answer.
            Gemma4Error: Otherwise as ``send``.
        """
        before = list(self._opened)
        try:
            while self._is_answered():
                del self._opened[-1]
            yield from self.reply(options)
        finally:
            if not self._is_answered():
                self._opened = before

    def prompt(self, options: GenerateOptions) -> ModelInputs:
        """What the model is given to answer the conversation as it is, by ``reply`` for example.

        Args:
            options: How the answer is to be generated.

        Returns:
            The token ids of the prompt, and the features of its media.

        Raises:
            ConversationError: The last message is not from the user or a tool.
            PromptError: The model does not take what is in the conversation.
        """
        if not self._opened or self._opened[-1].message.role not in ("user", "tool"):
            raise ConversationError("the conversation does not end with something to answer")
        self._think = options.think
        return self._inputs()

    def reply(self, options: GenerateOptions | None = None) -> Iterator[Event]:
        """Stream the answer to the conversation as it is, without a new message.

        Args:
            options: How the answer is generated. None means ``GenerateOptions()``.

        Yields:
            Events, as ``send``.

        Raises:
            ConversationError: The last message is not from the user or a tool.
            Gemma4Error: Otherwise as ``send``.
        """
        options = self.with_tools(options or GenerateOptions())
        inputs = self.prompt(options)
        if self._prompt_cache is not None and not self._is_read:
            self._is_read = True
            from ..engine.turn_cache import content_of

            if problem := self._prompt_cache.read(self._turns, content_of(inputs)):
                yield Notice(text=problem)
        self._is_written = False
        text: list[str] = []
        thoughts: list[str] = []
        calls: tuple[ToolCall, ...] = ()
        keep = False
        try:
            for event in self.model.generate(inputs, options, self._turns):
                if isinstance(event, TextDelta):
                    text.append(event.text)
                elif isinstance(event, ThoughtDelta):
                    thoughts.append(event.text)
                elif isinstance(event, Finished) and event.reason == "tool_calls":
                    calls = event.tool_calls
                keep = isinstance(event, Finished)
                yield event
        except (GeneratorExit, KeyboardInterrupt):
            keep = keep or bool(text)
            raise
        finally:
            if keep:
                answered = Message(
                    role="assistant",
                    content="".join(text),
                    thoughts="".join(thoughts) or None,
                    tool_calls=calls,
                )
                for message in _in_order(answered):
                    self._append(message)

    def add_result(self, call: ToolCall, text: str) -> None:
        """Add what a function gave; ``reply`` goes on with the answer that called it.

        Args:
            call: The call in the last answer.
            text: The result, or why there is none.
        """
        self._append(Message(role="tool", content=text, tool_call_id=call.id, name=call.name))

    def undo(self) -> bool:
        """Remove the last user message and everything after it.

        Returns:
            False if there is no user message.
        """
        turns = self._user_turns()
        if turns:
            del self._opened[turns[-1] :]
        return bool(turns)

    def drop_oldest(self) -> int:
        """Remove the oldest user message and its answer; the system prompt stays.

        User messages without an answer are removed together with the next one.

        Returns:
            The number of user messages removed.
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
        """Measure how full the context is, in the thinking mode of the last turn.

        Returns:
            The tokens of the conversation and of the model's context.
        """
        state = (*self._opened, self.model, self.media, self.tools, self._think)
        if state != self._measured[0]:
            tokens = len(self._inputs().ids) if self._opened else 0
            self._measured = (state, tokens)
        return ContextUse(tokens=self._measured[1], limit=self.model.context_length)

    def with_tools(self, options: GenerateOptions) -> GenerateOptions:
        """The options with the conversation's tools, unless they have their own or a schema.

        Args:
            options: How an answer is generated.

        Returns:
            The options with which ``reply`` and ``send`` generate it.
        """
        if not self.tools or options.is_constrained:
            return options
        return replace(options, tools=json.dumps(self.tools))

    def _inputs(self) -> ModelInputs:
        return prepare(self.model, self._opened, self.media, think=self._think, tools=self.tools)

    def _is_answered(self) -> bool:
        return bool(self._opened) and self._opened[-1].message.role == "assistant"

    def _user_turns(self) -> list[int]:
        """Indices of the user messages."""
        return [i for i, item in enumerate(self._opened) if item.message.role == "user"]


def _in_order(message: Message) -> list[Message]:
    """A message as the model wrote it: text before calls is a message of its own.

    The template writes the text of a message with calls after their results, and then closes the
    turn. Thoughts before calls are repeated in later prompts, with a newline at their end.
    """
    if not message.tool_calls:
        return [message]
    called = replace(message, thoughts=(message.thoughts or "").removesuffix("\n") or None)
    if all(isinstance(part, TextPart) and not part.text.strip() for part in message.parts):
        return [called]
    return [replace(called, tool_calls=()), replace(called, content="", thoughts=None)]
