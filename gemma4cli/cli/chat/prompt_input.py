"""Input at the prompt: editing, history, completion. Knows no conversation."""

from __future__ import annotations

import os
import re
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session, get_app
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.filters import has_completions, is_searching
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import create_output

from ... import interrupts
from ...errors import unexpected
from ...interrupts import Ended
from ...own_files import private_folder, whole_file
from ..environment import Environment
from ..escapes import one_line
from .completion import CommandCompleter
from .edit_line import PromptFaults, ShowUnseen
from .pastes import Pastes

PROMPT = "> "
_ANSWER_COLUMNS = 4
CONTINUED = "… "

LONGEST_RECALLED = 10_000
"""Characters; longer messages are not in the history of later runs."""

_LARGEST_HISTORY = 1 << 20
"""Bytes; above, the older half is removed."""


class OwnerHistory(FileHistory):
    """A history that only its owner can read; a disk error does not end the conversation."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        private_folder(path.parent)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        _shorten(path)
        self._broken = False
        self._say = say
        super().__init__(path)

    def store_string(self, string: str) -> None:
        if self._broken or len(string) > LONGEST_RECALLED or Pastes.is_marked(string):
            return
        try:
            super().store_string(string)
        except UnicodeEncodeError:
            pass  # bytes that are not UTF-8; the file has no way to hold them
        except OSError as exc:
            self._broken = True
            self._say(f"the history cannot be saved: {exc.strerror or exc}")


def _shorten(path: Path) -> None:
    """Remove the older half of a large history."""
    if path.stat().st_size <= _LARGEST_HISTORY:
        return
    data = path.read_bytes()
    begin = data.find(b"\n# ", len(data) // 2)
    with whole_file(path) as file:
        file.write(data[begin:] if begin >= 0 else b"")


def is_unfinished(text: str) -> bool:
    """Whether Enter starts a new line: after a backslash, and inside fenced code."""
    return text.endswith("\\") or len(re.findall(r"^ {0,3}```", text, re.MULTILINE)) % 2 == 1


class Reader:
    """Reads messages from the terminal. With ``history``, they are recalled in later runs.

    What goes wrong while a line is typed is one line, after its traceback with ``debug``.
    """

    def __init__(self, env: Environment, *, history: bool, debug: bool = False) -> None:
        # If stdout is a file, the prompt goes to stderr; not to sys.stderr, which escapes controls.
        streams = (env.stdout, env.stderr)
        terminal = next((each for each in streams if each.isatty()), env.stdout)
        self._output = create_output(stdout=terminal)
        self._faults = PromptFaults(lambda error: env.say_error(unexpected(error), debug=debug))
        self.completer = CommandCompleter(self._faults.report)
        self._env = env
        self._pastes = Pastes()
        # A session given the output directly would not notice a dumb terminal.
        with create_app_session(output=self._output):
            self._session: PromptSession[str] = PromptSession(
                history=_history(env) if history else InMemoryHistory(),
                multiline=True,
                prompt_continuation=CONTINUED,
                key_bindings=key_bindings(self._pastes),
                completer=self.completer,
                complete_while_typing=False,
                enable_open_in_editor=True,
                enable_suspend=True,
                tempfile_suffix=".md",
                input_processors=[ShowUnseen()],
            )
            self._confirmation: PromptSession[str] = PromptSession(
                history=InMemoryHistory(), enable_suspend=True
            )

    def read(self, *, aside: str = "", draft: str = "") -> str:
        """One message; ``aside`` is shown at the right, ``draft`` is the text to start from.

        Raises EOFError or KeyboardInterrupt when the user leaves.
        """

        def shown() -> str:
            # Only the typed text stays on screen above the answer.
            return "" if get_app().is_done else aside

        typed = self._prompt(
            self._session, PROMPT, rprompt=shown, default=self._pastes.collapsed(draft)
        )
        return self._pastes.expanded(typed)

    def confirm(self, question: str) -> bool:
        """Whether the user says yes."""
        prompt = one_line(f"{question} [y/n] ")
        # What is typed may not wrap: the terminal's last column is not redrawn.
        if len(prompt) > self._output.get_size().columns - _ANSWER_COLUMNS:
            self._env.say(question)
            prompt = "[y/n] "
        try:
            answer = self._prompt(self._confirmation, prompt)
        except Ended:
            raise
        except (EOFError, KeyboardInterrupt):
            return False
        return answer.strip().lower() in ("y", "yes")

    def _prompt(
        self,
        session: PromptSession[str],
        message: str,
        rprompt: Callable[[], str] | None = None,
        default: str = "",
    ) -> str:
        with interrupts.lent(), create_app_session(output=self._output):
            return session.prompt(
                message, rprompt=rprompt, default=default, pre_run=self._faults.watch
            )


def _history(env: Environment) -> History:
    try:
        return OwnerHistory(env.state_folder / "history", env.say)
    except OSError as exc:
        env.say(f"the history cannot be saved: {exc.strerror or exc}")
        return InMemoryHistory()


def key_bindings(pastes: Pastes) -> KeyBindings:
    """The differences from prompt_toolkit's Emacs keys."""
    keys = KeyBindings()

    @keys.add(Keys.BracketedPaste)
    def _paste(event: KeyPressEvent) -> None:
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        event.current_buffer.insert_text(pastes.collapsed(text))

    @keys.add("enter", filter=~is_searching)
    def _send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        before = buffer.document.text_before_cursor
        if before.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        elif is_unfinished(before):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("tab", filter=~is_searching & ~has_completions)
    def _complete(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        requested = CompleteEvent(completion_requested=True)
        found = list(buffer.completer.get_completions(buffer.document, requested))
        if len(found) == 1:
            # Synchronously: start_completion runs later, and an Enter typed next would come first.
            buffer.apply_completion(found[0])
        else:
            buffer.start_completion(insert_common_part=True)

    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-c", filter=~is_searching)
    def _clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return keys


@contextmanager
def unechoed(stream: TextIO) -> Iterator[None]:
    """Do not echo typing, which would appear between the lines of an answer."""
    if not stream.isatty():
        yield
        return
    before = termios.tcgetattr(stream)
    silent = termios.tcgetattr(stream)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(stream, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(stream, termios.TCSADRAIN, before)


def copy_to_clipboard(env: Environment, text: str) -> bool:
    """Put text on the clipboard through the terminal (OSC 52); False without a terminal."""
    from base64 import b64encode

    for stream in (env.stderr, env.stdout):
        if env.is_animated(stream):
            stream.write(f"\x1b]52;c;{b64encode(text.encode()).decode()}\x07")
            stream.flush()
            return True
    return False
