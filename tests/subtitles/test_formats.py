"""Transcripts in Whisper's formats, as other programs read them."""

from __future__ import annotations

import csv
import html
import io
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.subtitles import (
    CueStyle,
    make_cues,
    write_json,
    write_srt,
    write_tsv,
    write_txt,
    write_vtt,
)
from gemma4cli.subtitles.formats import FORMATS, Transcript
from gemma4cli.transcript import Segment

SPEECH = (
    Segment(start=0.0, end=1.5, text="one"),
    Segment(start=3599.9996, end=3605.25, text="two & <three>"),
)
NOTE = "NOTE Times are those of pieces of speech; inside a piece they go by the length of text."


def one(text: str, start: float = 0.0, end: float = 1.0) -> list[Segment]:
    return [Segment(start=start, end=end, text=text)]


def write(suffix: str, segments: list[Segment], style: CueStyle | None = None) -> str:
    return FORMATS[suffix](Transcript(segments=segments, style=style or CueStyle()))


def test_txt() -> None:
    assert write_txt(SPEECH) == "one\ntwo & <three>\n"


def test_txt_has_a_line_for_each_segment() -> None:
    lines = [Segment(start=0, end=1, text=text) for text in (" a \n\n\tb ", " ", "c" * 100)]
    assert write_txt(lines) == f"a b\n{'c' * 100}\n"


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


def test_json_has_the_translations_and_doubts_of_segments() -> None:
    segments = [
        Segment(start=0, end=1, text="你好。", translation="Hello."),
        Segment(start=1, end=2, text="哈哈", doubt="repetition"),
    ]
    written = write_json(segments, language="Chinese")
    assert json.loads(written) == {
        "text": "你好。哈哈",
        "segments": [
            {"id": 0, "start": 0.0, "end": 1.0, "text": "你好。", "translation": "Hello."},
            {"id": 1, "start": 1.0, "end": 2.0, "text": "哈哈", "doubt": "repetition"},
        ],
        "language": "Chinese",
    }
    assert "你好" in written


def test_json_does_not_change_the_text() -> None:
    text = 'a\n\n"b"\t\x1b -->'
    assert json.loads(write_json(one(text)))["segments"][0]["text"] == text


def test_subtitles_consist_of_cues() -> None:
    long = one("one two three four five six seven eight nine ten.", end=5.0)
    narrow = CueStyle(max_line_width=20, max_line_count=1)
    for suffix in ("srt", "vtt"):
        assert "\none two three four five\nsix seven eight nine ten.\n" in write(suffix, long)
        assert write(suffix, long, narrow).count(" --> ") == 3


def test_other_formats_do_not_break_lines() -> None:
    text = ("one two three four five six seven eight nine ten. " * 9).strip()
    assert all(text in write(suffix, one(text)) for suffix in ("txt", "tsv", "json"))


@pytest.mark.parametrize(
    ("suffix", "text"), [("srt", "a b -> c"), ("vtt", "a b --&gt; c"), ("tsv", "a b --> c")]
)
def test_text_cannot_break_out_of_its_cue(suffix: str, text: str) -> None:
    written = write(suffix, one(" a \n\n\tb\u2028--> c "))
    assert written.endswith(f"{text}\n")
    assert written.count("\n") == len(written.splitlines())
    assert written.count("-->") == 1


def test_times_in_srt() -> None:
    clocks = {
        -1: "00:00:00,000",
        0.0004: "00:00:00,000",
        59.9996: "00:01:00,000",
        359_999.999: "99:59:59,999",
        360_000: "100:00:00,000",
    }
    written = {seconds: write_srt(one("x", seconds, seconds)) for seconds in clocks}
    assert {seconds: text.split()[1] for seconds, text in written.items()} == clocks


def test_no_time_is_negative() -> None:
    before = one("x", -2.0, -1.0)
    assert write_tsv(before) == "start\tend\ttext\n0\t0\tx\n"
    assert json.loads(write_json(before))["segments"][0]["start"] == 0


def test_a_transcript_without_segments() -> None:
    assert (write_txt([]), write_srt([])) == ("", "")
    assert write_vtt([]) == "WEBVTT\n"
    assert write_tsv([]) == "start\tend\ttext\n"
    assert json.loads(write_json([])) == {"text": "", "segments": [], "language": None}


# From Python


def test_importing_the_writers_is_cheap() -> None:
    code = """
import sys, gemma4cli.subtitles
print(*{name.split(".")[0] for name in sys.modules} & {"numpy", "mlx", "rich", "typer", "av"})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# As other programs read them

WORDS = [
    "a", "to", "the.", "Of,", "and", "<i>", "&", "&amp;", "<b>x</b>", "{so}", "3.5", "Yes?",
    "今天天气很好。", "WEBVTT", "NOTE", "\n", "\x00",
]  # fmt: skip
"""No lone number: pysubs2 takes one at the end of a cue for the number of the next cue."""


@st.composite
def any_segments(draw: st.DrawFn) -> list[Segment]:
    end = draw(st.sampled_from([0.0, 7000.0]))
    found: list[Segment] = []
    for words in draw(st.lists(st.lists(st.sampled_from(WORDS), max_size=20), max_size=4)):
        start = end + draw(st.floats(0, 1))
        end = start + draw(st.floats(0.1, 30))
        found.append(Segment(start=start, end=end, text=" ".join(words)))
    return found


@given(segments=any_segments(), suffix=st.sampled_from(["srt", "vtt"]))
def test_subtitles_are_read_as_written(segments: list[Segment], suffix: str) -> None:
    pysubs2 = pytest.importorskip("pysubs2", reason="the extra test has pysubs2")
    read = pysubs2.SSAFile.from_string(
        write(suffix, segments),
        format_=suffix,
        keep_html_tags=True,
        keep_unknown_html_tags=True,
    )
    unescaped = html.unescape if suffix == "vtt" else str
    assert [
        (event.start, event.end, tuple(unescaped(event.text).split("\\N"))) for event in read
    ] == [
        (round(cue.start * 1000), round(cue.end * 1000), cue.lines)
        for cue in make_cues(segments, CueStyle())
    ]


def test_vtt_times_may_have_three_digits_of_hours() -> None:
    pysubs2 = pytest.importorskip("pysubs2", reason="the extra test has pysubs2")
    (event,) = pysubs2.SSAFile.from_string(write_vtt(one("x", 4e5, 4e5 + 2)), format_="vtt")
    assert (event.start, event.end) == (400_000_000, 400_002_000)


@given(any_segments())
def test_tables_are_read_as_written(segments: list[Segment]) -> None:
    reader = csv.reader(io.StringIO(write_tsv(segments)), "excel-tab", quoting=csv.QUOTE_NONE)
    assert next(reader) == ["start", "end", "text"]
    assert list(reader) == [
        [str(round(s.start * 1000)), str(round(s.end * 1000)), " ".join(s.text.split())]
        for s in segments
    ]


@given(st.lists(st.builds(Segment, start=st.floats(0, 1e6), end=st.floats(0, 1e6), text=st.text())))
def test_json_of_any_text_is_read_as_written(segments: list[Segment]) -> None:
    read = json.loads(write_json(segments))["segments"]
    assert [(s["start"], s["end"], s["text"]) for s in read] == [
        (round(s.start * 1000) / 1000, round(s.end * 1000) / 1000, s.text) for s in segments
    ]


CALL = [
    Segment(start=0, end=1, text="Hello?", channel=1),
    Segment(start=0.5, end=2, text="Hi.", channel=2),
]


def test_lines_name_the_channel() -> None:
    assert write_txt(CALL) == "Channel 1: Hello?\nChannel 2: Hi.\n"
    assert write_tsv(CALL).splitlines()[1:] == [
        "0\t1000\tChannel 1: Hello?",
        "500\t2000\tChannel 2: Hi.",
    ]
    assert "00:00:00,500 --> 00:00:02,000\nChannel 2: Hi.\n" in write_srt(CALL)
    assert "00:00:00.500 --> 00:00:02.000\nChannel 2: Hi.\n" in write_vtt(CALL)


def test_json_has_the_channel_in_a_field() -> None:
    entries = json.loads(write_json(CALL))["segments"]
    assert [(each["channel"], each["text"]) for each in entries] == [(1, "Hello?"), (2, "Hi.")]


def test_json_has_null_for_a_translation_that_is_missing() -> None:
    segments = [
        Segment(start=0, end=1, text="ja", translation="yes"),
        Segment(start=1, end=2, text="äh"),
    ]
    entries = json.loads(write_json(segments, translated=True))["segments"]
    assert [each["translation"] for each in entries] == ["yes", None]
    assert "translation" not in json.loads(write_json(CALL))["segments"][0]
