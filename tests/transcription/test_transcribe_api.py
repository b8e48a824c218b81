"""Transcription from Python."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scripted import Says, texts
from support.sound_files import Track, write_tracks

import gemma4cli
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import MediaNotFoundError, MicrophoneError, NonFiniteError
from gemma4cli.events import Notice
from gemma4cli.media.sound.audio import Samples, load_audio
from gemma4cli.media.sound.microphone import Level
from gemma4cli.messages import Source
from gemma4cli.options import GenerateOptions, TranscribeOptions
from gemma4cli.subtitles import write_srt
from gemma4cli.transcript import (
    PieceDone,
    RecordingFailed,
    RecordingFinished,
    RecordingOpened,
    SegmentReady,
)
from gemma4cli.transcription.live import LiveRecording

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "fixtures" / "samples"
SPEECH, TEACHER = SAMPLES / "speech00.wav", SAMPLES / "speech03.wav"
(JOURNAL,) = (ROOT / "fixtures" / "formats" / "journal").glob("*.jsonl")
ONE_BY_ONE = TranscribeOptions(batch=1)


def test_a_file_gives_its_segments(tiny: LoadedModel) -> None:
    (segment,) = gemma4cli.transcribe(tiny, SPEECH)
    assert segment.text
    assert (segment.start, round(segment.end, 3)) == (0.0, 2.107)


def test_bytes_give_the_same_pieces_as_their_file(tiny: LoadedModel, says: Says) -> None:
    says("one", "one")
    from_file = gemma4cli.transcribe(tiny, SPEECH)
    assert gemma4cli.transcribe(tiny, SPEECH.read_bytes()) == from_file


def test_a_recording_that_cannot_be_read_is_an_error(tiny: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        gemma4cli.transcribe(tiny, tmp_path / "none.wav")


def test_several_recordings_are_a_stream_of_events(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("one", "two")
    events = list(gemma4cli.stream_transcribe(tiny, [SPEECH, tmp_path / "none.wav", SPEECH]))
    ends = [
        (type(event), event.recording)
        for event in events
        if isinstance(event, RecordingFinished | RecordingFailed)
    ]
    assert ends == [(RecordingFinished, 0), (RecordingFailed, 1), (RecordingFinished, 2)]


def test_subtitles_of_a_recording_take_three_lines(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("Hello there.")
    segments = gemma4cli.transcribe(tiny, SPEECH)
    (tmp_path / "talk.srt").write_text(write_srt(segments), encoding="utf-8")
    written = (tmp_path / "talk.srt").read_text("utf-8")
    assert written == "1\n00:00:00,000 --> 00:00:02,107\nHello there.\n"


def test_pieces_can_be_shorter(tiny: LoadedModel, says: Says) -> None:
    says("one")
    options = TranscribeOptions(longest_piece=2.0, language="English")
    segments = gemma4cli.transcribe(tiny, SPEECH, options=options)
    assert segments
    assert all(segment.end - segment.start <= 2.0 for segment in segments)


# Journals


def stop_at(kind: type[object], model: LoadedModel, files: list[Path], journal: Path) -> None:
    events = gemma4cli.stream_transcribe(model, files, options=ONE_BY_ONE, journal=journal)
    for event in events:
        if isinstance(event, kind):
            break
    events.close()


def test_an_interrupted_call_resumes(tiny: LoadedModel, says: Says, tmp_path: Path) -> None:
    says("one")
    stop_at(PieceDone, tiny, [SPEECH], tmp_path)
    script = says()
    (segment,) = gemma4cli.transcribe(tiny, SPEECH, options=ONE_BY_ONE, journal=tmp_path)
    assert segment.text == "one"
    assert script.sizes == []
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_failed_resumes(tiny: LoadedModel, says: Says, tmp_path: Path) -> None:
    says("one", NonFiniteError("decode"))
    with pytest.raises(NonFiniteError):
        list(
            gemma4cli.stream_transcribe(
                tiny, [SPEECH, TEACHER], options=ONE_BY_ONE, journal=tmp_path
            )
        )
    says("two")
    events = list(gemma4cli.stream_transcribe(tiny, [SPEECH, TEACHER], journal=tmp_path))
    assert texts(events) == ["one", "two"]


def test_finished_recordings_of_an_interrupted_call_are_not_repeated(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("one")
    stop_at(RecordingFinished, tiny, [SPEECH, TEACHER], tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    script = says("two")
    events = []
    for event in gemma4cli.stream_transcribe(tiny, [SPEECH, TEACHER], journal=tmp_path):
        # Until the last event was consumed, its consumer may still fail.
        assert list(tmp_path.iterdir())
        events.append(event)
    assert texts(events) == ["one", "two"]
    assert script.sizes == [1]
    resumed = [event.resumed for event in events if isinstance(event, RecordingOpened)]
    assert resumed == [pytest.approx(2.107, abs=0.001), 0.0]
    assert list(tmp_path.iterdir()) == []


def test_a_restart_and_other_options_do_not_resume(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    says("one")
    stop_at(PieceDone, tiny, [SPEECH], tmp_path)
    says("other")
    german = TranscribeOptions(language="German")
    (segment,) = gemma4cli.transcribe(tiny, SPEECH, options=german, journal=tmp_path)
    assert segment.text == "other"
    says("warm")
    warm = GenerateOptions(temperature=0.5)
    (segment,) = gemma4cli.transcribe(tiny, SPEECH, generate=warm, journal=tmp_path)
    assert segment.text == "warm"
    says("again")
    (segment,) = gemma4cli.transcribe(tiny, SPEECH, journal=tmp_path, restart=True)
    assert segment.text == "again"
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_leaves_no_journal(tiny: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    journal = tmp_path / "journals"
    with pytest.raises(gemma4cli.Gemma4Error):
        gemma4cli.transcribe(tiny, tmp_path / "text.wav", journal=journal)
    assert list(journal.iterdir()) == []


def test_a_job_is_described_as_in_version_0_1(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    """Journals of a later version can be resumed only if the same facts identify the job."""
    says("one")
    stop_at(PieceDone, tiny, [SPEECH], tmp_path)
    (path,) = tmp_path.iterdir()
    now, then = (json.loads(p.read_text("utf-8").splitlines()[0]) for p in (path, JOURNAL))
    assert now.keys() - then.keys() <= {"sum"} and (now["version"], then["version"]) == (2, 1)
    assert now["job"].keys() == then["job"].keys()
    assert now["job"]["file"] == str(SPEECH.resolve())
    assert now["job"]["limits"].keys() == then["job"]["limits"].keys()
    assert now["job"]["options"]["batch"] is None


def test_a_journal_that_cannot_be_kept_is_a_notice(
    tiny: LoadedModel, says: Says, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    says("one")
    first, *rest = gemma4cli.stream_transcribe(tiny, [SPEECH], journal=tmp_path / "file" / "here")
    assert isinstance(first, Notice)
    assert "an interrupted run will start over" in first.text
    assert texts(rest) == ["one"]


# Other sources than files


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> Source:
    stdin = SimpleNamespace(buffer=io.BytesIO(data), closed=False, isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)
    return Source(name="-")


def test_standard_input_leaves_neither_a_copy_nor_a_journal(
    tiny: LoadedModel, says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = piped(monkeypatch, SPEECH.read_bytes())
    says("one")
    journal = tmp_path / "journals"
    events = []
    for event in gemma4cli.stream_transcribe(tiny, [source], journal=journal):
        assert not [*tmp_path.glob("g4-*/*"), *journal.glob("*.jsonl")]
        events.append(event)
    assert texts(events) == ["one"]
    assert list(tmp_path.iterdir()) == []


def test_standard_input_whose_end_is_needed_first_is_transcribed_from_a_temporary_copy(
    tiny: LoadedModel, says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    samples = np.round(load_audio(Source.of(SPEECH)).samples * 32767).astype(np.int16)
    path = write_tracks(tmp_path / "a.m4a", Track(samples=samples[None], codec="aac"))
    source = piped(monkeypatch, path.read_bytes())
    says("one")
    events = [
        event
        for event in gemma4cli.stream_transcribe(tiny, [source])
        if isinstance(event, SegmentReady) and [*folder.glob("g4-*/pipe")]
    ]
    assert texts(events) == ["one"]
    assert list(folder.iterdir()) == []


class Microphone:
    """Plays a sentence twice, then ends or breaks off."""

    level = Level(peak=-20.0)

    def __init__(self, error: MicrophoneError | None = None) -> None:
        self._error = error

    def blocks(self) -> Iterator[Samples]:
        with wave.open(str(SPEECH)) as file:
            sound = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
        for _ in range(2):
            padded = np.concatenate([sound, np.zeros(24_000)]).astype(np.float32)
            yield from (padded[at : at + 1600] for at in range(0, len(padded), 1600))
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        pass


@pytest.mark.parametrize("error", [None, MicrophoneError("unplugged")])
def test_live_sound_is_transcribed_at_each_pause_without_a_batch(
    tiny: LoadedModel, says: Says, tmp_path: Path, error: MicrophoneError | None
) -> None:
    script = says("one", "two")
    recording = LiveRecording(Microphone(error))
    options = TranscribeOptions(batch=8)
    events = list(gemma4cli.stream_transcribe(tiny, [recording], options=options, journal=tmp_path))
    assert [event.segment.text for event in events if isinstance(event, SegmentReady)] == [
        "one",
        "two",
    ]
    assert script.sizes == [1, 1]
    assert recording.broken is error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.linux
@pytest.mark.skipif(sys.platform != "linux", reason="counts the files in /proc")
def test_a_call_with_many_recordings_has_few_files_open(tiny: LoadedModel, tmp_path: Path) -> None:
    for number in range(60):
        with wave.open(str(tmp_path / f"{number:02}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(bytes(3200))
    before = most = len(os.listdir("/proc/self/fd"))
    files = sorted(tmp_path.iterdir())
    finished = 0
    for event in gemma4cli.stream_transcribe(tiny, files, journal=tmp_path / "journals"):
        finished += isinstance(event, RecordingFinished)
        assert not isinstance(event, Notice)
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert finished == 60
    assert most - before < 40
