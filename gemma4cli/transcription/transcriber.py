"""Recordings to segments: pieces of one or several recordings go through the model in batches.

Memory does not grow with a recording's length: recordings are decoded as streams, and no further
than the next batch needs. Knows no terminal, and no files but the recordings and their journals.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .. import prompts
from ..decoded import AudioClip
from ..errors import Gemma4Error, JournalError, unexpected
from ..events import Finished, FinishReason, Notice
from ..messages import AudioPart, Message, Source, TextPart
from ..options import GenerateOptions, TranscribeOptions
from ..transcript import Doubt, RecordingOpened, TranscriptEvent
from .assemble import Assembly, not_saved
from .cut import Limits, Piece
from .journal import Journal, PieceText
from .journal_folder import JournalFolder
from .parse_translation import split_translation

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel
    from ..processing.inputs import ModelInputs

LONGEST_PIECE = 30.0
"""Seconds of speech that a Gemma 4 takes at once (model card)."""
_TOKENS_PER_SECOND = 16
"""More than anyone speaks in a second, in any language."""
_SPARE_TOKENS = 32
_LONGEST_PROMPT = 1500
"""Tokens of a piece: 750 soft tokens, the prompt, and the longest possible answer."""
_MAX_WAITING_RECORDINGS = 16
"""Recordings that may wait, with their journals open, for a batch to fill."""
_RETRY_WARMTH = 0.4
"""Added to the temperature for a second try."""
_DOUBTS: Mapping[FinishReason, Doubt] = {
    "repetition": "repetition",
    "length": "length",
    "context": "length",
}


class Recording(Protocol):
    """One recording of a run; nothing of it is opened before its turn."""

    @property
    def file(self) -> Path | None:
        """The regular file that it is, or None for a stream, which has no journal."""

    @property
    def live(self) -> bool:
        """Whether it is still being captured, so that no piece should wait for a batch."""

    @property
    def seconds(self) -> float | None:
        """The length that its container declares, None if it declares none."""

    def pieces(self, limits: Limits) -> Iterator[Piece | Notice | None]:
        """Its speech in pieces, in order, and what people should know; called once.

        None comes before it waits for more, and what came before must not. Raises MediaError.
        """

    def position(self) -> float:
        """Seconds of it that were read so far."""


@dataclass(slots=True, eq=False)
class _PieceFound:
    """A piece of a recording, with its text if an earlier run finished it."""

    assembly: Assembly
    piece: Piece
    known: PieceText | None


@dataclass(frozen=True, slots=True)
class _Ended:
    assembly: Assembly
    seconds: float


@dataclass(frozen=True, slots=True)
class _Failed:
    assembly: Assembly
    error: Gemma4Error


_Step = RecordingOpened | Notice | _PieceFound | _Ended | _Failed


class _Waits:
    """Nothing more is there at the moment: what is there goes to the model."""


def transcribe(
    model: AnsweringModel,
    recordings: Sequence[Recording],
    options: TranscribeOptions,
    generate: GenerateOptions,
    *,
    batch: int,
    journals: JournalFolder | None = None,
) -> Iterator[TranscriptEvent]:
    """Transcribe ``recordings`` one after the other, ``batch`` pieces at once.

    ``generate`` is usually greedy; its ``max_tokens`` bounds a single piece. ``journals`` keep the
    finished pieces of files, and supply those of an earlier run. Closing the stream cancels.
    Raises UnsupportedModalityError before anything is opened, and what generating raises; a
    recording that cannot be read is an event.
    """
    model.processor.check_modality(AudioPart(source=Source(name="recording")))
    reader = _PieceReader(model, options, generate)
    with closing(_steps(recordings, limits_of(model, options), journals)) as steps:
        for window in _batches(steps, batch):
            new = [step for step in window if isinstance(step, _PieceFound) and step.known is None]
            answers = iter(reader.read([step.piece for step in new]))
            for step in window:
                match step:
                    case _PieceFound(assembly=assembly, piece=piece, known=known):
                        text, runs = (known, ()) if known else next(answers)
                        yield from assembly.add(text, runs, continued=piece.continued)
                    case _Ended(assembly=assembly, seconds=seconds):
                        yield from assembly.finish(seconds)
                    case _Failed(assembly=assembly, error=error):
                        yield from assembly.fail(error)
                    case RecordingOpened() | Notice():
                        yield step


def piece_batch_size(model: AnsweringModel) -> int:
    """The number of pieces to transcribe at once that this machine has memory for, 1 to 8."""
    return model.batch_size(_LONGEST_PROMPT)


def limits_of(model: AnsweringModel, options: TranscribeOptions) -> Limits:
    """How recordings are cut for a model."""
    longest = min(options.longest_piece or LONGEST_PIECE, LONGEST_PIECE)
    if model.processor.longest_clip is not None:
        longest = min(longest, model.processor.longest_clip)
    return Limits(longest=longest)


def _steps(
    recordings: Sequence[Recording], limits: Limits, journals: JournalFolder | None
) -> Generator[_Step | _Waits, None, None]:
    """The work of a run in order; recordings are opened and cut as the iterator advances."""
    for number, recording in enumerate(recordings):
        journal: Journal | None = None
        try:
            if journals is not None and recording.file is not None:
                journal = journals.open(recording.file)
        except JournalError as error:
            yield not_saved(error)
        if journal is not None and journal.damage is not None:
            yield Notice(text=journal.damage)
        done = list(journal.done) if journal else []
        yield RecordingOpened(
            recording=number, seconds=recording.seconds, resumed=done[-1].end if done else 0.0
        )
        assembly = Assembly(number, journal)
        try:
            index = -1
            for piece in recording.pieces(limits):
                if piece is None:
                    yield _Waits()
                    continue
                if isinstance(piece, Notice):
                    yield piece
                    continue
                index += 1
                known = done[index] if index < len(done) else None
                if known is not None and not known.is_of(piece.start, piece.channel):
                    # The file changed although its size and modification time did not.
                    known, done = None, []
                    assert journal is not None
                    journal.keep(index)
                yield _PieceFound(assembly, piece, known)
        except Exception as error:  # noqa: BLE001 - one odd recording does not end the others
            yield _Failed(assembly, unexpected(error))
        else:
            yield _Ended(assembly, recording.position())


def _batches(steps: Iterator[_Step | _Waits], batch: int) -> Iterator[list[_Step]]:
    """Steps in groups with up to ``batch`` pieces that the model has yet to read."""
    window: list[_Step] = []
    waiting = ended = 0
    for step in steps:
        if not isinstance(step, _Waits):
            window.append(step)
            waiting += isinstance(step, _PieceFound) and step.known is None
            ended += isinstance(step, _Ended | _Failed)
            # Steps that need no model are not held back.
            if waiting not in (0, batch) and ended < _MAX_WAITING_RECORDINGS:
                continue
        if window:
            yield window
            window, waiting, ended = [], 0, 0
    if window:
        yield window


class _PieceReader:
    """Runs the model on pieces and interprets its answers."""

    def __init__(
        self, model: AnsweringModel, options: TranscribeOptions, generate: GenerateOptions
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

    def read(self, pieces: Sequence[Piece]) -> list[tuple[PieceText, tuple[Finished, ...]]]:
        """The text of each piece, and the generations it took."""
        if not pieces:
            return []
        answers = self._answers(pieces, self._generate)
        return [self._checked(*pair) for pair in zip(pieces, answers, strict=True)]

    def _max_tokens(self, piece: Piece) -> int:
        spoken = _SPARE_TOKENS + int((piece.end - piece.start) * _TOKENS_PER_SECOND)
        return min(self._generate.max_tokens, spoken if self._target is None else 2 * spoken)

    def _answers(self, pieces: Sequence[Piece], options: GenerateOptions) -> list[Finished]:
        from ..engine.answering import generate_batch

        return generate_batch(
            self._model,
            [self._inputs(piece) for piece in pieces],
            options,
            max_tokens=[self._max_tokens(piece) for piece in pieces],
        )

    def _inputs(self, piece: Piece) -> ModelInputs:
        source = Source(name="recording")
        parts = (TextPart(text=self._prompt), AudioPart(source=source))
        clip = AudioClip(samples=piece.samples, name=source.name)
        return self._model.processor.prepare([Message(role="user", content=parts)], [clip])

    def _checked(self, piece: Piece, first: Finished) -> tuple[PieceText, tuple[Finished, ...]]:
        """An answer that did not stop by itself is retried once, at a higher temperature."""
        runs: tuple[Finished, ...] = (first,)
        if first.reason != "stop":
            (second,) = self._answers([piece], self._warmer())
            runs = (first, second)
        best = runs[-1] if runs[-1].reason == "stop" else first
        from ..engine.repetition import without_loop

        text, translation = self._parse(best.text)
        doubt = _DOUBTS.get(best.reason)
        result = PieceText(
            start=piece.start,
            end=piece.end,
            overlap=piece.overlap,
            channel=piece.channel,
            text=without_loop(text) if doubt else text,
            translation=translation,
            doubt=doubt,
        )
        return result, runs

    def _warmer(self) -> GenerateOptions:
        options = self._generate
        warmer = (options.temperature or 0.0) + _RETRY_WARMTH
        return replace(options, temperature=warmer, seed=options.seed or 0)

    def _parse(self, answer: str) -> tuple[str, str | None]:
        if self._target is None:
            return " ".join(answer.split()), None
        text, translation = split_translation(answer, self._target)
        return text, translation or None
