"""Transcribe recordings of any length."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..leftovers import temporary_folder
from ..messages import Media, Source
from ..options import GenerateOptions, TranscribeOptions
from ..transcript import RecordingFailed, RecordingFinished, Segment, TranscriptEvent

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel
    from ..errors import Gemma4Error
    from ..transcription.transcriber import Recording


def stream_transcribe(
    model: AnsweringModel,
    recordings: Sequence[Media | Recording],
    *,
    options: TranscribeOptions | None = None,
    generate: GenerateOptions | None = None,
    journal: Path | None = None,
    restart: bool = False,
    opened: Callable[[Source], Source] = Source.of,
) -> Generator[TranscriptEvent, None, None]:
    """Transcribe recordings of any length, one after the other, as a stream of events.

    Each recording is decoded as a stream, converted to 16 kHz mono, and cut at pauses into pieces
    of at most 30 seconds, so memory does not grow with its length. Closing the stream cancels.

    Args:
        model: A model that takes audio; see ``load``.
        recordings: Files with an audio track, their bytes, or recordings such as a
            ``transcription.live.LiveRecording`` of a microphone. The source named "-",
            without path and data, is standard input.
        options: Languages, names that may occur, the audio track, what becomes of channels, the
            batch size, the longest piece in seconds.
        generate: How each piece is decoded. None means greedily.
        journal: A folder, created if missing, in which the finished pieces of each file are kept,
            so that the same call resumes after an interruption. The same call means the same
            files (path, size, modification time), model and options; the batch size may differ.
            Journals are removed once the last event was consumed, or when they are a month old.
            Bytes, pipes, standard input and live recordings have none.
        restart: Start over even if an interrupted call could be resumed.
        opened: Turns a file's source into another just before it is decoded.

    Returns:
        Events, in order for each recording: RecordingOpened, then SegmentReady and PieceDone, then
        RecordingFinished with all segments, or RecordingFailed if it cannot be read (any further).
        Times are in seconds from the start of the recording as players show it. A Notice says
        which of several audio tracks is used, or that a journal cannot be written or is used by
        another process; the call continues without it.

    Raises:
        UnsupportedModalityError: The model does not take audio; raised before anything is opened.
        PromptError: A piece does not fit the model's context or the memory.
        NonFiniteError: The model produced NaN or infinity.

    Example:
        for event in stream_transcribe(model, ["talk.mp3"], journal=Path("journals")):
            if isinstance(event, SegmentReady):
                print(event.segment.start, event.segment.text)
    """
    from ..transcription.journal_folder import JournalFolder, run_facts
    from ..transcription.recordings import FileRecording
    from ..transcription.transcriber import limits_of, piece_batch_size, transcribe

    options = options or TranscribeOptions()
    generate = generate or GenerateOptions(temperature=0.0)
    with ExitStack() as stack:
        spool = stack.enter_context(temporary_folder())
        found = [
            FileRecording(Source.of(each), spool_to=spool, options=options, opened=opened)
            if isinstance(each, Source | str | Path | bytes)
            else each
            for each in recordings
        ]
        # Live pieces are not batched: the next one may take long to arrive.
        live = any(each.live for each in found)
        journals = None
        if journal is not None:
            facts = run_facts(model, limits_of(model, options), options, generate)
            journals = stack.enter_context(JournalFolder(journal, facts, restart=restart))
        yield from transcribe(
            model,
            found,
            options,
            generate,
            batch=1 if live else options.batch or piece_batch_size(model),
            journals=journals,
        )
        # Not earlier: a call interrupted after some of its recordings repeats none of them.
        if journals is not None:
            journals.forget()


def transcribe(
    model: AnsweringModel,
    recording: Media,
    *,
    options: TranscribeOptions | None = None,
    generate: GenerateOptions | None = None,
    journal: Path | None = None,
    restart: bool = False,
) -> tuple[Segment, ...]:
    """Transcribe one recording of any length.

    Args:
        model: A model that takes audio; see ``load``.
        recording: A file with an audio track of any format and sample rate (it is converted to
            16 kHz mono), its bytes, or a source.
        options: Languages, names that may occur, the audio track, what becomes of channels, the
            batch size, the longest piece in seconds.
        generate: How each piece is decoded. None means greedily.
        journal: A folder in which finished pieces are kept, so that the same call resumes after
            an interruption; see ``stream_transcribe``. The journal is removed on return.
        restart: Start over even if an interrupted call could be resumed.

    Returns:
        Stretches of speech in order, none without text. Their times are in seconds from the start
        of the recording. Empty if the recording contains no speech.

    Raises:
        MediaError: The recording is missing, has no sound, or cannot be decoded to its end.
        UnsupportedModalityError: The model does not take audio.
        PromptError: A piece does not fit the model's context or the memory.
        NonFiniteError: The model produced NaN or infinity.

    Example:
        segments = transcribe(model, "talk.mp3", journal=Path("journals"))
        Path("talk.srt").write_text(subtitles.write_srt(segments), encoding="utf-8")
    """
    segments: tuple[Segment, ...] = ()
    error: Gemma4Error | None = None
    for event in stream_transcribe(
        model,
        [recording],
        options=options,
        generate=generate,
        journal=journal,
        restart=restart,
    ):
        match event:
            case RecordingFailed():
                error = event.error
            case RecordingFinished():
                segments = event.segments
    if error is not None:
        raise error
    return segments
