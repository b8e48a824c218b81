"""Transcripts in files: whisper's formats, as other programs read them."""

from __future__ import annotations

import html
import json
import random

import pytest

from gemma4cli.subtitles.cues import CueStyle, shape
from gemma4cli.subtitles.formats import (
    FORMATS,
    Transcript,
    write_json,
    write_srt,
    write_tsv,
    write_txt,
    write_vtt,
)
from gemma4cli.transcript import Segment

SPEECH = Transcript(
    segments=(
        Segment(start=0.0, end=1.5, text="one"),
        Segment(start=3599.9996, end=3605.25, text="two & <three>"),
    )
)
NOTE = "NOTE Times are those of pieces of speech; inside a piece they go by the length of text."


def one(text: str, start: float = 0.0, end: float = 1.0) -> Transcript:
    return Transcript(segments=[Segment(start=start, end=end, text=text)])


def test_txt() -> None:
    assert write_txt(SPEECH) == "one\ntwo & <three>\n"


def test_txt_has_a_line_for_each_segment() -> None:
    lines = [Segment(start=0, end=1, text=text) for text in (" a \n\n\tb ", " ", "c" * 100)]
    assert write_txt(Transcript(segments=lines)) == f"a b\n{'c' * 100}\n"


def test_srt() -> None:
    assert write_srt(SPEECH) == (
        "1\n00:00:00,000 --> 00:00:01,500\none\n\n2\n01:00:00,000 --> 01:00:05,250\ntwo & <three>\n"
    )


def test_vtt_escapes_markup() -> None:
    assert write_vtt(SPEECH) == (
        f"WEBVTT\n\n{NOTE}\n\n00:00:00.000 --> 00:00:01.500\none\n\n"
        "01:00:00.000 --> 01:00:05.250\ntwo &amp; &lt;three&gt;\n"
    )


def test_tsv() -> None:
    assert write_tsv(SPEECH) == "start\tend\ttext\n0\t1500\tone\n3600000\t3605250\ttwo & <three>\n"


def test_json() -> None:
    assert write_json(SPEECH) == (
        """\
{
  "text": "one two & <three>",
  "segments": [
    {
      "id": 0,
      "start": 0.0,
      "end": 1.5,
      "text": "one"
    },
    {
      "id": 1,
      "start": 3600.0,
      "end": 3605.25,
      "text": "two & <three>"
    }
  ],
  "language": null
}
"""
    )


def test_json_has_translations_and_doubts_where_there_are_any() -> None:
    segments = [
        Segment(start=0, end=1, text="你好。", translation="Hello."),
        Segment(start=1, end=2, text="哈哈", doubt="repetition"),
    ]
    written = write_json(Transcript(segments=segments, language="Chinese"))
    assert json.loads(written) == {
        "text": "你好。哈哈",
        "segments": [
            {"id": 0, "start": 0.0, "end": 1.0, "text": "你好。", "translation": "Hello."},
            {"id": 1, "start": 1.0, "end": 2.0, "text": "哈哈", "doubt": "repetition"},
        ],
        "language": "Chinese",
    }
    assert "你好" in written


def test_json_keeps_the_text_as_it_is() -> None:
    text = 'a\n\n"b"\t\x1b -->'
    assert json.loads(write_json(one(text)))["segments"][0]["text"] == text


@pytest.mark.parametrize("suffix", ["srt", "vtt"])
def test_subtitles_are_shaped(suffix: str) -> None:
    long = one("one two three four five six seven eight nine ten.", end=5.0)
    assert "\none two three four five\nsix seven eight nine ten.\n" in FORMATS[suffix](long)
    narrow = Transcript(segments=long.segments, style=CueStyle(max_line_width=20, max_line_count=1))
    assert FORMATS[suffix](narrow).count(" --> ") == 3


@pytest.mark.parametrize("suffix", ["txt", "tsv", "json"])
def test_the_others_are_not_shaped(suffix: str) -> None:
    text = "one two three four five six seven eight nine ten. " * 9
    assert text.strip() in FORMATS[suffix](one(text))


@pytest.mark.parametrize(
    ("suffix", "text"), [("srt", "a b -> c"), ("vtt", "a b --&gt; c"), ("tsv", "a b --> c")]
)
def test_text_cannot_break_out_of_its_cue(suffix: str, text: str) -> None:
    written = FORMATS[suffix](one(" a \n\n\tb\u2028--> c "))
    assert written.endswith(f"{text}\n")
    assert written.count("\n") == len(written.splitlines())
    assert written.count("-->") == 1


@pytest.mark.parametrize(
    ("seconds", "clock"),
    [
        (-1, "00:00:00,000"),
        (0.0004, "00:00:00,000"),
        (59.9996, "00:01:00,000"),
        (359_999.999, "99:59:59,999"),
        (360_000, "100:00:00,000"),
    ],
)
def test_clock(seconds: float, clock: str) -> None:
    assert f"{clock} --> " in write_srt(one("x", seconds, seconds))


def test_no_time_is_before_zero() -> None:
    before = one("x", -2.0, -1.0)
    assert write_tsv(before) == "start\tend\ttext\n0\t0\tx\n"
    assert json.loads(write_json(before))["segments"][0]["start"] == 0


def test_no_speech() -> None:
    nothing = Transcript(segments=[])
    assert (write_txt(nothing), write_srt(nothing)) == ("", "")
    assert write_vtt(nothing) == "WEBVTT\n"
    assert write_tsv(nothing) == "start\tend\ttext\n"
    assert json.loads(write_json(nothing)) == {"text": "", "segments": [], "language": None}


# As another program reads them

WORDS = [
    "a", "to", "the.", "Of,", "and", "<i>", "&", "&amp;", "<b>x</b>", "{so}", "3.5", "Yes?",
    "今天天气很好。", "WEBVTT", "NOTE", "\n", "\x00",
]  # fmt: skip
"""No lone number: behind a cue, pysubs2 takes it for the next one's."""


def any_transcript(seed: int, start: float) -> Transcript:
    chance = random.Random(seed)
    segments = []
    for _ in range(8):
        end = start + chance.uniform(0.1, 30)
        text = " ".join(chance.choices(WORDS, k=chance.choice([0, 1, 30, 90])))
        segments.append(Segment(start=start, end=end, text=text))
        start = end + chance.uniform(0, 1)
    return Transcript(segments=segments)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("suffix", "start"), [("srt", 7000.0), ("vtt", 7000.0), ("vtt", 4e5)])
def test_subtitles_are_read_as_written(suffix: str, start: float, seed: int) -> None:
    pysubs2 = pytest.importorskip("pysubs2", reason="the extra test has pysubs2")
    transcript = any_transcript(seed, start)
    read = pysubs2.SSAFile.from_string(
        FORMATS[suffix](transcript),
        format_=suffix,
        keep_html_tags=True,
        keep_unknown_html_tags=True,
    )
    unescaped = html.unescape if suffix == "vtt" else str
    assert [
        (event.start, event.end, tuple(unescaped(event.text).split("\\N"))) for event in read
    ] == [
        (round(cue.start * 1000), round(cue.end * 1000), cue.lines)
        for cue in shape(transcript.segments, transcript.style)
    ]
