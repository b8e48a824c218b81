"""The finished answers of one command on disk, from which an interrupted run resumes."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import JournalError
from ...journal import JobJournal, facts_of, remove_stale
from ...records import Answer
from ..run.inputs import Input


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptAnswer:
    """An answer, and the file that it is about as it was then (see ``facts_of``).

    ``answered`` is the time in nanoseconds, that of an output file with this answer or later.
    """

    about: Mapping[str, object]
    answer: Answer
    answered: int


class _Journal(JobJournal[KeptAnswer]):
    def line(self, item: KeptAnswer) -> Mapping[str, object]:
        answer = {"text": item.answer.text, "record": item.answer.record}
        return {**item.about, "answered": item.answered, **answer}

    def parse(self, line: Mapping[str, object]) -> KeptAnswer:
        about = dict(line)
        text, record, answered = (about.pop(key, None) for key in ("text", "record", "answered"))
        if not (isinstance(text, str) and isinstance(record, dict) and isinstance(answered, int)):
            raise TypeError("a kept answer has text, record and time")
        if not all(isinstance(each, str | int) for each in about.values()):
            raise TypeError("what a kept answer is about has text and numbers")
        return KeptAnswer(about=about, answer=Answer(text=text, record=record), answered=answered)


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
        for each in inputs:
            size, changed = _state(each)
            self._bytes.append(size)
            self._changed.append(changed)
        kept = {_key(each.about): each for each in journal.done}
        self.known = {
            number: kept[_key(facts)]
            for number in range(len(inputs) if kept else 0)
            if (facts := self._facts(number)) is not None and _key(facts) in kept
        }

    def add(self, number: int, answer: Answer) -> None:
        """Put an answer on disk. Raises JournalError."""
        facts = self._facts(number)
        if facts is not None:
            self._journal.add(KeptAnswer(about=facts, answer=answer, answered=time.time_ns()))

    def _facts(self, number: int) -> Mapping[str, object] | None:
        given, size = self._inputs[number], self._bytes[number]
        if size == _NO_FILE:
            return None
        page = {} if given.source.page is None else {"page": given.source.page}
        return {**facts_of(str(given.path), size, self._changed[number]), **page}


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


def _state(given: Input) -> tuple[int, int]:
    """Size and time of the last change of a file."""
    try:
        if (path := given.path) is not None:
            status = os.stat(path)
            return status.st_size, status.st_mtime_ns
    except (OSError, ValueError):
        pass
    return _NO_FILE, 0


def _key(facts: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(facts.items()))
