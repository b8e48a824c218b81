"""The finished answers of one command on disk, from which an interrupted run resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...errors import JournalError
from ...journal import JobJournal, file_facts, remove_stale
from ...records import Answer
from ..run.inputs import Input


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptAnswer:
    """An answer, and the file that it is about as it was then (see ``file_facts``).

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

    Standard input and addresses are not kept: what they give may be different next time.
    """

    def __init__(self, journal: _Journal, inputs: Sequence[Input]) -> None:
        self._journal = journal
        self._facts = [_facts(each) for each in inputs]
        kept = {_key(each.about): each for each in journal.done}
        self.known = {
            number: kept[_key(facts)]
            for number, facts in enumerate(self._facts)
            if facts is not None and _key(facts) in kept
        }

    def add(self, number: int, answer: Answer) -> None:
        """Put an answer on disk. Raises JournalError."""
        facts = self._facts[number]
        if facts is not None:
            self._journal.add(KeptAnswer(about=facts, answer=answer, answered=time.time_ns()))


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
        yield AnswerJournal(journal, inputs)
        journal.forget()


def _facts(given: Input) -> Mapping[str, object] | None:
    try:
        if given.path is None:
            return None
        page = {} if given.source.page is None else {"page": given.source.page}
        return {**file_facts(given.path), **page}
    except (OSError, ValueError):
        return None


def _key(facts: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(facts.items()))
