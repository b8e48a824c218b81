"""Answer the inputs of a command with one model: to a stream, a file, or a file for each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ...events import Event
from ...records import Record
from ..output.consume import Display, Numbered, consume, exit_if_failed, one_by_one
from ..output.files import growing_file
from ..output.pictures import pictures_for
from ..output.progress import Spinner
from ..output.results import opened_output
from ..run.inputs import with_file_name
from ..run.runner import load_model
from .journal import AnswerJournal
from .kept import kept_answers
from .results import AnswerFiles, AnswerRecords, AnswerResults, AnswerText
from .sinks import InOrder, StreamedAnswer, WholeAnswers
from .targets import AnswerRun
from .writer import AnswerWriter

if TYPE_CHECKING:
    from ...engine.answering import AnsweringModel


def run_each(answers: AnswerRun, answer: Callable[[AnsweringModel, int], Iterator[Event]]) -> None:
    """Answer one input after the other; see ``run_events``."""

    def events(model: AnsweringModel, skip: AbstractSet[int]) -> Iterator[Numbered]:
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
    events: Callable[[AnsweringModel, AbstractSet[int]], Iterator[Numbered]],
    display: Callable[[int], Display],
) -> None:
    """Load the model and write the answers; exits with the code of what failed.

    ``events`` gets the numbers of the inputs that need no answer, ``display`` how many they are.
    """
    env, run = answers.env, answers.run
    pictures = pictures_for(env, run.thumbnails)
    model = load_model(env, run, answers.needed)
    with ExitStack() as stack:
        kept = kept_answers(answers, model, stack)
        kept.say()
        known = kept.numbers()
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
            codes = consume(_after(kept.known(), events(model, known)), sink, shown)
        except KeyboardInterrupt:
            if not run.quiet:
                with shown.aside():
                    env.say(
                        _interrupted(
                            answers,
                            whole.done,
                            kept.journal,
                            started=single.started or whole.has_partial,
                        )
                    )
            raise
        codes += whole.unwritten
        if whole.unwritten and kept.journal is not None:
            kept.journal.stays = True
    # Not before the progress bar is gone, on whose line it would be.
    if answers.target.beside and not run.quiet:
        env.say(f"{whole.done} of {len(answers.names)} answers are in files beside the inputs")
    elif answers.shard and not run.quiet:
        failed = f", {len(codes):,} failed" if codes else ""
        env.say(f"{answers.shard}: {whole.done:,} of {len(answers.names):,} answered{failed}")
    exit_if_failed(codes, len(answers.names))


def _stream(answers: AnswerRun, stack: ExitStack) -> TextIO:
    """Standard output or the one file; unused if each input has its own."""
    target = answers.target
    if target.file is not None and answers.several:
        return stack.enter_context(growing_file(target.file, answers.written.begin, target.seen))
    return stack.enter_context(opened_output(target.file, answers.env.stdout))


def _results(answers: AnswerRun, stream: TextIO) -> AnswerResults:
    target = answers.target

    def named(number: int, record: Record) -> Record:
        if not answers.file_names:
            return record
        return with_file_name(record, answers.inputs[number])

    if target.is_separate:
        (suffix,) = target.suffixes

        def path(number: int) -> Path:
            (only,) = target.paths(answers.inputs[number])
            return only

        return AnswerFiles(paths=path, format=answers.format or suffix, named=named)
    if answers.run.json:
        return AnswerRecords(stream=stream, names=answers.names, named=named)
    return AnswerText(stream, answers.names, labeled=answers.several, partials=target.is_stdout)


def _after(known: Iterator[Numbered], events: Iterator[Numbered]) -> Iterator[Numbered]:
    """What is known, then the events; closing the stream closes them."""
    try:
        yield from known
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
