"""The finished answers of one command on disk, from which an interrupted run resumes."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...checked_json import JsonError
from ...errors import JournalError
from ...journal import facts_of, remove_stale
from ...journal_file import JournalFile, Line
from ...records import Answer
from ..run.inputs import Input


class _Journal(JournalFile):
    """The answers of a job on disk. Of each, only where it is stays in memory."""

    def __init__(self, folder: Path, job: Mapping[str, object], *, restart: bool = False) -> None:
        self.places: dict[bytes, int] = {}
        """Where in the arrays the answer about a file is, as it was then (see ``facts_of``)."""
        self._begins, self._ends, self._answered = array("q"), array("q"), array("q")
        super().__init__(folder, job, restart=restart)

    def add(self, about: Mapping[str, object], answer: Answer, answered: int) -> None:
        """Put an answer on disk. Raises JournalError."""
        self.write({**about, "answered": answered, "text": answer.text, "record": answer.record})

    def take(self, line: Line) -> None:
        about = dict(line.content())
        _, answered = _take_answer(about)
        if not all(isinstance(each, str | int) for each in about.values()):
            raise TypeError("what a kept answer is about has text and numbers")
        self.places[_key(about)] = len(self._begins)
        self._begins.append(line.begin)
        self._ends.append(line.end)
        self._answered.append(answered)

    def clear(self) -> None:
        self.places.clear()
        del self._begins[:], self._ends[:], self._answered[:]

    def answered(self, place: int) -> int:
        """When an answer was given, in nanoseconds: its output file is of then or later."""
        return self._answered[place]

    def answer(self, place: int) -> Answer:
        """Read an answer. Raises JournalError."""
        line = self.line_at(self._begins[place], self._ends[place])
        try:
            return _take_answer(dict(line.content()))[0]
        except (JsonError, TypeError) as exc:
            raise JournalError(self.path, f"it is damaged: {exc}") from exc


def _take_answer(content: dict[str, Any]) -> tuple[Answer, int]:
    """Take an answer and its time out of an item's object, and leave what they are about.

    Raises TypeError.
    """
    text, record, answered = (content.pop(key, None) for key in ("text", "record", "answered"))
    if not (isinstance(text, str) and isinstance(record, dict) and isinstance(answered, int)):
        raise TypeError("a kept answer has text, record and time")
    if abs(answered) >= 1 << 63:
        raise TypeError("the time of a kept answer is too long ago, or to come")
    return Answer(text=text, record=record), answered


class AnswerJournal:
    """Keeps answers by their inputs' numbers; ``known`` are those of an earlier run.

    ``stays`` says that they are needed after this run, since not all of them could be written.
    Standard input and addresses are not kept: what they give may be different next time.
    """

    def __init__(self, journal: _Journal, inputs: Sequence[Input]) -> None:
        self.stays = False
        self._journal = journal
        self._inputs = inputs
        # As they are now, which is before they are read; numbers, since there may be a million.
        self._bytes, self._changed = array("q"), array("q")
        self._links: set[int] = set()
        self._folders: dict[str, str] = {}
        for number, each in enumerate(inputs):
            size, changed, is_link = _state(each)
            self._bytes.append(size)
            self._changed.append(changed)
            if is_link:
                self._links.add(number)
        self._places = {
            number: place
            for number in range(len(inputs) if journal.places else 0)
            if (facts := self._facts(number)) is not None
            and (place := journal.places.get(_key(facts))) is not None
        }

    @property
    def known(self) -> AbstractSet[int]:
        """The numbers of the inputs that an earlier run has answered."""
        return self._places.keys()

    def answered(self, number: int) -> int:
        """When an earlier run answered, in nanoseconds: its output file is of then or later."""
        return self._journal.answered(self._places[number])

    def answer(self, number: int) -> Answer:
        """What an earlier run has answered. Raises JournalError if it cannot be read any more."""
        return self._journal.answer(self._places[number])

    def add(self, number: int, answer: Answer) -> None:
        """Put an answer on disk. Raises JournalError."""
        facts = self._facts(number)
        if facts is not None:
            self._journal.add(facts, answer, time.time_ns())

    def _facts(self, number: int) -> Mapping[str, object] | None:
        given, size = self._inputs[number], self._bytes[number]
        if size == _NO_FILE:
            return None
        number_of_page = None if given.origin is None else given.origin.page
        page = {} if number_of_page is None else {"page": number_of_page}
        return {**facts_of(self._real_path(number), size, self._changed[number]), **page}

    def _real_path(self, number: int) -> str:
        """The path without links. Each folder is resolved once: most inputs are in a few."""
        given = self._inputs[number]
        path = given.given if given.origin is None else str(given.path)
        folder, name = os.path.split(path)
        if number in self._links or name == os.pardir:
            return os.path.realpath(path)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)


@contextmanager
def answer_journal(
    folder: Path,
    job: Mapping[str, object],
    inputs: Sequence[Input],
    *,
    restart: bool,
    not_kept: Callable[[JournalError], None],
    damaged: Callable[[str], None],
) -> Iterator[AnswerJournal | None]:
    """The journal of a command, removed if the ``with`` statement ends without an exception.

    ``job`` is everything that the answers depend on except the files. None, after a call of
    ``not_kept``, if it cannot be written or another process has it open. ``damaged`` is called
    with a line about what was put aside.
    """
    try:
        remove_stale(folder)
        journal = _Journal(folder, job, restart=restart)
    except JournalError as error:
        not_kept(error)
        yield None
        return
    if journal.damage is not None:
        damaged(journal.damage)
    with journal:
        kept = AnswerJournal(journal, inputs)
        yield kept
        if not kept.stays:
            journal.forget()


_NO_FILE = -1


def _state(given: Input) -> tuple[int, int, bool]:
    """Size and time of the last change of a file, and whether its name is that of a link."""
    try:
        if (path := given.given if given.origin is None else given.path) is not None:
            status = os.lstat(path)
            is_link = stat.S_ISLNK(status.st_mode)
            if is_link:
                status = os.stat(path)
            return status.st_size, status.st_mtime_ns, is_link
    except (OSError, ValueError):
        pass
    return _NO_FILE, 0, False


def _key(about: Mapping[str, object]) -> bytes:
    content = json.dumps(about, sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=16).digest()
