"""A run of ``g4 transcribe``: recordings in, transcripts out, progress kept on the way."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from ...errors import Gemma4Error, OptionError
from ...events import Notice
from ...messages import Source
from ...options import GenerateOptions, TranscribeOptions
from ...transcript import (
    PieceDone,
    RecordingFailed,
    RecordingFinished,
    RecordingOpened,
    Segment,
    SegmentReady,
    TranscriptEvent,
)
from ..output.exit_codes import ExitCode, exit_code_of
from ..output.results import opened_output
from ..output.terminal import say, say_error
from ..run.options import RunOptions
from ..run.runner import load_model, source_of
from ..settings.folders import state_folder
from .paths import Input, Target, check_targets, inputs, target
from .progress import TranscribeProgress, clock
from .sinks import Documents, Files, JsonLines, Lines, Results, Shape

if TYPE_CHECKING:
    from ...engine.model import LoadedModel
    from ...media.microphone import AudioSource
    from ...transcription.journal import Journal
    from ...transcription.transcriber import Recording


MICROPHONE = "microphone"


@dataclass(frozen=True, kw_only=True, slots=True)
class TranscribeRun:
    """What was asked for; ``files`` and ``microphone`` do it."""

    run: RunOptions
    options: TranscribeOptions
    shape: Shape
    suffixes: Sequence[str]
    skip_existing: bool = False
    restart: bool = False

    @property
    def generate(self) -> GenerateOptions:
        """Greedy, unless a temperature was asked for."""
        return self.run.generate_options(default_temperature=0.0)

    def files(self, arguments: Sequence[str]) -> None:
        """Transcribe what the arguments name. Exits with 5 if some of several failed."""
        given = inputs(arguments)
        several = len(given) > 1 or any(Path(argument).is_dir() for argument in arguments)
        where = self._target(several)
        check_targets(where, given)
        if self.skip_existing:
            given = self._missing(given, where)
        if not given:
            return
        model = load_model(self.run, () if several else [source_of(each.given) for each in given])
        with ExitStack() as stack:
            files = _Files(self, model, stack)
            recordings = [files.opened(each) for each in given]
            results = self._results(model, where, stack, several=several)
            codes = self._transcribe(model, given, recordings, results)
            # Only now: a run that is stopped after some of its recordings repeats none of them.
            files.forget()
        if codes:
            raise typer.Exit(ExitCode.SOME_FAILED if several else codes[0])

    def microphone(self, device: str | None) -> None:
        """Transcribe what is said, at each pause, until an interrupt."""
        from ...media.microphone import record
        from ...transcription.recordings import LiveRecording

        if self.skip_existing:
            raise OptionError("--skip-existing and --mic exclude each other")
        given = [Input(given=MICROPHONE, path=None, name=Path(MICROPHONE))]
        where = self._target(several=False)
        model = load_model(self.run)
        with ExitStack() as stack:
            results = self._results(model, where, stack, several=False)
            source = stack.enter_context(record(device))
            stack.enter_context(interrupting(source.stop))
            recording = LiveRecording(source)
            self._transcribe(model, given, [recording], results, source)
        if recording.broken is not None:
            raise recording.broken

    def _transcribe(
        self,
        model: LoadedModel,
        given: Sequence[Input],
        recordings: Sequence[Recording],
        results: Results,
        source: AudioSource | None = None,
    ) -> list[ExitCode]:
        """Run the recordings through the model; the codes of those that failed."""
        from ...transcription.transcriber import piece_batch_size, transcribe

        names = [each.given for each in given]
        batch = 1 if source is not None else self.options.batch or piece_batch_size(model)
        with TranscribeProgress(names, quiet=self.run.quiet, source=source) as progress:
            show = _Show(given, results, progress, debug=self.run.debug)
            for event in transcribe(model, recordings, self.options, self.generate, batch=batch):
                show.event(event)
        return show.codes

    def _target(self, several: bool) -> Target:
        if self.run.json:
            # The lines of all recordings go to one stream or file.
            return Target()
        if several and self.run.output is None and self.suffixes != ("txt",):
            raise OptionError(f"{self.suffixes[0]} holds one recording: name a folder with -o")
        return target(self.run.output, 2 if several else 1, self.suffixes)

    def _missing(self, given: Sequence[Input], where: Target) -> list[Input]:
        """The inputs that lack one of their files."""
        if where.file is None and where.folder is None:
            raise OptionError("--skip-existing looks for files: name a file or a folder with -o")
        missing = []
        for each in given:
            if not all(path.exists() for path in where.paths(each)):
                missing.append(each)
            elif not self.run.quiet:
                say(f"{each.given}: is transcribed already")
        return missing

    def _results(
        self, model: LoadedModel, where: Target, stack: ExitStack, *, several: bool
    ) -> Results:
        if where.file is not None or where.folder is not None:
            return Files(target=where, shape=self.shape, suffixes=self.suffixes)
        stream = stack.enter_context(opened_output(self.run.output))
        if self.run.json:
            return JsonLines(stream=stream, shape=self.shape, model=model.name)
        (suffix,) = self.suffixes
        if several or suffix != "txt":
            several = several and suffix == "txt"
            return Documents(stream=stream, shape=self.shape, suffix=suffix, several=several)
        return Lines(stream=stream, shape=self.shape)


class _Files:
    """Files as recordings, with their journals; what is left open is closed with ``stack``."""

    def __init__(self, asked: TranscribeRun, model: LoadedModel, stack: ExitStack) -> None:
        from ...transcription.recordings import forget_stale

        self._asked = asked
        self._model = model
        self._stack = stack
        self._journals: list[Journal] = []
        self._kept = state_folder() / "transcripts"
        forget_stale(self._kept)
        self._spooled = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="g4-")))

    def opened(self, given: Input) -> Recording:
        """A file, or what standard input holds; nothing is opened yet."""
        from ...transcription.recordings import FileRecording

        source = Source(name=given.given, path=given.path)
        return FileRecording(source, partial(self._journal, given.path), spool_to=self._spooled)

    def forget(self) -> None:
        """All results are safe: nobody has to go on."""
        for journal in self._journals:
            journal.forget()

    def _journal(self, path: Path | None) -> Journal | None:
        """Where the pieces of a file are kept; None for what is no file. Raises JournalError."""
        from ...transcription.journal import Journal
        from ...transcription.recordings import job

        if path is None or not path.is_file():
            return None
        asked = self._asked
        facts = job(self._model, path, asked.options, asked.generate)
        journal = self._stack.enter_context(Journal(self._kept, facts, fresh=asked.restart))
        self._journals.append(journal)
        return journal


class _Show:
    """Events to results and progress; remembers what failed."""

    def __init__(
        self,
        given: Sequence[Input],
        results: Results,
        progress: TranscribeProgress,
        *,
        debug: bool,
    ) -> None:
        self.codes: list[ExitCode] = []
        self._given = given
        self._results = results
        self._progress = progress
        self._debug = debug

    def event(self, event: TranscriptEvent) -> None:
        match event:
            case Notice(text=text):
                self._progress.notice(text)
            case RecordingOpened():
                self._progress.opened(event)
            case PieceDone():
                self._progress.done(event)
            case SegmentReady(recording=number, segment=segment):
                self._segment(self._given[number], segment)
            case RecordingFinished(recording=number):
                self._progress.ended(event)
                with self._progress.aside():
                    self._results.finished(self._given[number], event)
            case RecordingFailed(recording=number, error=error):
                self._progress.ended(event)
                with self._progress.aside():
                    self._failed(self._given[number], error)

    def _segment(self, given: Input, segment: Segment) -> None:
        if segment.doubt is not None:
            at = clock(segment.start)
            self._progress.notice(f"{given.given}: may be wrong at {at} ({segment.doubt})")
        with self._progress.aside():
            self._results.segment(given, segment)

    def _failed(self, given: Input, error: Gemma4Error) -> None:
        self._results.failed(given, error)
        self.codes.append(exit_code_of(error))
        say_error(error, debug=self._debug)


@contextmanager
def interrupting(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls ``stop``; the next one ends the program as usual."""

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    before = signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
