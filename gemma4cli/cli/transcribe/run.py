"""A run of ``g4 transcribe``: recordings in, transcripts out, finished pieces journaled."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ...api import stream_transcribe
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
from .paths import Input, Target, check_targets, inputs, target_of
from .progress import TranscribeProgress
from .sinks import Documents, Files, JsonLines, Lines, Results, TranscriptSink, TranscriptStyle

if TYPE_CHECKING:
    from ...engine.model import LoadedModel
    from ...media.microphone import AudioSource
    from ...transcription.recordings import LiveRecording


MICROPHONE = "microphone"


@dataclass(frozen=True, kw_only=True, slots=True)
class TranscribeRun:
    """The options of a run; ``files`` and ``microphone`` run it."""

    env: Environment
    run: RunOptions
    options: TranscribeOptions
    style: TranscriptStyle
    suffixes: Sequence[str]
    skip_existing: bool = False
    restart: bool = False

    @property
    def generate(self) -> GenerateOptions:
        """Greedy unless a temperature is given."""
        return self.run.generate_options(default_temperature=0.0)

    def files(self, arguments: Sequence[str]) -> None:
        """Transcribe the recordings in the arguments. Exits with 5 if some of several failed."""
        given = inputs(arguments)
        several = len(given) > 1 or any(Path(argument).is_dir() for argument in arguments)
        target = self._target(several)
        check_targets(target, given)
        if self.skip_existing:
            given = self._missing(given, target)
        if not given:
            return
        model = load_model(
            self.env, self.run, () if several else [source_of(each.given) for each in given]
        )
        with ExitStack() as stack:
            recordings = [Source(name=each.given, path=each.path) for each in given]
            results = self._results(model, target, given, stack, several=several)
            codes = self._transcribe(model, given, recordings, results)
        exit_if_failed(codes, several=several)

    def microphone(self, device: str | None) -> None:
        """Transcribe the microphone, at each pause, until an interrupt."""
        from ...media.microphone import record
        from ...transcription.recordings import LiveRecording

        if self.skip_existing:
            raise OptionError("--skip-existing and --mic exclude each other")
        given = [Input(given=MICROPHONE, path=None, name=Path(MICROPHONE))]
        target = self._target(several=False)
        model = load_model(self.env, self.run)
        with ExitStack() as stack:
            results = self._results(model, target, given, stack, several=False)
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
        recordings: Sequence[Source | LiveRecording],
        results: Results,
        source: AudioSource | None = None,
    ) -> list[ExitCode]:
        """Run the recordings through the model; returns the exit codes of those that failed."""
        events = stream_transcribe(
            model,
            recordings,
            options=self.options,
            generate=self.generate,
            journal=self.env.state_folder / "transcripts",
            restart=self.restart,
        )
        names = [each.given for each in given]
        with (
            closing(events),
            TranscribeProgress(self.env, names, quiet=self.run.quiet, source=source) as progress,
        ):
            sink = TranscriptSink(
                self.env,
                progress,
                results,
                names,
                translated=self.style.translated,
                debug=self.run.debug,
            )
            return consume(_numbered(events), sink, progress)

    def _target(self, several: bool) -> Target:
        if self.run.json:
            # The JSON lines of all recordings go to one stream or file.
            return Target()
        if several and self.run.output is None and self.suffixes != ("txt",):
            raise OptionError(f"{self.suffixes[0]} holds one recording: pass a folder with -o")
        return target_of(self.run.output, 2 if several else 1, self.suffixes)

    def _missing(self, given: Sequence[Input], target: Target) -> list[Input]:
        """The inputs of which at least one output file is missing."""
        if target.file is None and target.folder is None:
            raise OptionError("--skip-existing needs output files: pass a file or folder with -o")
        missing = []
        for each in given:
            if not all(path.exists() for path in target.paths(each)):
                missing.append(each)
            elif not self.run.quiet:
                self.env.say(f"{each.given}: already transcribed")
        return missing

    def _results(
        self,
        model: LoadedModel,
        target: Target,
        given: Sequence[Input],
        stack: ExitStack,
        *,
        several: bool,
    ) -> Results:
        if target.file is not None or target.folder is not None:
            return Files(
                env=self.env, target=target, style=self.style, suffixes=self.suffixes, inputs=given
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
    """The events with the numbers of their recordings; a notice belongs to the current one."""
    number = 0
    for event in events:
        if isinstance(event, Notice):
            yield number, event
            continue
        number = event.recording
        yield number, Failed(event.error) if isinstance(event, RecordingFailed) else event


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
