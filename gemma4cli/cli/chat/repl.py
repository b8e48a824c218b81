"""A chat at a terminal: its state, and how an answer is shown and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ...conversations.chat import Chat
from ...conversations.file import Conversation
from ...errors import ContextLengthError, Gemma4Error, MediaError, unexpected
from ...events import Event, Finished, TextDelta
from ...interrupts import Ended
from ...messages import MediaKind, Message, Part, Source, TextPart, sources_of
from ...options import GenerateOptions
from ..answers.sinks import StreamedAnswer
from ..answers.writer import AnswerWriter
from ..environment import Environment
from ..output.consume import consume, numbered
from ..output.numbers import turns_text
from ..output.pictures import Pictures, pictures_for
from ..output.progress import Spinner
from ..run.options import RunOptions
from ..run.runner import load_model
from .attachments import MEDIA_PARTS
from .one_turn import ChatOptions
from .prompt_input import PROMPT, Reader, unechoed
from .sessions import Autosave, chat_of, resumed_options, turns_of

if TYPE_CHECKING:
    from ...conversations.chat import ContextUse
    from ...engine.answering import AnsweringModel
    from .functions import FunctionOptions

_NEARLY_FULL = 0.8
_QUESTION_SHOWN = 200
"""Characters of an earlier question."""


class Repl:
    """State of the running chat; slash commands mutate it.

    ``attached_media`` and ``attached_texts`` belong to the next question. ``draft`` is a question
    without an answer, to edit at the next prompt; ``can_edit`` says if the last turn left one.
    ``ended`` is the signal after which nothing more is asked.
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
        fetches: bool = False,
        functions: FunctionOptions | None = None,
    ) -> None:
        self.env = env
        self.chat = chat
        self.run = run
        self.autosave = autosave
        self.reader = reader
        self.options = options
        self.hide_thoughts = hide_thoughts
        self.device = device
        self.fetches = fetches
        self.functions = functions
        self.attached_media: list[Part] = []
        self.attached_texts: list[str] = []
        self.last: Finished | None = None
        self.draft = ""
        self.can_edit = False
        self.is_closed = False
        self.ended: Ended | None = None
        self._use: ContextUse | None = None
        self._pictures = pictures

    @classmethod
    def start(
        cls,
        chat_options: ChatOptions,
        reader: Reader,
        media: Sequence[Part],
        *,
        device: str | None,
    ) -> Repl:
        """Load the model and the saved conversation; ``media`` belong to the first question.

        Raises Gemma4Error.
        """
        env, run = chat_options.env, chat_options.run
        before = chat_options.autosave.read()
        pictures = pictures_for(env, run.thumbnails)
        model = load_model(env, run, sources_of(media))
        chat, messages = chat_of(
            model,
            before,
            system=chat_options.system,
            media=chat_options.media,
            tools=chat_options.tools,
        )
        repl = cls(
            env,
            chat,
            run,
            chat_options.autosave,
            reader,
            options=resumed_options(run.generate_options(), before),
            hide_thoughts=chat_options.hide_thoughts,
            device=device,
            pictures=pictures,
            fetches=chat_options.fetches,
            functions=chat_options.functions,
        )
        repl.switch_to(chat, messages)
        repl.autosave.continue_computed(chat)
        repl.attached_media += media
        return repl

    @property
    def files(self) -> list[Path]:
        """The files of media that are attached or in the conversation."""
        parts = [part for message in self.chat.history for part in message.parts]
        found = sources_of([*parts, *self.attached_media])
        return [each.path for each in found if each.path is not None]

    def close(self) -> None:
        """End the chat after the current command."""
        self.is_closed = True

    def attach(self, kind: MediaKind, source: Source, question: str = "the next question") -> None:
        """Attach a medium to a question."""
        self.attached_media.append(MEDIA_PARTS[kind](source))
        self.env.say(f"{source.name} is attached to {question}")

    def switch_to(self, chat: Chat, messages: Sequence[Message]) -> None:
        """Make ``chat`` the conversation once it has loaded ``messages``. Raises Gemma4Error."""
        self._show(chat.load(messages), answer=None)
        self.chat = chat
        self.measure_context()

    def show_last_turn(self) -> None:
        """Show the last question, shortened, and its answer, as they were."""
        messages = self.chat.history
        asked = [number for number, each in enumerate(messages) if each.role == "user"]
        if not asked:
            return
        self.env.say(f"{PROMPT}{_shortened(messages[asked[-1]])}")
        texts = [
            part.text
            for message in messages[asked[-1] + 1 :]
            for part in message.parts
            if message.role == "assistant" and isinstance(part, TextPart) and part.text.strip()
        ]
        stream = self.env.stdout if self.env.stdout.isatty() else self.env.stderr
        self._show(iter([TextDelta(text="\n\n".join(texts))]), answer=stream)

    def rebuild(self, *, model: AnsweringModel | None = None, system: str | None = None) -> None:
        """Continue the conversation with another model or another system prompt."""
        messages = self.chat.history
        if system is not None:
            messages = tuple(message for message in messages if message.role != "system")
        chat = Chat(
            model or self.chat.model,
            system=system,
            media=self.chat.media,
            tools=self.chat.tools,
        )
        self.switch_to(chat, messages)
        self.autosave.continue_computed(chat)

    def replace_with(self, conversation: Conversation) -> None:
        """Continue a conversation from elsewhere; the current one stays on disk."""
        chat, messages = chat_of(
            self.chat.model,
            conversation,
            system=None,
            media=self.chat.media,
            tools=() if self.functions is None else self.functions.declarations,
        )
        left = self.chat
        self.switch_to(chat, messages)
        self.autosave.save_computed(left)
        self.options = resumed_options(self.options, conversation)
        self.autosave.start_new()
        self.autosave.continue_computed(chat)
        self.save()

    def save(self) -> None:
        """Write the conversation to disk."""
        self.autosave.save(self.chat, think=self.options.think)

    def measure_context(self) -> None:
        """Measure how full the context is; None if that cannot be measured."""
        self._use = None
        with self.fenced(), suppress(Gemma4Error):
            self._use = self.chat.context() if turns_of(self.chat.history) else None

    @property
    def use(self) -> ContextUse | None:
        """How full the context is; None before the first turn."""
        return self._use

    def drop_oldest(self) -> int:
        """Drop the oldest turn; returns how many user messages that removed."""
        dropped = self.chat.drop_oldest()
        self.measure_context()
        return dropped

    def answer(self, start: Callable[[], Iterator[Event]], *, needs: int = 0) -> bool:
        """Show an answer and save its turn; False if there is no answer.

        If the prompt does not fit the context, the user may drop the oldest turns, except the
        last ones that the answer ``needs``.
        """
        self.can_edit = False
        before = self.chat.history
        while True:
            try:
                with unechoed(self.env.stdin):
                    self.last = self._show(self._with_functions(start()), answer=self.env.stdout)
            except KeyboardInterrupt as stop:
                self.can_edit = True
                self.stopped(stop)
            except ContextLengthError as error:
                # In a later round of calls, the question is in the conversation already.
                if self.chat.history == before and self._offer_to_drop(error, needs):
                    continue
                self.can_edit = True
                self.env.say_error(error, debug=self.run.debug)
            except Gemma4Error as error:
                self.env.say_error(error, debug=self.run.debug)
                self._detach(error)
            except BrokenPipeError:
                raise
            except Exception as error:  # noqa: BLE001 - one odd turn does not end the conversation
                self.can_edit = True
                self.env.say_error(unexpected(error), debug=self.run.debug)
                self._detach_all()
            break
        answered = self.chat.history != before
        if answered:
            self.save()
            self.measure_context()
            self._warn()
        return answered

    def _with_functions(self, events: Iterator[Event]) -> Iterator[Event]:
        """An answer whose calls are run, if there are functions."""
        if self.functions is None:
            return events
        confirm, quiet = self.reader.confirm, self.run.quiet
        return self.functions.answer(
            self.chat, events, self.options, confirm, self.env, quiet=quiet
        )

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """Within this, an error is one line, and the conversation continues."""
        try:
            yield
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - one odd turn does not end the conversation
            self.env.say_error(unexpected(error), debug=self.run.debug)

    def stopped(self, stop: KeyboardInterrupt) -> None:
        """Say that Ctrl-C has ended an answer or a command; other signals end the conversation."""
        if isinstance(stop, Ended):
            self.ended = stop
        else:
            self.env.say("stopped")

    def _show(self, events: Iterator[Event], *, answer: TextIO | None) -> Finished | None:
        """Consume and show events; returns the Finished of an answer."""
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
            sink = StreamedAnswer(writer)
            consume(numbered(events), sink, spinner)
        return sink.finished

    def _detach(self, error: Gemma4Error) -> None:
        """Detach what made a turn fail: one file, or all media if the cause is not known."""
        if isinstance(error, MediaError):
            self.attached_media[:] = [
                part for part in self.attached_media if _name_of(part) != error.source
            ]
        else:
            self._detach_all()

    def _detach_all(self) -> None:
        """Detach the media of a question that failed: each of them may be the cause."""
        if self.attached_media:
            names = ", ".join(filter(None, map(_name_of, self.attached_media)))
            self.env.say(f"no longer attached: {names}")
        self.attached_media.clear()

    def _offer_to_drop(self, error: ContextLengthError, needs: int) -> bool:
        """Drop the oldest turn for a prompt that does not fit, if it helps and the user agrees."""
        before = 0 if self._use is None else self._use.tokens
        if error.tokens - before >= error.limit:
            return False
        if turns_of(self.chat.history) <= needs or not self.reader.confirm(
            f"{error.tokens:,} tokens do not fit the context of {error.limit:,}; "
            "drop the oldest turn?"
        ):
            return False
        return self.say_dropped(self.drop_oldest())

    def say_dropped(self, turns: int) -> bool:
        """Report dropped turns; False if there are none."""
        if turns:
            self.env.say(f"dropped {turns_text(turns)}")
        return turns > 0

    def _warn(self) -> None:
        use = self._use
        if use is not None and use.tokens >= _NEARLY_FULL * use.limit and not self.run.quiet:
            share = 100 * use.tokens // use.limit
            self.env.say(
                f"the conversation takes {share} % of the context; /drop removes its oldest turn"
            )


def _shortened(message: Message) -> str:
    """A question on one line of limited length, after the names of its media."""
    names = [f"[{source.name}]" for source in sources_of(message.parts)]
    words = [part.text for part in message.parts if isinstance(part, TextPart)]
    text = " ".join(" ".join([*names, *words]).split())
    return text if len(text) <= _QUESTION_SHOWN else f"{text[: _QUESTION_SHOWN - 1]}…"


def _name_of(part: Part) -> str | None:
    if isinstance(part, TextPart) or part.source is None:
        return None
    return part.source.name
