"""A conversation whose lines a test types, instead of a person at a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma4cli.cli.chat.completion import CommandCompleter
from gemma4cli.cli.chat.loop import converse
from gemma4cli.cli.chat.repl import Repl
from gemma4cli.cli.run.options import RunOptions
from gemma4cli.conversations.chat import Chat, ContextUse
from gemma4cli.events import Event


class Script:
    """A reader that types what the test wants, and answers questions in order."""

    def __init__(self, answers: Sequence[bool]) -> None:
        self.faults: list[Exception] = []
        self.completer = CommandCompleter(report=self.faults.append)
        self.lines: list[str] = []
        self.answers = list(answers)
        self.questions: list[str] = []
        self.drafts: list[str] = []
        self.asides: list[str] = []

    def read(self, *, aside: str = "", draft: str = "") -> str:
        self.drafts.append(draft)
        self.asides.append(aside)
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)

    def confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.answers.pop(0)


class ScriptedChat(Chat):
    """A chat whose next turns may fail, and whose context is as full as a test wants."""

    failure: Callable[[Chat], BaseException | None] = staticmethod(lambda chat: None)
    use: Callable[[Chat], ContextUse] | None = None

    def send(self, *args: Any) -> Iterator[Event]:
        if (failure := self.failure(self)) is not None:
            raise failure
        return super().send(*args)

    def context(self) -> ContextUse:
        return super().context() if self.use is None else self.use(self)


@dataclass
class Talk:
    """A conversation with the built-in model, and what it printed."""

    repl: Repl
    chat: ScriptedChat
    script: Script
    stdout: io.StringIO
    stderr: io.StringIO

    def say(self, *lines: str, quiet: bool = True, debug: bool = False) -> str:
        """Type lines; what stderr had to say to them."""
        for stream in (self.stdout, self.stderr):
            stream.seek(0)
            stream.truncate()
        self.script.lines = list(lines)
        self.repl.run = RunOptions(quiet=quiet, debug=debug)
        converse(self.repl)
        self.out = self.stdout.getvalue()
        return self.stderr.getvalue()

    @property
    def sessions(self) -> Path:
        return self.repl.env.sessions_folder

    @property
    def roles(self) -> list[str]:
        return [message.role for message in self.repl.chat.history]
