"""Recordings to segments: pieces of one or several are heard in batches, in order.

Memory does not grow with a recording's length: a recording is decoded as a stream, and only as far
as the pieces of a batch reach. Knows no terminal and no file but the recordings and their journals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from .. import prompts
from ..decoded import AudioClip
from ..errors import JournalError, MediaError
from ..events import Finished, FinishReason, Notice
from ..messages import AudioPart, Message, Source, TextPart
from ..options import GenerateOptions, TranscribeOptions
from ..transcript import Doubt, RecordingFailed, RecordingOpened, TranscriptEvent
from .assemble import Assembly, not_kept
from .cut import Limits, Piece
from .journal import Heard, Journal
from .parse_translation import parted

if TYPE_CHECKING:
    from ..engine.model import LoadedModel
    from ..processing.inputs import ModelInputs

LONGEST_PIECE = 30.0
"""Seconds of speech that a Gemma 4 takes at once (model card)."""
_TOKENS_PER_SECOND = 16
"""More than anybody says in a second, in any language."""
_SPARE_TOKENS = 32
_LONGEST_PROMPT = 1500
"""Positions of a piece: 750 soft tokens, the prompt, and as much said as anybody can."""
_MOST_ENDED = 16
"""Recordings that wait, with their journals open, for a batch to fill."""
_WARMER = 0.4
"""Added to the temperature for a second try."""
_DOUBTS: Mapping[FinishReason, Doubt] = {
    "repetition": "repetition",
    "length": "length",
    "context": "length",
}


class Recording(Protocol):
    """One recording of a run; nothing of it is open before its turn.

    ``seconds`` is how long it says it is, None where it does not say. ``journal`` keeps its
    finished pieces; asking for it opens it, or raises JournalError.
    """

    @property
    def seconds(self) -> float | None: ...

    @property
    def journal(self) -> Journal | None: ...

    def pieces(self, limits: Limits) -> Iterator[Piece]:
        """Its speech in pieces, in order; asked for once. Raises MediaError."""

    def position(self) -> float:
        """Seconds of it that were read so far."""


@dataclass(slots=True, eq=False)
class _Found:
    """A piece of a recording, and what an earlier run has heard in it."""

    recording: int
    piece: Piece
    heard: Heard | None


@dataclass(frozen=True, slots=True)
class _Begun:
    event: RecordingOpened
    journal: Journal | None


@dataclass(frozen=True, slots=True)
class _Ended:
    recording: int
    seconds: float


_Step = _Begun | _Found | _Ended | RecordingFailed | Notice


def transcribe(
    model: LoadedModel,
    recordings: Sequence[Recording],
    options: TranscribeOptions,
    generate: GenerateOptions,
    *,
    batch: int,
) -> Iterator[TranscriptEvent]:
    """Write down what is said in ``recordings``, one after the other.

    ``generate`` is greedy as a rule; its ``max_tokens`` bounds a single piece. Closing the stream
    cancels; what was finished is in the journals. Raises UnsupportedModalityError before anything
    is opened, and what generating raises; a recording that cannot be read is an event.
    """
    model.processor.check_modality(AudioPart(source=Source(name="recording")))
    ear = _Ear(model, options, generate)
    texts: dict[int, Assembly] = {}
    for window in _windows(_steps(recordings, limits_of(model, options)), batch):
        fresh = [step for step in window if isinstance(step, _Found) and step.heard is None]
        answers = iter(ear.hear([step.piece for step in fresh]))
        for step in window:
            match step:
                case _Found(recording=number, piece=piece):
                    heard, runs = (step.heard, ()) if step.heard else next(answers)
                    yield from texts[number].add(heard, runs, continued=piece.continued)
                case _Ended(recording=number, seconds=seconds):
                    yield from texts.pop(number).finish(seconds)
                case RecordingFailed(recording=number):
                    yield from texts.pop(number).break_off()
                    yield step
                case _Begun(event=event, journal=journal):
                    texts[event.recording] = Assembly(event.recording, journal)
                    yield event
                case Notice():
                    yield step


def piece_batch_size(model: LoadedModel) -> int:
    """Pieces to transcribe at once, by what memory this machine has; 1 to 8."""
    from ..engine.batch_size import batch_size

    return batch_size(model, _LONGEST_PROMPT)


def limits_of(model: LoadedModel, options: TranscribeOptions) -> Limits:
    """How recordings are cut for a model."""
    longest = min(options.longest_piece or LONGEST_PIECE, LONGEST_PIECE)
    if model.processor.longest_clip is not None:
        longest = min(longest, model.processor.longest_clip)
    return Limits(longest=longest)


def _steps(recordings: Sequence[Recording], limits: Limits) -> Iterator[_Step]:
    """All that there is to do, in order; recordings are opened and cut as this is asked for."""
    for number, recording in enumerate(recordings):
        journal = None
        try:
            journal = recording.journal
        except JournalError as error:
            yield not_kept(error)
        done = list(journal.done) if journal else []
        opened = RecordingOpened(
            recording=number, seconds=recording.seconds, resumed=done[-1].end if done else 0.0
        )
        yield _Begun(opened, journal)
        try:
            for index, piece in enumerate(recording.pieces(limits)):
                known = done[index] if index < len(done) else None
                if known is not None and known.start != piece.start:
                    # The file was changed behind the journal's back.
                    known, done = None, []
                    assert journal is not None
                    journal.keep(index)
                yield _Found(number, piece, known)
        except MediaError as error:
            yield RecordingFailed(recording=number, error=error)
        else:
            yield _Ended(number, recording.position())


def _windows(steps: Iterator[_Step], batch: int) -> Iterator[list[_Step]]:
    """Steps in groups with up to ``batch`` pieces that are still to be heard."""
    window: list[_Step] = []
    waiting = ended = 0
    for step in steps:
        window.append(step)
        waiting += isinstance(step, _Found) and step.heard is None
        ended += isinstance(step, _Ended | RecordingFailed)
        # What costs nothing is told at once.
        if waiting in (0, batch) or ended == _MOST_ENDED:
            yield window
            window, waiting, ended = [], 0, 0
    if window:
        yield window


class _Ear:
    """The model's part: pieces to text."""

    def __init__(
        self, model: LoadedModel, options: TranscribeOptions, generate: GenerateOptions
    ) -> None:
        self._model = model
        self._target = options.translate_to
        self._generate = generate
        if options.translate_to is None:
            self._prompt = prompts.transcription(options.language, options.names)
        else:
            self._prompt = prompts.translation(
                options.language, options.translate_to, options.names
            )

    def hear(self, pieces: Sequence[Piece]) -> list[tuple[Heard, tuple[Finished, ...]]]:
        """What is said in each piece, and the runs that it took."""
        if not pieces:
            return []
        answers = self._answers(pieces, self._generate)
        return [self._checked(*pair) for pair in zip(pieces, answers, strict=True)]

    def _most_tokens(self, piece: Piece) -> int:
        said = _SPARE_TOKENS + int((piece.end - piece.start) * _TOKENS_PER_SECOND)
        return min(self._generate.max_tokens, said if self._target is None else 2 * said)

    def _answers(self, pieces: Sequence[Piece], options: GenerateOptions) -> list[Finished]:
        from ..engine.batch import generate_batch

        return generate_batch(
            self._model,
            [self._inputs(piece) for piece in pieces],
            options,
            max_tokens=[self._most_tokens(piece) for piece in pieces],
        )

    def _inputs(self, piece: Piece) -> ModelInputs:
        source = Source(name="recording")
        parts = (TextPart(text=self._prompt), AudioPart(source=source))
        clip = AudioClip(samples=piece.samples, name=source.name)
        return self._model.processor.prepare([Message(role="user", content=parts)], [clip])

    def _checked(self, piece: Piece, first: Finished) -> tuple[Heard, tuple[Finished, ...]]:
        """An answer that did not end by itself is asked for once more, a little warmer."""
        runs: tuple[Finished, ...] = (first,)
        if first.reason != "stop":
            (second,) = self._answers([piece], self._warmer())
            runs = (first, second)
        best = runs[-1] if runs[-1].reason == "stop" else first
        from ..engine.repetition import without_loop

        text, translation = self._parted(best.text)
        doubt = _DOUBTS.get(best.reason)
        heard = Heard(
            start=piece.start,
            end=piece.end,
            overlap=piece.overlap,
            text=without_loop(text) if doubt else text,
            translation=translation,
            doubt=doubt,
        )
        return heard, runs

    def _warmer(self) -> GenerateOptions:
        options = self._generate
        warmer = (options.temperature or 0.0) + _WARMER
        return replace(options, temperature=warmer, seed=options.seed or 0)

    def _parted(self, answer: str) -> tuple[str, str | None]:
        if self._target is None:
            return " ".join(answer.split()), None
        return parted(answer, self._target)
