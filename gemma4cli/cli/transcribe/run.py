"""A run of ``g4 transcribe``: recordings in, transcripts out, finished pieces journaled."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING

from ...api import stream_transcribe
from ...errors import OptionError
from ...events import Notice
from ...media.kinds import CLIP_SUFFIXES, SOUND_SUFFIXES
from ...messages import Source
from ...options import GenerateOptions, TranscribeOptions
from ...times import clock
from ...transcript import RecordingFailed, RecordingFinished, TranscriptEvent
from ..environment import Environment
from ..output.consume import Failed, Numbered, consume, exit_if_failed
from ..output.exit_codes import ExitCode
from ..output.files import growing_file
from ..run.addresses import opener
from ..run.inputs import Input, Kind, are_several
from ..run.listing import Listing
from ..run.options import RunOptions
from ..run.runner import load_model
from ..run.shards import Shard
from ..run.shares import begin, share_of
from ..run.targets import Target, target_of
from ..run.written import Written, say_skipped, written_before
from .progress import TranscribeProgress
from .sinks import Documents, Files, JsonLines, Lines, Results, TranscriptSink, TranscriptStyle

if TYPE_CHECKING:
    from ...engine.answering import AnsweringModel
    from ...media.sound.microphone import AudioSource
    from ...transcription.live import LiveRecording


MICROPHONE = "microphone"

RECORDINGS = Kind(plural="recordings", suffixes=SOUND_SUFFIXES | CLIP_SUFFIXES)
"""Others in a folder are skipped; a file named as an argument is always read."""


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
    by_segment: bool = False
    fetches: bool = False
    file_names: bool = False
    shard: Shard | None = None

    @property
    def _alone(self) -> RunOptions:
        """The options for a model without a drafter."""
        return replace(self.run, draft="none")

    @property
    def generate(self) -> GenerateOptions:
        """Greedy unless a temperature is given."""
        return self.run.generate_options(default_temperature=0.0)

    def files(self, arguments: Sequence[str]) -> None:
        """Transcribe the recordings in the arguments; exits with the code of what failed."""
        share = share_of(self.shard, Listing(arguments, RECORDINGS, self.env.say))
        share.check_named_once()
        given = share.inputs
        several = self.shard is not None or are_several(given, arguments)
        target = self._target(several)
        target.check(self.env, self.run, given, share.paths())
        replaces = not self.skip_existing
        if not begin(self.env, self.run, share, target, RECORDINGS.plural, replaces=replaces):
            return
        del share  # other shards may have many inputs
        written = self._written(given, target) if self.skip_existing else Written()
        given = [each for number, each in enumerate(given) if number not in written.numbers]
        if not given:
            return
        opened = opener(RECORDINGS, fetches=self.fetches)
        if not several:  # with others, it fails when its turn comes, and they do not
            given = [replace(each, origin=opened(each.source)) for each in given]
        model = load_model(
            self.env, self._alone, () if several else [each.source for each in given]
        )
        with ExitStack() as stack:
            results = self._results(
                model, target, given, stack, several=several, begin=written.begin
            )
            sources = [each.source for each in given]
            codes = self._transcribe(model, given, sources, results, target, opened=opened)
        if self.shard is not None and not self.run.quiet:
            done, total = len(given) - len(codes), len(given)
            failed = f", {len(codes):,} failed" if codes else ""
            self.env.say(f"{self.shard.name}: {done:,} of {total:,} transcribed{failed}")
        exit_if_failed(codes, len(given))

    def microphone(self, device: str | None) -> None:
        """Transcribe the microphone, at each pause, until an interrupt."""
        from ...media.sound.microphone import record
        from ...transcription.live import LiveRecording

        if self.skip_existing:
            raise OptionError("--skip-existing and --mic exclude each other")
        if self.shard is not None:
            raise OptionError("--shard and --mic exclude each other")
        given = [Input(given=MICROPHONE, label=MICROPHONE, origin=Source(name=MICROPHONE))]
        target = self._target(several=False)
        target.check(self.env, self.run, given)
        model = load_model(self.env, self._alone)
        with ExitStack() as stack:
            results = self._results(model, target, given, stack, several=False)
            source = stack.enter_context(record(device))
            stack.enter_context(interrupting(source.stop))
            recording = LiveRecording(source)
            self._transcribe(model, given, [recording], results, target, source=source)
        if recording.broken is not None:
            raise recording.broken

    def _transcribe(
        self,
        model: AnsweringModel,
        given: Sequence[Input],
        recordings: Sequence[Source | LiveRecording],
        results: Results,
        target: Target,
        *,
        source: AudioSource | None = None,
        opened: Callable[[Source], Source] = Source.of,
    ) -> list[ExitCode]:
        """Run the recordings through the model; returns the exit codes of those that failed."""
        events = stream_transcribe(
            model,
            recordings,
            options=self.options,
            generate=self.generate,
            journal=self.env.state_folder / "transcripts",
            restart=self.restart,
            opened=opened,
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
            try:
                codes = consume(_numbered(events, len(given), sink), sink, progress)
                return codes + sink.unwritten
            except KeyboardInterrupt:
                progress.notice(_interrupted(given, sink, target))
                raise

    def _target(self, several: bool) -> Target:
        if self.run.json:
            # The JSON lines of all recordings go to one stream or file.
            return target_of(self.run.output, several=False, suffixes=("jsonl",))
        if several and self.run.output is None and self.suffixes != ("txt",):
            what = " and ".join(self.suffixes)
            raise OptionError(f"{what} of several recordings need a folder: pass one with -o")
        return target_of(self.run.output, several=several, suffixes=self.suffixes)

    def _written(self, given: Sequence[Input], target: Target) -> Written:
        """What an earlier run has written; the transcript of silence is an empty file."""
        if self.by_segment:
            raise OptionError("--skip-existing and --segments exclude each other")
        names = [each.given for each in given]
        written = written_before(target, given, names, lines=self.run.json, may_be_empty=True)
        if not self.run.quiet:
            say_skipped(self.env, target, len(written.numbers), len(given))
        return written

    def _results(
        self,
        model: AnsweringModel,
        target: Target,
        given: Sequence[Input],
        stack: ExitStack,
        *,
        several: bool,
        begin: Iterable[str] = (),
    ) -> Results:
        if self.run.json and target.file is not None:
            stream = stack.enter_context(growing_file(target.file, begin, target.seen))
        elif not target.is_stdout:
            return Files(target=target, style=self.style, suffixes=self.suffixes, inputs=given)
        else:
            stream = self.env.stdout
        names = [each.given for each in given]
        if self.run.json:
            return JsonLines(
                stream=stream,
                style=self.style,
                names=names,
                model=model.name,
                by_segment=self.by_segment or given[0].given == MICROPHONE,
                files=given if self.file_names else (),
            )
        (suffix,) = self.suffixes
        if several or suffix != "txt":
            several = several and suffix == "txt"
            return Documents(
                stream=stream, style=self.style, suffix=suffix, names=names, several=several
            )
        return Lines(stream=stream, style=self.style)


def _interrupted(given: Sequence[Input], sink: TranscriptSink, target: Target) -> str:
    """What a person wants to know after Ctrl-C: what there is, and how to go on."""
    if given[0].given == MICROPHONE:
        return "interrupted: what was said last is not transcribed"
    where = "" if target.is_stdout or not sink.finished else f", in {target.label}"
    done = f"{sink.finished} of {len(given)} transcribed{where}" if len(given) > 1 else ""
    now = f"{given[sink.current].given} up to {clock(sink.position)}" if sink.position else ""
    if all(each.path is None for each in given):
        more = "standard input cannot be resumed"
    else:
        more = "the same command continues"
    state = ", ".join(filter(None, (done, now))) or "nothing transcribed yet"
    return f"interrupted: {state}; {more}"


def _numbered(
    events: Iterator[TranscriptEvent], count: int, sink: TranscriptSink
) -> Iterator[Numbered]:
    """The events with the numbers of their recordings; a notice belongs to the current one.

    They end with the last of ``count`` recordings if not all could be written: journals are removed
    after that.
    """
    number = 0
    for event in events:
        if isinstance(event, Notice):
            yield number, event
            continue
        number = event.recording
        yield number, Failed(event.error) if isinstance(event, RecordingFailed) else event
        is_last = number == count - 1 and isinstance(event, RecordingFinished | RecordingFailed)
        if is_last and sink.unwritten:
            return


@contextmanager
def interrupting(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP calls ``stop``; the next one ends the program."""

    def once(number: int, frame: FrameType | None) -> None:
        restore()
        stop()

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {each: signal.signal(each, once) for each in _ends()}
    try:
        yield
    finally:
        restore()


def _ends() -> list[signal.Signals]:
    """The signals that end a run, without those that the process was started with ignored."""
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [each for each in ends if signal.getsignal(each) is not signal.SIG_IGN]
