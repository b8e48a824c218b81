"""Transcription from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import gemma4cli
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import MediaNotFoundError
from gemma4cli.transcript import RecordingFailed, RecordingFinished

SAMPLES = Path(__file__).parents[2] / "fixtures" / "samples"
SPEECH = SAMPLES / "speech00.wav"


def test_a_file_gives_its_segments(tiny: LoadedModel) -> None:
    (segment,) = gemma4cli.transcribe(tiny, SPEECH)
    assert segment.text
    assert (segment.start, round(segment.end, 3)) == (0.0, 2.107)
    assert gemma4cli.transcribe(tiny, SPEECH.read_bytes()) == (segment,)


def test_what_cannot_be_read_is_an_error(tiny: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        gemma4cli.transcribe(tiny, tmp_path / "none.wav")


def test_several_recordings_are_a_stream_of_events(tiny: LoadedModel, tmp_path: Path) -> None:
    events = list(gemma4cli.stream_transcribe(tiny, [SPEECH, tmp_path / "none.wav", SPEECH]))
    ends = [
        (type(event), event.recording)
        for event in events
        if isinstance(event, RecordingFinished | RecordingFailed)
    ]
    assert ends == [(RecordingFinished, 0), (RecordingFailed, 1), (RecordingFinished, 2)]


def test_pieces_can_be_shorter(tiny: LoadedModel) -> None:
    options = gemma4cli.TranscribeOptions(longest_piece=2.0, language="English")
    segments = gemma4cli.transcribe(tiny, SPEECH, options=options)
    assert segments
    assert all(segment.end - segment.start <= 2.0 for segment in segments)
