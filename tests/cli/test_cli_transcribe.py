"""``g4 transcribe``: formats, prompts, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_runs import (
    PARITY,
    TEXT_OF,
    Exchange,
    assert_fails,
    finished,
    g4,
    records,
    sample,
    tiny_g4,
    write_clip_with_sound,
)

from gemma4cli.events import AudioDecoded, TextDelta
from gemma4cli.messages import AudioPart, Source, TextPart

SPEECH, BALLS = sample("speech00.wav"), sample("speech01.wav")
SPEECH_TEXT, BALLS_TEXT = TEXT_OF["speech00.wav"], TEXT_OF["speech01.wav"]


def test_text_and_nothing_else() -> None:
    result = tiny_g4("transcribe", SPEECH)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{SPEECH_TEXT}\n", "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("txt", f"{SPEECH_TEXT}\n"),
        ("srt", f"1\n00:00:00,000 --> 00:00:02,107\n{SPEECH_TEXT}\n"),
        ("vtt", f"WEBVTT\n\n00:00:00.000 --> 00:00:02.107\n{SPEECH_TEXT}\n"),
        ("tsv", f"start\tend\ttext\n0\t2107\t{SPEECH_TEXT}\n"),
    ],
)
def test_formats(name: str, expected: str) -> None:
    assert tiny_g4("transcribe", SPEECH, "-f", name).stdout == expected


def test_json_has_language_and_segments() -> None:
    (record,) = records(tiny_g4("transcribe", SPEECH, "--json"))
    assert list(record) == [
        "input",
        "text",
        "model",
        "finish_reason",
        "usage",
        "timings",
        "language",
        "segments",
    ]
    assert record["text"] == SPEECH_TEXT
    assert record["language"] is None
    assert record["segments"] == [{"start": 0.0, "end": 2.107, "text": SPEECH_TEXT}]


def test_json_names_the_language_that_was_given() -> None:
    (record,) = records(tiny_g4("transcribe", BALLS, "--language", "English", "--json"))
    assert (record["language"], record["text"]) == ("English", BALLS_TEXT)


def test_card_prompt_before_the_sound(sent: Exchange) -> None:
    sent.events.insert(0, AudioDecoded(source="a.wav", seconds=1.0))
    tiny_g4("transcribe", "a.wav")
    ((text, sound),) = sent.parts
    assert isinstance(text, TextPart)
    assert text.text.startswith("Transcribe the following speech segment in its original language.")
    assert "* Only output the transcription, with no newlines." in text.text
    assert sound == AudioPart(source=Source.of("a.wav"))


def test_card_prompt_with_a_language(sent: Exchange) -> None:
    sent.events.insert(0, AudioDecoded(source="a.wav", seconds=1.0))
    tiny_g4("transcribe", "a.wav", "--language", "French")
    assert sent.text.startswith(
        "Transcribe the following speech segment in French into French text.\nFollow these"
    )


def test_greedy_unless_asked(sent: Exchange) -> None:
    sent.events.insert(0, AudioDecoded(source="a.wav", seconds=1.0))
    tiny_g4("transcribe", "a.wav")
    tiny_g4("transcribe", "a.wav", "--temperature", "0.7")
    assert [options.temperature for options in sent.options] == [0.0, 0.7]


def test_two_runs_agree_even_where_the_model_samples() -> None:
    model = PARITY / "checkpoints" / "e2b"
    assert '"do_sample": true' in (model / "generation_config.json").read_text("utf-8")

    def run() -> str:
        (record,) = records(g4("transcribe", "-m", model, SPEECH, "--json", "--max-tokens", "16"))
        assert record["usage"]["completion_tokens"] > 4
        return str(record["text"])

    assert run() == run()


def test_several_recordings_behind_their_names() -> None:
    result = tiny_g4("transcribe", BALLS, SPEECH)
    assert result.stdout == f"{BALLS}: {BALLS_TEXT}\n{SPEECH}: {SPEECH_TEXT}\n"


def test_several_recordings_as_json_lines() -> None:
    ends = [
        (record["input"], record["segments"][0]["end"])
        for record in records(tiny_g4("transcribe", BALLS, SPEECH, "--json"))
    ]
    assert ends == [(BALLS, 2.2), (SPEECH, 2.107)]


def test_sound_of_a_video(tmp_path: Path) -> None:
    clip = write_clip_with_sound(tmp_path / "clip.mkv")
    assert tiny_g4("transcribe", clip).stdout == f"{SPEECH_TEXT}\n"


def test_standard_input() -> None:
    result = tiny_g4("transcribe", "-", "-f", "tsv", stdin=Path(SPEECH).read_bytes())
    assert result.stdout == f"start\tend\ttext\n0\t2107\t{SPEECH_TEXT}\n"


def test_output_to_a_file() -> None:
    result = tiny_g4("transcribe", SPEECH, "-f", "srt", "-o", "out.srt")
    assert result.stdout == ""
    assert Path("out.srt").read_text("utf-8").startswith("1\n00:00:00,000 --> ")


def test_nothing_heard_gives_no_segment(sent: Exchange) -> None:
    sent.events[:] = [AudioDecoded(source="a.wav", seconds=1.0), finished(" \n")]
    (record,) = records(tiny_g4("transcribe", "a.wav", "--json"))
    assert (record["text"], record["segments"]) == ("", [])
    assert tiny_g4("transcribe", "a.wav", "-f", "vtt").stdout == "WEBVTT\n"


def test_longer_than_30_seconds_is_refused(silence: Callable[[float], bytes]) -> None:
    Path("long.wav").write_bytes(silence(31))
    result = tiny_g4("transcribe", "long.wav")
    assert_fails(result, 3, "long.wav: lasts 31.0 s", "at most 30 s", "cut it")


def test_30_seconds_are_taken(silence: Callable[[float], bytes]) -> None:
    Path("long.wav").write_bytes(silence(30))
    assert tiny_g4("transcribe", "long.wav", "--max-tokens", "1").exit_code == 0


def test_thinking_is_refused() -> None:
    assert_fails(tiny_g4("transcribe", SPEECH, "--think"), 2, "leave out --think")


def test_json_and_format_exclude_each_other() -> None:
    assert_fails(tiny_g4("transcribe", SPEECH, "--json", "-f", "srt"), 2, "exclude each other")


def test_subtitles_hold_one_recording() -> None:
    assert_fails(tiny_g4("transcribe", SPEECH, BALLS, "-f", "vtt"), 2, "vtt holds one recording")


def test_unknown_format() -> None:
    result = tiny_g4("transcribe", SPEECH, "-f", "docx")
    assert result.exit_code == 2
    assert "docx" in result.stderr


def test_text_does_not_stream_before_it_is_whole(sent: Exchange) -> None:
    sent.events[:] = [
        AudioDecoded(source="a.wav", seconds=1.0),
        TextDelta(text="Done"),
        TextDelta(text="."),
        sent.events[-1],
    ]
    assert tiny_g4("transcribe", "a.wav", "-f", "srt").stdout == (
        "1\n00:00:00,000 --> 00:00:01,000\nDone.\n"
    )
