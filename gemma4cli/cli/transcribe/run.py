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

from ...errors import OptionError
from ...events import Notice
from ...messages import Source
from ...options import GenerateOptions, TranscribeOptions
from ...transcript import RecordingFailed, TranscriptEvent
from ..environment import Environment
from ..output.consume import Failed, Numbered, consume, exit_if_failed
from ..output.exit_codes import ExitCode
from ..output.results import opened_output
from ..run.options import RunOptions
from ..run.runner import load_model, source_of
from .paths import Input, Target, check_targets, inputs, target
from .progress import TranscribeProgress
from .sinks import Documents, Files, JsonLines, Lines, Results, TranscriptSink, TranscriptStyle

if TYPE_CHECKING:
    from ...engine.model import LoadedModel
    from ...media.microphone import AudioSource
    from ...transcription.journal import Journal
    from ...transcription.transcriber import Recording


MICROPHONE = "microphone"


@dataclass(frozen=True, kw_only=True, slots=True)
class TranscribeRun:
    """What was asked for; ``files`` and ``microphone`` do it."""

    env: Environment
    run: RunOptions
    options: TranscribeOptions
    style: TranscriptStyle
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
        model = load_model(
            self.env, self.run, () if several else [source_of(each.given) for each in given]
        )
        with ExitStack() as stack:
            files = _Files(self, model, stack)
            recordings = [files.opened(each) for each in given]
            results = self._results(model, where, given, stack, several=several)
            codes = self._transcribe(model, given, recordings, results)
            # Only now: a run that is stopped after some of its recordings repeats none of them.
            files.forget()
        exit_if_failed(codes, several=several)

    def microphone(self, device: str | None) -> None:
        """Transcribe what is said, at each pause, until an interrupt."""
        from ...media.microphone import record
        from ...transcription.recordings import LiveRecording

        if self.skip_existing:
            raise OptionError("--skip-existing and --mic exclude each other")
        given = [Input(given=MICROPHONE, path=None, name=Path(MICROPHONE))]
        where = self._target(several=False)
        model = load_model(self.env, self.run)
        with ExitStack() as stack:
            results = self._results(model, where, given, stack, several=False)
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
        events = transcribe(model, recordings, self.options, self.generate, batch=batch)
        with TranscribeProgress(self.env, names, quiet=self.run.quiet, source=source) as progress:
            sink = TranscriptSink(self.env, progress, results, names, debug=self.run.debug)
            return consume(_numbered(events), sink, progress)

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
                self.env.say(f"{each.given}: is already transcribed")
        return missing

    def _results(
        self,
        model: LoadedModel,
        where: Target,
        given: Sequence[Input],
        stack: ExitStack,
        *,
        several: bool,
    ) -> Results:
        if where.file is not None or where.folder is not None:
            return Files(
                env=self.env, target=where, style=self.style, suffixes=self.suffixes, inputs=given
            )
        stream = stack.enter_context(opened_output(self.run.output, self.env.stdout))
        names = [each.given for each in given]
        if self.run.json:
            return JsonLines(stream=stream, style=self.style, names=names, model=model.name)
        (suffix,) = self.suffixes
        if several or suffix != "txt":
            several = several and suffix == "txt"
            return Documents(
                stream=stream, style=self.style, suffix=suffix, names=names, several=several
            )
        return Lines(stream=stream, style=self.style)


def _numbered(events: Iterator[TranscriptEvent]) -> Iterator[Numbered]:
    """A notice belongs to the recording that is open."""
    number = 0
    for event in events:
        if isinstance(event, Notice):
            yield number, event
            continue
        number = event.recording
        yield number, Failed(event.error) if isinstance(event, RecordingFailed) else event


class _Files:
    """Files as recordings, with their journals; what is left open is closed with ``stack``."""

    def __init__(self, asked: TranscribeRun, model: LoadedModel, stack: ExitStack) -> None:
        from ...transcription.recordings import forget_stale

        self._asked = asked
        self._model = model
        self._stack = stack
        self._journals: list[Journal] = []
        self._kept = asked.env.state_folder / "transcripts"
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
