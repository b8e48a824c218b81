"""``g4 chat`` with a pipe, -p or a file: one question and its answer."""

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
    """What a command line says of a chat; ``autosave`` has what came before, if anything."""

    env: Environment
    run: RunOptions
    autosave: Autosave
    media: MediaOptions
    system: str | None = None
    hide_thoughts: bool = False


def ask(asked: ChatOptions, text: str, parts: Sequence[Part]) -> None:
    """Put one question and write the answer."""
    before = asked.autosave.read()
    options = resumed_options(asked.run.generate_options(), before)
    if asked.autosave.name is not None:
        parts = [_settled(part) for part in parts]

    def answer(model: LoadedModel, number: int) -> Iterator[Event]:
        chat, messages = chat_of(model, before, system=asked.system, media=asked.media)
        yield from _without_pictures(chat.load(messages))
        events = chat.send(in_card_order(text, parts), options)
        yield from _saved(asked.autosave, chat, events, options)

    _run(asked, text, answer, parts)


def answer_file(asked: ChatOptions, path: Path) -> None:
    """Answer the conversation in a file, after what was saved before."""
    conversation = read_conversation(path)
    before = asked.autosave.read()
    options = resumed_options(asked.run.generate_options(), before)
    options = replace(options, think=options.think or conversation.think)

    def answer(model: LoadedModel, number: int) -> Iterator[Event]:
        media = media_options(asked.media, conversation)
        chat, messages = chat_of(model, before or conversation, system=None, media=media)
        events = chat.load(messages)
        yield from events if before is None else _without_pictures(events)
        if before is not None:
            yield from chat.load(conversation.messages)
        yield from _saved(asked.autosave, chat, chat.reply(options), options)

    parts = [part for message in conversation.messages for part in message.parts]
    _run(asked, str(path), answer, parts)


def _run(
    asked: ChatOptions,
    name: str,
    answer: Callable[[LoadedModel, int], Iterator[Event]],
    parts: Sequence[Part],
) -> None:
    # A person sees Markdown; whatever else reads the answer gets it as it is.
    run_each(
        asked.env,
        asked.run,
        [name],
        answer,
        needed=sources_of(parts),
        markdown=asked.run.output is None,
        hide_thoughts=asked.hide_thoughts,
    )


def question(env: Environment, prompt: str | None, media: Sequence[Part]) -> str:
    """The question: -p, and the text of a pipe unless a medium is read from it."""
    media_from_stdin = any(source.name == "-" for source in sources_of(media))
    material = "" if media_from_stdin or env.stdin.isatty() else _piped_text(env)
    asked = "\n\n".join(text for text in (prompt, material) if text)
    if not asked:
        raise OptionError("nothing was asked: pass -p TEXT, or pipe in text")
    return asked


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
    """The events of an answer; the turn is saved when they end or are cut off."""
    before = chat.history
    try:
        yield from events
    finally:
        if chat.history != before:
            autosave.keep(chat, think=options.think)


def _settled(part: Part) -> Part:
    """A part whose source can be opened again, to be saved."""
    if isinstance(part, TextPart) or part.source is None:
        return part
    return replace(part, source=settle(part.source))


def _without_pictures(events: Iterator[Event]) -> Iterator[Event]:
    """The events of opening earlier turns, whose pictures were shown then."""
    return (event for event in events if not isinstance(event, PicturesDecoded))
