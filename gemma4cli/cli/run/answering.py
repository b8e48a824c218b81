"""Answer the inputs of a command with one model: to a stream, a file, or a file for each."""

from __future__ import annotations

import stat
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..._version import __version__
from ...errors import JournalError
from ...events import Event
from ...messages import Source
from ...records import Answer, Given, named
from ..environment import Environment
from ..output.answer_results import AnswerFiles, AnswerRecords, AnswerResults, AnswerText
from ..output.answers import InOrder, StreamedAnswer, WholeAnswers
from ..output.consume import Display, Known, Numbered, consume, exit_if_failed, one_by_one
from ..output.files import growing_file
from ..output.pictures import pictures_for
from ..output.progress import Spinner
from ..output.results import opened_output
from ..output.writer import AnswerWriter
from .answer_journal import AnswerJournal, KeptAnswer, answer_journal
from .inputs import Input
from .options import RunOptions
from .runner import load_model
from .targets import Target
from .written import Written

if TYPE_CHECKING:
    from ...engine.model import LoadedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRun:
    """What a command answers, and where the answers go.

    Attributes:
        env: The outside world.
        run: The options of all commands.
        names: What labels and records call the inputs.
        target: Where the answers go.
        inputs: The files, if each name is one.
        needed: Files without which no model need be loaded.
        several: Whether answers are labeled, as those about a folder are, even with one file in it.
        question: What the answers depend on besides the model and the files; with it, the answers
            of an interrupted run are kept.
        restart: Answer again what an interrupted run has answered.
        keeps_parts: Whether ``events`` keep parts of an answer, from which the command continues.
        written: What an earlier run has written.
        markdown: Whether Markdown is rendered at a terminal.
        hide_thoughts: Whether thoughts are not shown.
    """

    env: Environment
    run: RunOptions
    names: Sequence[Given]
    target: Target
    inputs: Sequence[Input] = ()
    needed: Sequence[Source] = ()
    several: bool = False
    question: Mapping[str, object] | None = None
    restart: bool = False
    keeps_parts: bool = False
    written: Written = field(default_factory=Written)
    markdown: bool = False
    hide_thoughts: bool = False

    @property
    def is_streamed(self) -> bool:
        """Whether the text is written as it comes."""
        return not (self.several or self.target.is_separate or self.run.json)


def run_each(answers: AnswerRun, answer: Callable[[LoadedModel, int], Iterator[Event]]) -> None:
    """Answer one input after the other; see ``run_events``."""

    def events(model: LoadedModel, skip: AbstractSet[int]) -> Iterator[Numbered]:
        count = len(answers.names)
        keep_going = not answers.is_streamed
        return one_by_one(
            count, lambda number: answer(model, number), keep_going=keep_going, skip=skip
        )

    def display(known: int) -> Display:
        hides = answers.hide_thoughts
        return Spinner(answers.env, quiet=answers.run.quiet, hides_thoughts=hides)

    run_events(answers, events, display)


def run_events(
    answers: AnswerRun,
    events: Callable[[LoadedModel, AbstractSet[int]], Iterator[Numbered]],
    display: Callable[[int], Display],
) -> None:
    """Load the model and write the answers; exits with the code of what failed.

    ``events`` gets the numbers of the inputs that need no answer, ``display`` how many they are.
    """
    env, run = answers.env, answers.run
    pictures = pictures_for(env, run.thumbnails)
    model = load_model(env, run, answers.needed)
    with ExitStack() as stack:
        journal = _journal(answers, model, stack)
        kept = _Kept(answers, journal)
        known = kept.known()
        stream = _stream(answers, stack)
        shown = stack.enter_context(display(len(known)))
        writer = stack.enter_context(
            AnswerWriter(
                env,
                shown,
                stream if answers.is_streamed else None,
                quiet=run.quiet,
                markdown=answers.markdown,
                hide_thoughts=answers.hide_thoughts,
                pictures=pictures,
            )
        )
        single = StreamedAnswer(writer)
        whole = WholeAnswers(
            env,
            writer,
            shown,
            _results(answers, stream),
            answers.names,
            model=model.name,
            keep=kept.keep,
            debug=run.debug,
        )
        sink = single if answers.is_streamed else InOrder(whole)
        try:
            codes = consume(_after(known, events(model, known.keys())), sink, shown)
        except KeyboardInterrupt:
            if not run.quiet:
                with shown.aside():
                    env.say(
                        _interrupted(
                            answers,
                            whole.done,
                            journal,
                            started=single.started or whole.has_partial,
                        )
                    )
            raise
        if answers.target.beside and not run.quiet:
            env.say(f"{whole.done} of {len(answers.names)} answers are in files beside the inputs")
    exit_if_failed(codes, len(answers.names))


@dataclass(slots=True)
class _Kept:
    """Answers of this run and an earlier one, in a journal."""

    answers: AnswerRun
    journal: AnswerJournal | None
    failed: bool = field(default=False, init=False)

    def known(self) -> Mapping[int, Known]:
        """What needs no answer, by number."""
        known = dict.fromkeys(self.answers.written.numbers, Known(None))
        earlier = {} if self.journal is None else self.journal.known
        for number, kept in earlier.items():
            if number not in known:
                known[number] = Known(self._as_named_now(number, kept))
        if earlier and not self.answers.run.quiet:
            total = len(self.answers.names)
            self.answers.env.say(f"resumes: {len(earlier)} of {total} were answered before")
        return known

    def keep(self, number: int, answer: Answer) -> None:
        if self.journal is None or self.failed:
            return
        try:
            self.journal.add(number, answer)
        except JournalError as error:
            self.failed = True
            _say_not_kept(self.answers, error)

    def _as_named_now(self, number: int, kept: KeptAnswer) -> Answer | None:
        """None if the answer is in its file, where a person may have changed it."""
        target = self.answers.target
        if target.is_separate:
            paths = target.paths(self.answers.inputs[number])
            if all(_is_since(path, kept.answered) for path in paths):
                return None
        answer = kept.answer
        return replace(answer, record={**answer.record, **named(self.answers.names[number])})


def _is_since(path: Path, answered: int) -> bool:
    """Whether a file was written after an answer; an older one has the answer of another run."""
    try:
        return stat.S_ISREG((status := path.stat()).st_mode) and status.st_mtime_ns >= answered
    except OSError:
        return False


def _say_not_kept(answers: AnswerRun, error: JournalError) -> None:
    if not answers.run.quiet:
        answers.env.say(f"{error}; an interrupted run will start over")


def _journal(answers: AnswerRun, model: LoadedModel, stack: ExitStack) -> AnswerJournal | None:
    if answers.question is None:
        return None
    job = {"g4": __version__, **model.identity, "question": answers.question}
    return stack.enter_context(
        answer_journal(
            answers.env.state_folder / "answers",
            job,
            answers.inputs,
            restart=answers.restart,
            not_kept=lambda error: _say_not_kept(answers, error),
        )
    )


def _stream(answers: AnswerRun, stack: ExitStack) -> TextIO:
    """Standard output or the one file; unused if each input has its own."""
    target = answers.target
    if target.file is not None and answers.several:
        return stack.enter_context(growing_file(target.file, answers.written.begin))
    return stack.enter_context(opened_output(target.file, answers.env.stdout))


def _results(answers: AnswerRun, stream: TextIO) -> AnswerResults:
    target = answers.target
    if target.is_separate:
        (suffix,) = target.suffixes

        def path(number: int) -> Path:
            (only,) = target.paths(answers.inputs[number])
            return only

        return AnswerFiles(paths=path, format=suffix)
    if answers.run.json:
        return AnswerRecords(stream=stream, names=answers.names)
    return AnswerText(stream, answers.names, labeled=answers.several, partials=target.is_stdout)


def _after(known: Mapping[int, Known], events: Iterator[Numbered]) -> Iterator[Numbered]:
    """What is known, then the events; closing the stream closes them."""
    try:
        yield from known.items()
        yield from events
    finally:
        if isinstance(events, Generator):
            events.close()


def _interrupted(
    answers: AnswerRun, done: int, journal: AnswerJournal | None, *, started: bool
) -> str:
    """What a person wants to know after Ctrl-C: what there is, and how to go on."""
    target = answers.target
    kept = journal is not None or answers.keeps_parts
    more = "; the same command continues" if kept else ""
    if answers.is_streamed:
        if not started:
            return f"interrupted before the answer began{more}"
        where = "the answer" if target.file is None else f"the answer in {target.file}"
        return f"interrupted: {where} is incomplete{more}"
    if not answers.several:
        state = "the answer is incomplete" if started else "no answer"
        return f"interrupted: {state}{more if started else ''}"
    where = "" if target.is_stdout or not done else f", in {target.label}"
    return f"interrupted: {done} of {len(answers.names)} answered{where}{more}"
