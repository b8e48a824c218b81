"""Transcripts in subtitle formats."""

from __future__ import annotations

import pytest

from gemma4cli.cli.writers import Segment, write_srt, write_tsv, write_txt, write_vtt

SPEECH = (
    Segment(start=0.0, end=1.5, text="one"),
    Segment(start=3599.9996, end=3661.25, text="two & <three>"),
)


def test_txt() -> None:
    assert write_txt(SPEECH) == "one\ntwo & <three>"


def test_srt() -> None:
    assert write_srt(SPEECH) == (
        "1\n00:00:00,000 --> 00:00:01,500\none\n\n2\n01:00:00,000 --> 01:01:01,250\ntwo & <three>\n"
    )


def test_vtt_escapes_markup() -> None:
    assert write_vtt(SPEECH) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\none\n\n"
        "01:00:00.000 --> 01:01:01.250\ntwo &amp; &lt;three&gt;\n"
    )


def test_tsv() -> None:
    assert write_tsv(SPEECH) == "start\tend\ttext\n0\t1500\tone\n3600000\t3661250\ttwo & <three>"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (write_srt, "a\nb -> c"),
        (write_vtt, "a\nb -&gt; c"),
        (write_tsv, "a b --> c"),
    ],
)
def test_text_cannot_break_out_of_its_cue(written: object, text: str) -> None:
    assert callable(written)
    output = written([Segment(start=0, end=1, text=" a \n\n\tb --> c ")])
    assert output.rstrip("\n").endswith(text)
    assert "\n\n\t" not in output


@pytest.mark.parametrize(
    ("seconds", "clock"),
    [(0.0004, "00:00:00,000"), (59.9996, "00:01:00,000"), (360_000, "100:00:00,000")],
)
def test_clock(seconds: float, clock: str) -> None:
    assert f"{clock} --> " in write_srt([Segment(start=seconds, end=seconds, text="x")])


def test_no_speech() -> None:
    assert (write_txt([]), write_srt([])) == ("", "")
    assert write_vtt([]) == "WEBVTT\n"
    assert write_tsv([]) == "start\tend\ttext"
