"""The conversation at a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..conversations.chat import Chat
from ..conversations.file import Conversation
from ..errors import ContextLengthError, Gemma4Error, MediaError
from ..events import Event, Finished
from ..messages import Message, Part, TextPart
from ..options import GenerateOptions
from .chat_once import OneTurn
from .chat_parts import (
    MEDIA_PARTS,
    MediaKind,
    find_dropped,
    in_card_order,
    media_kind,
    path_of,
    sources_of,
    with_material,
)
from .chat_render import AnswerRenderer, show_answer, unechoed
from .chat_sessions import ChatLog, chat_of, resumed_options, turns_of
from .pictures import Pictures, pictures_for
from .render import Renderer
from .repl_commands import COMMANDS, find_command
from .repl_input import Reader
from .run_options import RunOptions
from .runner import load_model, source_of
from .sizes import turns_text
from .terminal import say, say_error

if TYPE_CHECKING:
    from ..conversations.chat import ContextUse
    from ..engine.model import LoadedModel

_NEARLY_FULL = 0.8
_COMMAND = re.compile(r"/[^\s/]*(?=\s|$)")
_CHARACTERS_A_TOKEN = 4
_ROOM = 16
"""An answer is given at least this part of the context, or what --max-tokens says."""


class Repl:
    """What a conversation is at: the commands of ``repl_commands`` change it.

    ``waiting`` media and ``material`` go with the next question. What an answer brought up stays
    with its turn.
    """

    def __init__(
        self,
        chat: Chat,
        run: RunOptions,
        log: ChatLog,
        reader: Reader,
        *,
        options: GenerateOptions,
        hide_thoughts: bool = False,
        device: str | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        self.chat = chat
        self.run = run
        self.log = log
        self.reader = reader
        self.options = options
        self.hide_thoughts = hide_thoughts
        self.device = device
        self.waiting: list[Part] = []
        self.material: list[str] = []
        self.last: Finished | None = None
        self._draft = ""
        self._unsaid = False
        self._left = False
        self._use: ContextUse | None = None
        self._pictures = pictures
        reader.completer.choices = {
            f"/{name}": command.choices for name, command in COMMANDS.items()
        }

    @classmethod
    def start(
        cls,
        turn: OneTurn,
        log: ChatLog,
        reader: Reader,
        media: Sequence[Part],
        *,
        device: str | None,
    ) -> Repl:
        """Load the model, and the conversation that ``log`` has; ``media`` wait for a question.

        Raises Gemma4Error.
        """
        before = log.read()
        pictures = pictures_for(turn.run)
        model = load_model(turn.run, sources_of(media))
        chat, messages = chat_of(model, before, system=turn.system, media=turn.media)
        repl = cls(
            chat,
            turn.run,
            log,
            reader,
            options=resumed_options(turn.run.generate_options(), before),
            hide_thoughts=turn.hide_thoughts,
            device=device,
            pictures=pictures,
        )
        repl.take_over(chat, messages)
        repl.waiting += media
        return repl

    def converse(self) -> None:
        """Read questions and show answers until the user leaves."""
        if not self.run.quiet:
            say(f"{self.chat.model.name}: type a question, /help for commands, Ctrl-D to leave")
            if turns := turns_of(self.chat.history):
                say(f"going on with {self.log.name}, {turns_text(turns)}")
        while not self._left:
            draft, self._draft = self._draft, ""
            try:
                typed = self.reader.read(aside=self._aside(), draft=draft).strip()
            except (EOFError, KeyboardInterrupt):
                break
            self._take(typed)
        if self.log.is_kept and not self.run.quiet:
            say(f"kept as {self.log.name}; g4 chat -c goes on with it")

    def leave(self) -> None:
        """Read nothing more."""
        self._left = True

    def attach(self, kind: MediaKind, name: str, when: str = "the next question") -> None:
        """Let a file go with a question."""
        self.waiting.append(MEDIA_PARTS[kind](source_of(name)))
        say(f"{name} comes with {when}")

    def take_over(self, chat: Chat, messages: Sequence[Message]) -> None:
        """Let ``chat`` be the conversation, once it has loaded ``messages``. Raises Gemma4Error."""
        with Renderer(None, quiet=self.run.quiet) as renderer:
            show_answer(renderer, chat.load(messages))
        self.chat = chat
        self.look_at_context()

    def rebuild(self, *, model: LoadedModel | None = None, system: str | None = None) -> None:
        """Put the conversation to another model, or under another system prompt."""
        messages = self.chat.history
        if system is not None:
            messages = tuple(message for message in messages if message.role != "system")
        chat = Chat(
            model or self.chat.model,
            system=system,
            media=self.chat.media,
            tools=self.chat.tools,
        )
        self.take_over(chat, messages)

    def replace_with(self, conversation: Conversation) -> None:
        """Go on with a conversation from elsewhere; the one before stays as it is on disk."""
        chat, messages = chat_of(self.chat.model, conversation, system=None, media=self.chat.media)
        self.take_over(chat, messages)
        self.options = resumed_options(self.options, conversation)
        self.log.begin_anew()
        self.keep()

    def keep(self) -> None:
        """Write the conversation to disk, as it stands."""
        self.log.keep(self.chat, think=self.options.think)

    def look_at_context(self) -> None:
        """Find out how much of the context the conversation takes."""
        try:
            self._use = self.chat.context() if turns_of(self.chat.history) else None
        except Gemma4Error:
            self._use = None

    @property
    def use(self) -> ContextUse | None:
        """What the conversation takes; None where nothing was said."""
        return self._use

    def forget_oldest(self) -> int:
        """Forget the oldest turn; the number of turns that are gone."""
        dropped = self.chat.drop_oldest()
        self.look_at_context()
        return dropped

    def _aside(self) -> str:
        if self._use is None:
            return ""
        return f"{self._use.tokens:,} / {self._use.limit:,} tokens"

    def _take(self, typed: str) -> None:
        """A command or a question."""
        command = _COMMAND.match(typed)
        try:
            if command and media_kind(path_of(typed)) is None:
                find_command(command[0])(self, typed[command.end() :].strip())
            elif typed:
                self._ask(typed)
        except Gemma4Error as error:
            say_error(error, debug=self.run.debug)
        except KeyboardInterrupt:
            say("stopped")

    def _ask(self, typed: str) -> None:
        dropped = find_dropped(typed)
        for kind, path in dropped.files:
            self.attach(kind, str(path), "this question" if dropped.text else "the next question")
        if not dropped.text:
            return
        text = with_material(dropped.text, self.material)
        self._make_room(text)
        content = in_card_order(text, self.waiting)
        if self.answer(lambda: self.chat.send(content, self.options)):
            self.waiting.clear()
            self.material.clear()
        elif self._unsaid:
            self._draft = dropped.text

    def answer(self, begin: Callable[[], Iterator[Event]], *, needs: int = 0) -> bool:
        """Show an answer and keep its turn; False where there is none.

        Where the prompt does not fit the context, the user may let go of the oldest turns, but
        for the last ones that the answer ``needs``.
        """
        self._unsaid = False
        before = self.chat.history
        while True:
            try:
                renderer = AnswerRenderer(
                    sys.stdout,
                    quiet=self.run.quiet,
                    hide_thoughts=self.hide_thoughts,
                    pictures=self._pictures,
                )
                with unechoed(sys.stdin), renderer:
                    self.last = show_answer(renderer, begin())
            except KeyboardInterrupt:
                self._unsaid = True
                say("stopped")
            except ContextLengthError as error:
                if self._let_go(error, needs):
                    continue
                self._unsaid = True
                say_error(error, debug=self.run.debug)
            except Gemma4Error as error:
                self._detach(error)
                say_error(error, debug=self.run.debug)
            break
        answered = self.chat.history != before
        if answered:
            self.keep()
            self.look_at_context()
            self._warn()
        return answered

    def _detach(self, error: Gemma4Error) -> None:
        """Let go of what made a turn fail: the one file, or all where it is not known."""
        if isinstance(error, MediaError):
            self.waiting[:] = [part for part in self.waiting if _name_of(part) != error.source]
        else:
            self.waiting.clear()

    def _let_go(self, error: ContextLengthError, needs: int) -> bool:
        """Forget old turns for a prompt that does not fit, if the user wants to."""
        if turns_of(self.chat.history) <= needs or not self.reader.confirm(
            f"{error.tokens:,} tokens do not fit the context of {error.limit:,}; "
            "forget the oldest turn?"
        ):
            return False
        return self._say_forgotten(self.forget_oldest())

    def _make_room(self, text: str) -> None:
        """Ask before an answer is begun for which there would be little room."""
        if self._use is None:
            return
        limit = self._use.limit
        needed = len(text) // _CHARACTERS_A_TOKEN + min(self.options.max_tokens, limit // _ROOM)
        if self._use.tokens + needed <= limit or not self.reader.confirm(
            f"{self._use.tokens:,} of {limit:,} tokens are taken, an answer may not fit; "
            "forget the oldest turns?"
        ):
            return
        forgotten = 0
        while self._use is not None and self._use.tokens + needed > limit:
            dropped = self.forget_oldest()
            if not dropped:
                break
            forgotten += dropped
        self._say_forgotten(forgotten)

    def _say_forgotten(self, turns: int) -> bool:
        if turns:
            say(f"forgot {turns_text(turns)}")
        return turns > 0

    def _warn(self) -> None:
        use = self._use
        if use is not None and use.tokens >= _NEARLY_FULL * use.limit and not self.run.quiet:
            share = 100 * use.tokens // use.limit
            say(f"the conversation takes {share} % of the context; /drop forgets its oldest turn")


def _name_of(part: Part) -> str | None:
    if isinstance(part, TextPart) or part.source is None:
        return None
    return part.source.name
