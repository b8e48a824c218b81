"""``g4 chat`` with -p, a pipe or a file: one question and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...conversations.file import read_conversation
from ...errors import ConversationError, OptionError
from ...events import Event, PicturesDecoded
from ...media.sources import settle
from ...messages import Part, TextPart
from ...options import GenerateOptions, MediaOptions
from ..environment import Environment
from ..run.options import RunOptions
from ..run.runner import run_each
from .attachments import in_card_order, sources_of
from .sessions import Autosave, chat_of, media_options, resumed_options

if TYPE_CHECKING:
    from ...conversations.chat import Chat
    from ...engine.model import LoadedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatOptions:
    """The command line's options for a chat; ``autosave`` has the earlier turns, if any."""

    env: Environment
    run: RunOptions
    autosave: Autosave
    media: MediaOptions
    system: str | None = None
    hide_thoughts: bool = False


def ask(options: ChatOptions, text: str, parts: Sequence[Part]) -> None:
    """Ask one question and write the answer."""
    before = options.autosave.read()
    generate = resumed_options(options.run.generate_options(), before)
    if options.autosave.name is not None:
        parts = [_settled(part) for part in parts]

    def answer(model: LoadedModel, number: int) -> Iterator[Event]:
        chat, messages = chat_of(model, before, system=options.system, media=options.media)
        yield from _without_pictures(chat.load(messages))
        events = chat.send(in_card_order(text, parts), generate)
        yield from _saved(options.autosave, chat, events, generate)

    _run(options, text, answer, parts)


def answer_file(options: ChatOptions, path: Path) -> None:
    """Answer the conversation in a file, after the saved turns."""
    conversation = read_conversation(path)
    before = options.autosave.read()
    generate = resumed_options(options.run.generate_options(), before)
    generate = replace(generate, think=generate.think or conversation.think)

    def answer(model: LoadedModel, number: int) -> Iterator[Event]:
        media = media_options(options.media, conversation)
        chat, messages = chat_of(model, before or conversation, system=None, media=media)
        events = chat.load(messages)
        yield from events if before is None else _without_pictures(events)
        if before is not None:
            yield from chat.load(conversation.messages)
        yield from _saved(options.autosave, chat, chat.reply(generate), generate)

    parts = [part for message in conversation.messages for part in message.parts]
    _run(options, str(path), answer, parts)


def _run(
    options: ChatOptions,
    name: str,
    answer: Callable[[LoadedModel, int], Iterator[Event]],
    parts: Sequence[Part],
) -> None:
    # Markdown is rendered for a person only; a file gets the text unchanged.
    run_each(
        options.env,
        options.run,
        [name],
        answer,
        needed=sources_of(parts),
        markdown=options.run.output is None,
        hide_thoughts=options.hide_thoughts,
    )


def question(env: Environment, prompt: str | None, media: Sequence[Part]) -> str:
    """The question: -p, and the text of a pipe unless the pipe holds media."""
    media_from_stdin = any(source.name == "-" for source in sources_of(media))
    piped = "" if media_from_stdin or env.stdin.isatty() else _piped_text(env)
    text = "\n\n".join(each for each in (prompt, piped) if each)
    if not text:
        raise OptionError("no question: pass -p TEXT, or pipe in text")
    return text


def _piped_text(env: Environment) -> str:
    try:
        return env.stdin.read().strip()
    except UnicodeDecodeError as exc:
        raise ConversationError(
            "stdin is not text; pipe an image with --image -, or sound with --audio -"
        ) from exc


def _saved(
    autosave: Autosave, chat: Chat, events: Iterator[Event], options: GenerateOptions
) -> Iterator[Event]:
    """The events of an answer; the turn is saved when they end or are cancelled."""
    before = chat.history
    try:
        yield from events
    finally:
        if chat.history != before:
            autosave.save(chat, think=options.think)


def _settled(part: Part) -> Part:
    """A part whose source can be opened twice: to be decoded and to be saved."""
    if isinstance(part, TextPart) or part.source is None:
        return part
    return replace(part, source=settle(part.source))


def _without_pictures(events: Iterator[Event]) -> Iterator[Event]:
    """The events of opening earlier turns, whose pictures were shown before."""
    return (event for event in events if not isinstance(event, PicturesDecoded))
