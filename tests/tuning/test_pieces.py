"""Long recordings with times in their transcripts become pieces that a model hears at once."""

from __future__ import annotations

import json
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gemma4cli.media.sound.audio import load_part
from gemma4cli.messages import AudioPart, Source
from gemma4cli.subtitles.reading import TranscriptError, read_segments
from gemma4cli.transcript import Segment
from gemma4cli.tuning.data import Prompts, read_data
from gemma4cli.tuning.pieces import Piece, pieces_of
from gemma4cli.tuning.samples import Fault, Sample

LONGEST = 29.99
SRT = """1
00:00:01,000 --> 00:00:03,500
<i>Good morning</i>
to {\\an8}all &amp; sundry.

2
00:00:04,000 --> 00:00:05,000

3
00:01:10,250 --> 00:01:12,000
Later.
"""
WEBVTT = """WEBVTT

STYLE
::cue { color: red }

intro
00:01.000 --> 00:03.500 align:start position:0%
<v Ann>Good <c.loud>morning</c>
<00:02.000>to all &amp; sundry.

01:10.250 --> 01:12.000
Later.
"""
WHISPER = json.dumps(
    {
        "text": "…",
        "segments": [
            {"start": 70.25, "end": 72, "text": " Later."},
            {"start": 1.0, "end": 3.5, "text": " Good morning to all & sundry."},
        ],
    }
)
WANTED = [
    Segment(start=1.0, end=3.5, text="Good morning to all & sundry."),
    Segment(start=70.25, end=72.0, text="Later."),
]


@pytest.mark.parametrize(
    ("suffix", "content"),
    [(".srt", SRT), (".srt", SRT.replace("\n", "\r\n")), (".vtt", WEBVTT), (".json", WHISPER)],
)
def test_transcripts_with_times(suffix: str, content: str) -> None:
    assert read_segments(content, suffix) == WANTED


@pytest.mark.parametrize(
    ("suffix", "content", "problem"),
    [
        (".srt", "1\n00:00:01 --> soon\nHi\n", "line 2: is no time of a subtitle"),
        (".srt", "00:00:03,0 --> 00:00:01,0\nHi\n", "line 1: ends before it starts"),
        (".json", "{", "is not valid JSON"),
        (".json", "[]", 'has no "segments"'),
        (".json", '{"segments": [{"start": 1, "end": 2}]}', r"segments\[0\] has no text"),
        (".json", '{"segments": [{"start": 2, "end": 1, "text": "Hi"}]}', "has no start and end"),
    ],
)
def test_transcripts_that_are_none(suffix: str, content: str, problem: str) -> None:
    with pytest.raises(TranscriptError, match=problem):
        read_segments(content, suffix)


def spoken(*times: tuple[float, float]) -> list[Segment]:
    return [Segment(start=start, end=end, text=str(n)) for n, (start, end) in enumerate(times)]


def test_pieces_end_at_long_silences_and_have_some_of_them_around() -> None:
    found = list(pieces_of(spoken((1, 2), (2.5, 4), (10, 12), (12, 13)), LONGEST))
    assert found == [
        Piece(start=0.7, end=4.3, text="0 1"),
        Piece(start=9.7, end=13.3, text="2 3"),
    ]


def test_long_speech_is_cut_at_its_longest_pause_in_the_second_half() -> None:
    times = [(n * 5.0, n * 5.0 + 4.9) for n in range(12)]
    times[4] = (20.0, 23.9)  # the longest pause that is late enough, after 5 of 6 that fit
    found = [each for each in pieces_of(spoken(*times), LONGEST) if isinstance(each, Piece)]
    assert [each.text.split() for each in found] == [
        ["0", "1", "2", "3", "4"],
        ["5", "6", "7", "8", "9", "10"],
        ["11"],
    ]
    assert all(each.end - each.start < LONGEST + 1e-6 for each in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


def test_subtitles_that_overlap_and_one_that_is_too_long() -> None:
    found = list(pieces_of(spoken((0, 29), (1, 2), (40, 75), (80, 81)), LONGEST))
    assert [type(each) for each in found] == [Segment, Piece, Piece]
    assert [each.text for each in found] == ["2", "0 1", "3"]


def ramp(path: Path, seconds: int) -> Path:
    """A recording whose loudness says where one is in it."""
    samples = np.linspace(0, 30000, seconds * 16000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    return path


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.5), (2.25, 4.0), (100.0, 101.0)])
def test_a_part_of_a_recording(start: float, end: float, tmp_path: Path) -> None:
    """The last one is far enough to be sought."""
    clip = load_part(Source.of(ramp(tmp_path / "a.wav", 120)), start, end)
    assert len(clip.samples) == round((end - start) * 16000)
    expected = np.array([start, end]) / 120 * 30000 / 32768
    assert np.abs(clip.samples[[0, -1]] - expected).max() < 1e-3


def test_a_folder_of_long_recordings(tmp_path: Path) -> None:
    for name, suffix, content in (
        ("a", ".srt", SRT),
        ("b", ".json", WHISPER),
        ("c", ".json", '{"title": "no transcript"}'),
        ("d", ".vtt", "WEBVTT\n\n00:00.000 --> 01:00.000\nToo long.\n"),
    ):
        (tmp_path / f"{name}.wav").write_bytes(b"")
        (tmp_path / f"{name}{suffix}").write_text(content)
    (tmp_path / "c.txt").write_text("All of it.")
    samples = read_data(tmp_path, Prompts())
    assert samples.faults == []
    found = [each for recording in samples.timed for each in recording.samples(20.0)]
    faults = [str(each) for each in found if isinstance(each, Fault)]
    assert [each.removeprefix(f"{tmp_path}/") for each in faults] == [
        "d.vtt: what begins at 0:00 lasts 60 s, and the model hears 20 s at once: divide it"
    ]
    pieces = [*(each for each in found if isinstance(each, Sample)), *samples.found]
    said = [each.conversation.messages for each in pieces]
    parts = [question.parts[1] for question, _ in said]
    spans = [(p.start, p.end) for p in parts if isinstance(p, AudioPart)]
    assert spans == [(0.7, 3.8), (69.95, 72.3), (0.7, 3.8), (69.95, 72.3), (0.0, None)]
    assert [answer.content for _, answer in said] == [
        *("Good morning to all & sundry.", "Later.") * 2,
        "All of it.",
    ]
    assert len({each.group for each in pieces}) == 5
    assert pieces[0].origin.endswith("a.wav 00m00.700s-00m03.800s")
