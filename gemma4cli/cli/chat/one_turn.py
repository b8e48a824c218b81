"""``g4 chat`` with -p, a pipe or a file: one question and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...conversations.file import Conversation, parse_text, read_conversation
from ...errors import ConversationError, OptionError
from ...events import Event, PicturesDecoded
from ...media.sources import settle
from ...messages import Part, Source, TextPart, sources_of
from ...options import GenerateOptions, MediaOptions
from ..answers.run import run_each
from ..answers.targets import AnswerRun, answer_target
from ..environment import Environment
from ..run.inputs import Input
from ..run.options import RunOptions
from .attachments import in_card_order
from .dropped import named_media
from .material import STDIN, piped_bytes, piped_text, with_attached_text
from .sessions import Autosave, chat_of, media_options, resumed_options

if TYPE_CHECKING:
    from ...conversations.chat import Chat
    from ...engine.answering import AnsweringModel
    from .functions import FunctionOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatOptions:
    """The command line's options for a chat; ``autosave`` has the earlier turns, if any.

    ``fetches`` allows media from addresses; ``texts`` are the text files in the question,
    ``functions`` those that the model may call.
    """

    env: Environment
    run: RunOptions
    autosave: Autosave
    media: MediaOptions
    system: str | None = None
    hide_thoughts: bool = False
    fetches: bool = False
    texts: Sequence[Path] = ()
    functions: FunctionOptions | None = None

    @property
    def tools(self) -> tuple[Any, ...]:
        """What the model is told of the functions."""
        return () if self.functions is None else self.functions.declarations

    def with_functions(
        self, chat: Chat, events: Iterator[Event], generate: GenerateOptions
    ) -> Iterator[Event]:
        """An answer whose calls are run, if there are functions."""
        if self.functions is None:
            return events
        env = self.env
        confirm = env.confirm if env.can_ask else None
        return self.functions.answer(chat, events, generate, confirm, env, quiet=self.run.quiet)


def ask(options: ChatOptions, text: str, parts: Sequence[Part]) -> None:
    """Ask one question and write the answer."""
    before = options.autosave.read()
    generate = resumed_options(options.run.generate_options(), before)
    if options.autosave.name is not None:
        parts = [_settled(part) for part in parts]

    def answer(model: AnsweringModel, number: int) -> Iterator[Event]:
        chat, messages = chat_of(
            model, before, system=options.system, media=options.media, tools=options.tools
        )
        options.autosave.continue_computed(chat)
        yield from _without_pictures(chat.load(messages))
        events = chat.send(in_card_order(text, parts), generate)
        events = options.with_functions(chat, events, generate)
        yield from _saved(options.autosave, chat, events, generate)

    _run(options, Source(name=text), answer, parts)


def answer_file(options: ChatOptions, path: str, text: str, parts: Sequence[Part]) -> None:
    """Answer the conversation in a file, after the saved turns; or ask something that follows it.

    ``path`` may be "-", standard input; otherwise a pipe may hold what follows. Raises
    ConversationError, also if there is nothing to answer, and OptionError if there is too much.
    """
    conversation = _conversation(options.env, path)
    is_open = conversation.messages[-1].role in ("user", "tool")
    if is_open and (text or parts):
        raise OptionError(f"{path}: ends with a question; leave out -p and media")
    if not is_open and not text and path != "-" and not options.env.stdin.isatty():
        text = piped_text(options.env, quiet=options.run.quiet)
    if not is_open and not text:
        raise ConversationError(f"{path}: ends with an answer; ask what follows with -p")
    before = options.autosave.read()
    generate = resumed_options(options.run.generate_options(), before)
    generate = resumed_options(generate, conversation)
    if options.autosave.name is not None:
        parts = [_settled(part) for part in parts]

    def answer(model: AnsweringModel, number: int) -> Iterator[Event]:
        media = media_options(options.media, conversation)
        chat, messages = chat_of(
            model, before or conversation, system=None, media=media, tools=options.tools
        )
        options.autosave.continue_computed(chat)
        events = chat.load(messages)
        yield from events if before is None and is_open else _without_pictures(events)
        if before is not None:
            yield from chat.load(conversation.messages)
        answered = (
            chat.reply(generate) if is_open else chat.send(in_card_order(text, parts), generate)
        )
        answered = options.with_functions(chat, answered, generate)
        yield from _saved(options.autosave, chat, answered, generate)

    known = [part for message in conversation.messages for part in message.parts]
    asked = Source(name=path) if path == "-" else Source.of(path)
    _run(options, asked, answer, [*known, *parts])


def _conversation(env: Environment, path: str) -> Conversation:
    if path != "-":
        return read_conversation(path)
    if env.stdin.isatty():
        raise OptionError("standard input is a terminal; pipe a conversation into it")
    return parse_text(piped_bytes(env), folder=Path(), name=STDIN)


def _run(
    options: ChatOptions,
    asked: Source,
    answer: Callable[[AnsweringModel, int], Iterator[Event]],
    parts: Sequence[Part],
) -> None:
    """``asked`` is the conversation's file, or a source without one that is called the question."""
    media = sources_of(parts)
    output = answer_target(options.run, several=False)
    files = [each.path for each in (asked, *media) if each.path is not None]
    # In a folder, the answer is called after what it is about.
    stem = files[0].stem if files else "answer"
    given = Input(given=asked.name, label=stem, origin=asked)
    output.target.check(options.env, options.run, [given], [*files, *options.texts])
    run_each(
        AnswerRun(
            env=options.env,
            run=output.run,
            names=[asked.name],
            target=output.target,
            inputs=[given],
            needed=media,
            # Markdown is rendered for a person only; a file gets the text unchanged.
            markdown=output.target.is_stdout,
            hide_thoughts=options.hide_thoughts,
        ),
        answer,
    )


def question(
    options: ChatOptions, prompt: str | None, texts: Sequence[str], *, reads_stdin: bool
) -> str:
    """The question: the prompt, the texts of files, and that of a pipe if ``reads_stdin``."""
    env = options.env
    piped = ""
    if reads_stdin and not env.stdin.isatty():
        piped = piped_text(env, quiet=options.run.quiet)
    last = options.autosave.shares_prompts
    text = with_attached_text(prompt or "", [*texts, piped], last=last)
    if not text:
        raise OptionError("no question: pass -p TEXT, or pipe in text")
    return text


def say_not_attached(env: Environment, prompt: str, parts: Sequence[Part]) -> None:
    """Say which media files the prompt names that are not among the parts: it is left as it is."""
    attached = {each.path.resolve() for each in sources_of(parts) if each.path is not None}
    for path in named_media(prompt):
        if path.resolve() not in attached:
            env.say(f"{path} is named in the question but not attached; -a attaches it")


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
    autosave.save_computed(chat)


def _settled(part: Part) -> Part:
    """A part whose source can be opened twice: to be decoded and to be saved."""
    if isinstance(part, TextPart) or part.source is None:
        return part
    return replace(part, source=settle(part.source))


def _without_pictures(events: Iterator[Event]) -> Iterator[Event]:
    """The events of opening earlier turns, whose pictures were shown before."""
    return (event for event in events if not isinstance(event, PicturesDecoded))
