"""One turn of ``g4 chat``, for pipelines: a question from -p, a pipe or a file, and its answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...conversations.file import Conversation, read_conversation
from ...errors import ConversationError, OptionError
from ...events import Event, Finished, PicturesDecoded
from ...media.sources import settle
from ...messages import Part, TextPart
from ...options import GenerateOptions, MediaOptions
from ..output.pictures import pictures_for
from ..output.results import add_budgets
from ..output.terminal import has_colour, is_terminal
from ..run.options import RunOptions
from ..run.runner import load_model, run_each
from .attachments import in_card_order, sources_of
from .render import AnswerRenderer, show_answer
from .sessions import ChatLog, chat_of, resumed_options

if TYPE_CHECKING:
    from ...conversations.chat import Chat
    from ...engine.model import LoadedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class OneTurn:
    """A turn in the conversation that ``log`` keeps, or in a new one."""

    run: RunOptions
    log: ChatLog
    media: MediaOptions
    system: str | None = None
    hide_thoughts: bool = False
    _budgets: list[int] = field(default_factory=list, init=False)

    def ask(self, text: str, parts: Sequence[Part]) -> None:
        """Put a question and show the answer."""
        before = self.log.read()
        options = resumed_options(self.run.generate_options(), before)
        if self.log.name is not None:
            parts = [_settled(part) for part in parts]

        def answer(model: LoadedModel, given: str) -> Iterator[Event]:
            chat, messages = chat_of(model, before, system=self.system, media=self.media)
            yield from _unseen(chat.load(messages))
            yield from self._kept(chat, chat.send(in_card_order(text, parts), options), options)

        self._show(text, answer, parts)

    def answer_file(self, path: Path) -> None:
        """Answer the conversation in a file, behind what the log has."""
        conversation = read_conversation(path)
        before = self.log.read()
        options = resumed_options(self.run.generate_options(), before)
        options = replace(options, think=options.think or conversation.think)

        def answer(model: LoadedModel, given: str) -> Iterator[Event]:
            media = _combined(self.media, conversation)
            chat, messages = chat_of(model, before or conversation, system=None, media=media)
            events = chat.load(messages)
            yield from events if before is None else _unseen(events)
            if before is not None:
                yield from chat.load(conversation.messages)
            yield from self._kept(chat, chat.reply(options), options)

        parts = [part for message in conversation.messages for part in message.parts]
        self._show(str(path), answer, parts)

    def _kept(
        self, chat: Chat, events: Iterator[Event], options: GenerateOptions
    ) -> Iterator[Event]:
        """The events of an answer; the turn is kept at their end, or when they are cut off."""
        before = chat.history
        try:
            yield from events
            self._budgets.extend(chat.budgets())
        finally:
            if chat.history != before:
                self.log.keep(chat, think=options.think)

    def _finish(self, given: str, finished: Finished, result: dict[str, Any]) -> str:
        add_budgets(result, self._budgets)
        return finished.text

    def _show(
        self,
        given: str,
        answer: Callable[[LoadedModel, str], Iterator[Event]],
        parts: Sequence[Part],
    ) -> None:
        run, needed = self.run, sources_of(parts)
        # A person sees Markdown; whatever reads the answer elsewhere gets it as it is.
        if run.json or run.output is not None or not has_colour(sys.stdout):
            run_each(run, [given], answer, self._finish if run.json else None, needed=needed)
            return
        pictures = pictures_for(run.thumbnails)
        model = load_model(run, needed)
        renderer = AnswerRenderer(
            sys.stdout, quiet=run.quiet, hide_thoughts=self.hide_thoughts, pictures=pictures
        )
        with renderer:
            show_answer(renderer, answer(model, given))


def question(prompt: str | None, media: Sequence[Part]) -> str:
    """The question: -p, and what a pipe brings unless a medium takes it."""
    media_from_stdin = any(source.name == "-" for source in sources_of(media))
    material = ""
    if not media_from_stdin and sys.stdin is not None and not is_terminal(sys.stdin):
        material = _piped_text()
    asked = "\n\n".join(text for text in (prompt, material) if text)
    if not asked:
        raise OptionError("nothing was asked: give -p TEXT, or text on standard input")
    return asked


def _piped_text() -> str:
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as exc:
        raise ConversationError(
            "standard input is no text: a picture or a sound goes in with --image - or --audio -"
        ) from exc


def _settled(part: Part) -> Part:
    """A part whose source can be opened again, to be kept."""
    if isinstance(part, TextPart) or part.source is None:
        return part
    return replace(part, source=settle(part.source))


def _unseen(events: Iterator[Event]) -> Iterator[Event]:
    """The events of opening what was said before, whose pictures were shown then."""
    return (event for event in events if not isinstance(event, PicturesDecoded))


def _combined(media: MediaOptions, conversation: Conversation) -> MediaOptions:
    return replace(
        media,
        budget=media.budget or conversation.max_soft_tokens,
        video_max_frames=media.video_max_frames or conversation.video_max_frames,
    )
