"""Tracks and channels on the command line, piped sound, translations that are missing."""

from __future__ import annotations

import io
import os
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
from cli_runs import assert_fails, records, tiny_g4
from support.samples import TEXT_OF, sample
from support.sound_files import Track, write_tracks

from gemma4cli.media.sound.audio import load_audio
from gemma4cli.messages import Source

SPEECH, OTHER = "speech04.wav", "speech07.wav"


def samples_of(name: str) -> np.ndarray:
    return np.round(load_audio(Source.of(sample(name))).samples * 32767).astype(np.int16)


@pytest.fixture
def dubbed(tmp_path: Path) -> Path:
    """A clip in two languages, the first track German by its tag."""
    tracks = [
        Track(samples=samples_of(name)[None], language=language)
        for name, language in ((SPEECH, "ger"), (OTHER, "eng"))
    ]
    return write_tracks(tmp_path / "dubbed.mkv", *tracks, picture=0)


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """A call whose two sides are on two channels, one after the other."""
    one, two = samples_of(SPEECH), samples_of(OTHER)
    sides = np.zeros((2, len(one) + 48_000 + len(two)), np.int16)
    sides[0, : len(one)], sides[1, -len(two) :] = one, two
    return write_tracks(tmp_path / "call.mka", Track(samples=sides, layout="stereo"))


def test_a_notice_names_the_tracks_that_are_not_used(dubbed: Path) -> None:
    result = tiny_g4("transcribe", dubbed)
    assert result.stdout == f"{TEXT_OF[SPEECH]}\n"
    assert result.stderr == (
        f"{dubbed}: transcribing audio track 1 of 2 (German); others: 2 (English); "
        "choose with --track\n"
    )


@pytest.mark.parametrize("track", ["2", "en", "eng", "English"])
def test_the_track_is_chosen_by_number_or_language(dubbed: Path, track: str) -> None:
    result = tiny_g4("transcribe", dubbed, "--track", track)
    assert (result.stdout, result.stderr) == (f"{TEXT_OF[OTHER]}\n", "")


def test_the_spoken_language_chooses_the_track(dubbed: Path) -> None:
    result = tiny_g4("transcribe", dubbed, "--language", "en")
    assert result.stdout == f"{TEXT_OF[OTHER]}\n"
    assert "transcribing audio track 2 of 2 (English); others: 1 (German)" in result.stderr


@pytest.mark.parametrize(
    "command", [["transcribe"], ["video"], ["chat", "-p", "What is said?", "--audio"]]
)
@pytest.mark.parametrize("track", ["3", "fr"])
def test_a_track_that_is_not_there_is_an_error(
    dubbed: Path, command: list[str], track: str
) -> None:
    result = tiny_g4(*command, dubbed, "--track", track)
    assert_fails(result, 3, f"has no audio track {track}: it has 1 (German), 2 (English)")


def test_a_clip_and_a_chat_hear_the_chosen_track(dubbed: Path) -> None:
    for command in (["video"], ["chat", "-p", "Transcribe the audio.", "--audio"]):
        hearing = f"{dubbed}: hearing audio track 1 of 2 (German); others: 2 (English)"
        assert hearing in tiny_g4(*command, dubbed).stderr
        first, second = (tiny_g4(*command, dubbed, "--track", each) for each in ("1", "2"))
        assert "hearing" not in second.stderr
        assert first.stdout != second.stdout


def test_a_silent_track_is_passed_over(tmp_path: Path) -> None:
    spoken = samples_of(SPEECH)
    tracks = Track(samples=np.zeros_like(spoken)[None]), Track(samples=spoken[None])
    desktop = write_tracks(tmp_path / "desktop.mkv", *tracks, picture=0)
    for command in (["transcribe"], ["video"], ["chat", "-p", "What is said?", "--audio"]):
        result = tiny_g4(*command, desktop)
        assert TEXT_OF[SPEECH] in result.stdout
        assert "audio track 2" in result.stderr
        silent = tiny_g4(*command, desktop, "--track", "1")
        assert TEXT_OF[SPEECH] not in silent.stdout


def test_channels_of_a_call_are_labeled_lines(call: Path) -> None:
    result = tiny_g4("transcribe", call, "--channels", "separate")
    assert result.stdout == f"Channel 1: {TEXT_OF[SPEECH]}\nChannel 2: {TEXT_OF[OTHER]}\n"


def test_channels_of_a_call_are_a_field_in_json(call: Path) -> None:
    (whole,) = records(tiny_g4("transcribe", call, "--channels", "separate", "--json"))
    assert [(each["channel"], each["text"]) for each in whole["segments"]] == [
        (1, TEXT_OF[SPEECH]),
        (2, TEXT_OF[OTHER]),
    ]


def test_one_channel_of_a_call_is_picked(call: Path) -> None:
    assert tiny_g4("transcribe", call, "--channels", "2").stdout == f"{TEXT_OF[OTHER]}\n"
    missing = tiny_g4("transcribe", call, "--channels", "3")
    assert_fails(missing, 3, "call.mka: has no channel 3")
    for wrong in ("0", "left", "1.5"):
        refused = tiny_g4("transcribe", call, "--channels", wrong)
        assert_fails(refused, 2, "--channels takes mix, separate or a number")


@pytest.mark.parametrize("option", [("--track", "1"), ("--channels", "separate")])
def test_the_microphone_has_no_tracks_and_channels(option: tuple[str, str]) -> None:
    assert_fails(tiny_g4("transcribe", "--mic", *option), 2, "are for recordings, not for --mic")


def piped_wav() -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(samples_of(SPEECH).astype("<i2").tobytes())
    return content.getvalue()


def test_a_piped_wav_is_heard_by_a_chat() -> None:
    result = tiny_g4("chat", "-p", "Transcribe the audio.", "--audio", "-", stdin=piped_wav())
    assert result.exit_code == 0
    assert (
        result.stdout
        == tiny_g4("chat", "-p", "Transcribe the audio.", "--audio", sample(SPEECH)).stdout
    )


def test_a_piped_wav_is_transcribed() -> None:
    result = tiny_g4("transcribe", "-", stdin=piped_wav())
    assert (result.exit_code, result.stdout) == (0, f"{TEXT_OF[SPEECH]}\n")


@pytest.mark.parametrize(
    "command", [["transcribe"], ["chat", "-p", "What is said?", "--audio"], ["describe"]]
)
def test_a_named_pipe_is_read_once(tmp_path: Path, command: list[str]) -> None:
    """Nothing looks into it before the command itself, which would find the rest."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    name = "image01.png" if command == ["describe"] else SPEECH
    writer = subprocess.Popen(["sh", "-c", 'cat "$0" > "$1"', sample(name), pipe])
    assert tiny_g4(*command, pipe).stdout == f"{TEXT_OF[name]}\n"
    assert writer.wait(20) == 0


def test_a_piped_clip_is_seen_and_heard(dubbed: Path) -> None:
    result = tiny_g4("video", "-", "--track", "1", stdin=dubbed.read_bytes())
    assert result.exit_code == 0
    assert result.stdout == tiny_g4("video", dubbed, "--track", "1").stdout


def test_a_translation_that_the_model_leaves_out_is_reported() -> None:
    """The built-in model translates into no French."""
    path = sample(SPEECH)
    result = tiny_g4("transcribe", path, "--translate-to", "fr", "--json")
    assert result.stderr == (f"{path}: no translation of 1 of 1 segments: the model left it out\n")
    (whole,) = records(result)
    assert whole["translation"] is None
    assert whole["segments"][0]["translation"] is None
    (plain,) = records(tiny_g4("transcribe", path, "--json"))
    assert "translation" not in plain["segments"][0]
