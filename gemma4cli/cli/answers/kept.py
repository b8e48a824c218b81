"""Answers that need not be given again: those of an interrupted run, and those in their files."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..._version import __version__
from ...errors import JournalError
from ...journal import not_kept
from ...records import Answer, named
from ..output.consume import Known
from .journal import AnswerJournal, answer_journal
from .targets import AnswerRun

if TYPE_CHECKING:
    from ...engine.answering import AnsweringModel


@dataclass(slots=True)
class KeptAnswers:
    """Answers of this run and an earlier one, in a journal."""

    answers: AnswerRun
    journal: AnswerJournal | None
    failed: bool = field(default=False, init=False)

    def numbers(self) -> AbstractSet[int]:
        """The inputs that need no answer."""
        return self.answers.written.numbers | self._earlier

    def known(self) -> Iterator[tuple[int, Known]]:
        """What is known of each of them; an answer is made when it is taken."""
        for number in sorted(self.numbers()):
            is_written = number in self.answers.written.numbers
            yield number, Known(None if is_written else self._as_named_now(number))

    def say(self) -> None:
        """Say how many answers an earlier run has left."""
        if self._earlier and not self.answers.run.quiet:
            total = len(self.answers.names)
            self.answers.env.say(f"resumes: {len(self._earlier)} of {total} were answered before")

    @property
    def _earlier(self) -> AbstractSet[int]:
        return frozenset() if self.journal is None else self.journal.known

    def keep(self, number: int, answer: Answer) -> None:
        """Put an answer on disk; if that fails, say so once."""
        if self.journal is None or self.failed:
            return
        try:
            self.journal.add(number, answer)
        except JournalError as error:
            self.failed = True
            _say_not_kept(self.answers, error)

    def _as_named_now(self, number: int) -> Answer | None:
        """None if the answer is in its file, where a person may have changed it."""
        assert self.journal is not None
        target = self.answers.target
        if target.is_separate:
            paths = target.paths(self.answers.inputs[number])
            answered = self.journal.answered(number)
            if all(_is_since(path, answered) for path in paths):
                return None
        answer = self.journal.answer(number)
        return replace(answer, record={**answer.record, **named(self.answers.names[number])})


def _is_since(path: Path, answered: int) -> bool:
    """Whether a file was written after an answer; an older one has the answer of another run."""
    try:
        return stat.S_ISREG((status := path.stat()).st_mode) and status.st_mtime_ns >= answered
    except OSError:
        return False


def _say_not_kept(answers: AnswerRun, error: JournalError) -> None:
    if not answers.run.quiet:
        answers.env.say(not_kept(error))


def kept_answers(answers: AnswerRun, model: AnsweringModel, stack: ExitStack) -> KeptAnswers:
    """The answers of a run with this model; ``stack`` closes their journal."""
    if answers.question is None:
        return KeptAnswers(answers, None)
    job = {"g4": __version__, **model.identity, "question": answers.question}
    journal = stack.enter_context(
        answer_journal(
            answers.env.state_folder / "answers",
            job,
            answers.inputs,
            restart=answers.restart,
            not_kept=lambda error: _say_not_kept(answers, error),
            damaged=lambda line: None if answers.run.quiet else answers.env.say(line),
        )
    )
    return KeptAnswers(answers, journal)
