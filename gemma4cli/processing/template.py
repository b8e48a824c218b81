"""Gemma 4's chat template: a conversation as text, control tokens and media.

Follows the template that Google published in July 2026. Token ids and the sizes of media are added
later, in ``prompt``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..errors import ConversationError
from ..messages import (
    AudioPart,
    ImagePart,
    MediaKind,
    MediaPart,
    Message,
    Part,
    Role,
    TextPart,
    VideoPart,
)
from . import tools as tool_syntax
from .prompt_tokens import Control, Media, PromptPart, Text

_THOUGHT_BEGIN, _THOUGHT_END = "<|channel>", "<channel|>"


def media_parts(messages: Sequence[Message]) -> list[MediaPart]:
    """Every media part in order; the index in this list is its item number."""
    return [
        part for message in messages for part in message.parts if not isinstance(part, TextPart)
    ]


def kind_of(part: MediaPart) -> MediaKind:
    """The kind of placeholder that a media part needs."""
    match part:
        case ImagePart():
            return "image"
        case VideoPart():
            return "video"
        case AudioPart():
            return "audio"


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateOptions:
    """Options of the template.

    ``empty_thought``: with thinking off, the model's turn starts with an empty thought.
    """

    think: bool = False
    empty_thought: bool = False
    add_generation_prompt: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """A message with the item number of its first media part."""

    message: Message
    first_item: int

    def media(self) -> list[PromptPart]:
        """The message's media, without its texts."""
        return [part for part in self.content() if isinstance(part, Media)]

    def content(self) -> list[PromptPart]:
        """Trimmed texts and media, without separators.

            "  Compare " image image  ->  Compare <|image|> <|image|>

        Thoughts inside an assistant's texts are removed.
        """
        item = self.first_item
        parts: list[PromptPart] = []
        for part in self.message.parts:
            if not isinstance(part, TextPart):
                parts.append(Media(kind_of(part), item))
                item += 1
            elif self.message.role == "assistant":
                parts.append(Text(without_thoughts(part.text)))
            else:
                parts.append(Text(part.text.strip()))
        return parts


_Left = Literal["call", "result"] | None
"""How a turn with tool calls ends: in a call without a result, or in a result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Turn:
    """A message other than a tool result, with the results of its calls."""

    entry: _Entry
    results: tuple[_Entry, ...]
    continues: bool
    """The previous message is the assistant's too, and its turn was not closed."""
    shows_thoughts: bool
    """No user message follows."""
    next_role: Role | None
    """Role of the next message that is not a tool result."""

    @property
    def left(self) -> _Left:
        """How the turn ends, if it has tool calls."""
        if not self.entry.message.tool_calls:
            return None
        return "result" if self.results else "call"


def render(
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    options: TemplateOptions,
) -> Iterator[PromptPart]:
    """The conversation as prompt parts.

    user "Hi"  ->  <bos> <|turn> user\\nHi <turn|> \\n <|turn> model\\n
    """
    entries = _entries(messages)
    system = entries[0] if entries[0].message.role == "system" else None
    yield Control("<bos>")
    if options.think or tools or system is not None:
        yield from _system_turn(system, tools, think=options.think)
    left: _Left = None
    for turn in _turns(entries[1:] if system is not None else entries):
        yield from _turn(turn)
        left = turn.left
    if options.add_generation_prompt:
        yield from _generation_prompt(left, options)


def answer(message: Message, *, think: bool, thinks_already: bool = False) -> Iterator[PromptPart]:
    """What the model generates to give an assistant's message, up to the token that it stops at.

        answer <turn|>
        <|channel> thought\\nhm\\n <channel|> answer <turn|>      with ``think``
        <|tool_call> ... <tool_call|> <|tool_response>

    Without ``think``, thoughts are not generated. With ``thinks_already`` the prompt has begun the
    thought; see ``_generation_prompt``. What a message with calls says beside them comes after
    their results in a prompt, so it is no part of this.
    """
    if think and (message.thoughts or thinks_already):
        if not thinks_already:
            yield Control(_THOUGHT_BEGIN)
            yield Text("thought\n")
        if message.thoughts:
            yield Text(f"{message.thoughts}\n")
        yield Control(_THOUGHT_END)
    for call in message.tool_calls:
        yield from tool_syntax.call(call.name, call.arguments)
    if message.tool_calls:
        yield Control("<|tool_response>")
        return
    yield Text(without_thoughts("".join(_text_of(part) for part in message.parts)))
    yield Control("<turn|>")


def without_thoughts(text: str) -> str:
    """An answer as later prompts repeat it, without its thoughts.

    "<|channel>thought\\nhm<channel|>Hello"  ->  "Hello"
    """
    kept = [part.split(_THOUGHT_BEGIN)[0] for part in text.split(_THOUGHT_END)]
    return "".join(kept).strip()


def _entries(messages: Sequence[Message]) -> list[_Entry]:
    if not messages:
        raise ConversationError("the conversation has no messages: add a user message")
    entries = []
    first_item = 0
    for index, message in enumerate(messages):
        if message.role not in get_args(Role):
            raise ConversationError(
                f"message {index + 1} has the unknown role {message.role!r}: "
                f"use one of {', '.join(get_args(Role))}"
            )
        entries.append(_Entry(message=message, first_item=first_item))
        first_item += len(media_parts([message]))
    return entries


def _system_turn(
    system: _Entry | None, tools: Sequence[Mapping[str, Any]], *, think: bool
) -> Iterator[PromptPart]:
    """``<|turn> system\\n <|think|> \\nBe brief. <|tool> ... <tool|> <turn|> \\n``."""
    yield Control("<|turn>")
    yield Text("system\n")
    if think:
        yield Control("<|think|>")
        yield Text("\n")
    if system is not None:
        if system.media():
            raise ConversationError("the system message has media: move them to a user message")
        content = system.message.content
        if isinstance(content, str):
            yield Text(content.strip())
        else:
            yield Text("".join(f"{_text_of(part).strip()} " for part in content))
    for tool in tools:
        yield from tool_syntax.declaration(tool)
    yield from _end_of_turn()


def _turns(entries: Sequence[_Entry]) -> Iterator[_Turn]:
    """Messages with the tool results that follow their calls.

    A result that follows no call is left out, as in the template; with media it is an error.
    """
    last_user = max(
        (index for index, entry in enumerate(entries) if entry.message.role == "user"), default=-1
    )
    heads = [index for index, entry in enumerate(entries) if entry.message.role != "tool"]
    _refuse_dropped_media(entries[: heads[0] if heads else len(entries)])
    previous: Role | None = None
    for head, following in zip(heads, [*heads, None][1:], strict=True):
        entry = entries[head]
        results = tuple(entries[head + 1 : following])
        if not entry.message.tool_calls:
            _refuse_dropped_media(results)
            results = ()
        yield _Turn(
            entry=entry,
            results=results,
            continues=entry.message.role == "assistant" == previous,
            shows_thoughts=head > last_user,
            next_role=None if following is None else entries[following].message.role,
        )
        previous = entry.message.role


def _refuse_dropped_media(results: Sequence[_Entry]) -> None:
    if any(entry.media() for entry in results):
        raise ConversationError("a tool result has media but follows no call of the assistant")


def _turn(turn: _Turn) -> Iterator[PromptPart]:
    """One message. Its turn begins here unless it continues one, and ends here unless left open.

        <|turn> model\\n <|tool_call> ... <tool_call|> <|tool_response> ... <tool_response|>

    Calls, results and the answer after them share one turn of the model: a turn that ends in a
    result stays open, and one that ends in a call stops at the token that begins its result.
    """
    message = turn.entry.message
    if not turn.continues:
        yield Control("<|turn>")
        yield Text("model\n" if message.role == "assistant" else f"{message.role}\n")
    if message.thoughts and turn.shows_thoughts:
        yield Control(_THOUGHT_BEGIN)
        yield Text(f"thought\n{message.thoughts}\n")
        yield Control(_THOUGHT_END)
    for call in message.tool_calls:
        yield from tool_syntax.call(call.name, call.arguments)
    for result in turn.results:
        yield from _result(result, message)
    content = turn.entry.content()
    yield from content

    has_content = any(not isinstance(part, Text) or part.text.strip() for part in content)
    continued = message.role == "assistant" == turn.next_role
    if turn.left == "call":
        yield Control("<|tool_response>")
    elif not continued and (turn.left is None or has_content or turn.next_role is not None):
        yield from _end_of_turn()


def _result(result: _Entry, caller: Message) -> Iterator[PromptPart]:
    """A tool's texts, untrimmed, as one result, followed by its media."""
    name = result.message.name or "unknown"
    for call in caller.tool_calls:
        if call.id == result.message.tool_call_id:
            name = call.name
    text = "".join(_text_of(part) for part in result.message.parts)
    yield from tool_syntax.result(name, text)
    yield from result.media()


def _generation_prompt(left: _Left, options: TemplateOptions) -> Iterator[PromptPart]:
    """The tokens after which the model answers.

        <|turn> model\\n
        <|turn> model\\n <|channel> thought\\n <channel|>     thinking off, larger checkpoints
        <|channel> thought\\n                                thinking on, after a tool's result

    After a call the model's turn is still open, so none are added.
    """
    if left is None:
        yield Control("<|turn>")
        yield Text("model\n")
        if options.empty_thought and not options.think:
            yield Control(_THOUGHT_BEGIN)
            yield Text("thought\n")
            yield Control(_THOUGHT_END)
    elif left == "result" and options.think:
        yield Control(_THOUGHT_BEGIN)
        yield Text("thought\n")


def _end_of_turn() -> tuple[PromptPart, ...]:
    return (Control("<turn|>"), Text("\n"))


def _text_of(part: Part) -> str:
    return part.text if isinstance(part, TextPart) else ""
