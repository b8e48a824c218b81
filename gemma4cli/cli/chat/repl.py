"""A chat at a terminal: its state, and how an answer is shown and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from ...conversations.chat import Chat
from ...conversations.file import Conversation
from ...errors import ContextLengthError, Gemma4Error, MediaError
from ...events import Event, Finished
from ...messages import MediaKind, Message, Part, TextPart
from ...options import GenerateOptions
from ..environment import Environment
from ..output.answers import StreamedAnswer
from ..output.consume import consume, numbered
from ..output.numbers import turns_text
from ..output.pictures import Pictures, pictures_for
from ..output.progress import Spinner
from ..output.writer import AnswerWriter
from ..run.options import RunOptions
from ..run.runner import load_model, source_of
from .attachments import MEDIA_PARTS, sources_of
from .one_turn import ChatOptions
from .prompt_input import Reader, unechoed
from .sessions import Autosave, chat_of, resumed_options, turns_of

if TYPE_CHECKING:
    from ...conversations.chat import ContextUse
    from ...engine.model import LoadedModel

_NEARLY_FULL = 0.8


class Repl:
    """State of the running chat; slash commands mutate it.

    ``waiting`` media and ``material`` go with the next question. ``draft`` is a question that got
    no answer, to be edited; ``unsaid`` whether the last turn left one.
    """

    def __init__(
        self,
        env: Environment,
        chat: Chat,
        run: RunOptions,
        autosave: Autosave,
        reader: Reader,
        *,
        options: GenerateOptions,
        hide_thoughts: bool = False,
        device: str | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        self.env = env
        self.chat = chat
        self.run = run
        self.autosave = autosave
        self.reader = reader
        self.options = options
        self.hide_thoughts = hide_thoughts
        self.device = device
        self.waiting: list[Part] = []
        self.material: list[str] = []
        self.last: Finished | None = None
        self.draft = ""
        self.unsaid = False
        self.left = False
        self._use: ContextUse | None = None
        self._pictures = pictures

    @classmethod
    def start(
        cls,
        asked: ChatOptions,
        reader: Reader,
        media: Sequence[Part],
        *,
        device: str | None,
    ) -> Repl:
        """Load the model, and the conversation that was saved; ``media`` wait for a question.

        Raises Gemma4Error.
        """
        before = asked.autosave.read()
        pictures = pictures_for(asked.env, asked.run.thumbnails)
        model = load_model(asked.env, asked.run, sources_of(media))
        chat, messages = chat_of(model, before, system=asked.system, media=asked.media)
        repl = cls(
            asked.env,
            chat,
            asked.run,
            asked.autosave,
            reader,
            options=resumed_options(asked.run.generate_options(), before),
            hide_thoughts=asked.hide_thoughts,
            device=device,
            pictures=pictures,
        )
        repl.take_over(chat, messages)
        repl.waiting += media
        return repl

    def leave(self) -> None:
        """Read nothing more."""
        self.left = True

    def attach(self, kind: MediaKind, name: str, when: str = "the next question") -> None:
        """Let a file go with a question."""
        self.waiting.append(MEDIA_PARTS[kind](source_of(name)))
        self.env.say(f"{name} comes with {when}")

    def take_over(self, chat: Chat, messages: Sequence[Message]) -> None:
        """Let ``chat`` be the conversation, once it has loaded ``messages``. Raises Gemma4Error."""
        self._show(chat.load(messages), answer=None)
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
        self.autosave.begin_anew()
        self.keep()

    def keep(self) -> None:
        """Write the conversation to disk, as it stands."""
        self.autosave.keep(self.chat, think=self.options.think)

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

    def answer(self, begin: Callable[[], Iterator[Event]], *, needs: int = 0) -> bool:
        """Show an answer and keep its turn; False where there is none.

        Where the prompt does not fit the context, the user may let go of the oldest turns, but
        for the last ones that the answer ``needs``.
        """
        self.unsaid = False
        before = self.chat.history
        while True:
            try:
                with unechoed(self.env.stdin):
                    self.last = self._show(begin(), answer=self.env.stdout)
            except KeyboardInterrupt:
                self.unsaid = True
                self.env.say("stopped")
            except ContextLengthError as error:
                if self._let_go(error, needs):
                    continue
                self.unsaid = True
                self.env.say_error(error, debug=self.run.debug)
            except Gemma4Error as error:
                self._detach(error)
                self.env.say_error(error, debug=self.run.debug)
            break
        answered = self.chat.history != before
        if answered:
            self.keep()
            self.look_at_context()
            self._warn()
        return answered

    def _show(self, events: Iterator[Event], *, answer: TextIO | None) -> Finished | None:
        """Write events to their end; returns the last one of an answer."""
        hide = self.hide_thoughts
        with (
            Spinner(self.env, quiet=self.run.quiet, hides_thoughts=hide) as spinner,
            AnswerWriter(
                self.env,
                spinner,
                answer,
                quiet=self.run.quiet,
                markdown=True,
                hide_thoughts=hide,
                pictures=self._pictures if answer is not None else None,
            ) as writer,
        ):
            sink = StreamedAnswer(self.env, writer, debug=self.run.debug)
            consume(numbered(events), sink, spinner)
        return sink.finished

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
        return self.say_forgotten(self.forget_oldest())

    def say_forgotten(self, turns: int) -> bool:
        if turns:
            self.env.say(f"forgot {turns_text(turns)}")
        return turns > 0

    def _warn(self) -> None:
        use = self._use
        if use is not None and use.tokens >= _NEARLY_FULL * use.limit and not self.run.quiet:
            share = 100 * use.tokens // use.limit
            self.env.say(
                f"the conversation takes {share} % of the context; /drop forgets its oldest turn"
            )


def _name_of(part: Part) -> str | None:
    if isinstance(part, TextPart) or part.source is None:
        return None
    return part.source.name
