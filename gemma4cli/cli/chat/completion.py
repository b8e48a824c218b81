"""Completion at the prompt: commands, their arguments, and files."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from ..escapes import one_line
from .file_names import path_of

Choices = Callable[[], Iterable[str]]
"""The arguments that a command may have."""


class CommandCompleter(Completer):
    """Completes commands and their arguments.

    ``choices`` maps commands to their arguments, None to files; a space follows those
    ``with_arguments``. The caller sets both. Errors are for ``report``, and complete nothing.
    """

    def __init__(self, report: Callable[[Exception], None]) -> None:
        self._report = report
        self.choices: Mapping[str, Choices | None] = {}
        self.with_arguments: Collection[str] = ()
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        try:
            return list(self._found(document, complete_event))
        except Exception as error:  # noqa: BLE001 - the line that is typed stays
            self._report(error)
            return []

    def _found(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        line = document.text_before_cursor
        if not line.startswith("/") or "\n" in line:
            return
        name, space, rest = line.partition(" ")
        if not space:
            for command in sorted(self.choices):
                if command.startswith(name):
                    space = " " if command in self.with_arguments else ""
                    yield Completion(f"{command}{space}", -len(name), display=command)
        elif name in self.choices:
            choices = self.choices[name]
            if choices is None:
                yield from self._files(rest, complete_event)
            else:
                yield from _starting_with(rest, list(choices()))

    def _files(self, rest: str, event: CompleteEvent) -> Iterable[Completion]:
        """Paths after the last unescaped space, with spaces in them escaped."""
        word = re.split(r"(?<!\\) ", rest)[-1]
        quote = word[0] if word[:1] in ("'", '"') else ""
        given = word[1:] if quote else str(path_of(word)) if word else ""
        if word.endswith("/") and not given.endswith("/"):
            given += "/"
        for found in self._paths.get_completions(Document(given), event):
            text = found.text if quote else re.sub(r"([\s'\"\\])", r"\\\1", found.text)
            yield Completion(text, 0, display=one_line(found.display_text))


def _starting_with(word: str, choices: Sequence[str]) -> Iterable[Completion]:
    return (
        Completion(choice, -len(word), display=one_line(choice))
        for choice in choices
        if choice.startswith(word)
    )
