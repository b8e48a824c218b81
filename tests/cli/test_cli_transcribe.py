"""``g4 transcribe``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from cli_runs import PARITY, assert_fails, g4, records, tiny_g4, write_clip_with_sound
from support.samples import TEXT_OF, sample

SPEECH, TEACHER, MUSIC = (sample(f"speech0{number}.wav") for number in (0, 3, 7))
SPEECH_TEXT, TEACHER_TEXT, MUSIC_TEXT = (
    TEXT_OF[Path(name).name] for name in (SPEECH, TEACHER, MUSIC)
)
TIMES = "00:00:00.000 --> 00:00:02.107"


def samples_of(name: str) -> np.ndarray:
    with wave.open(name) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def write_wav(path: Path, parts: Sequence[np.ndarray | float]) -> Path:
    """Clips, and pauses in seconds, one after the other."""
    pieces = [np.zeros(int(p * 16_000), np.int16) if isinstance(p, float) else p for p in parts]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.concatenate(pieces).tobytes())
    return path


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """Three sentences of three speakers, five seconds apart."""
    clips = [samples_of(name) for name in (SPEECH, TEACHER, MUSIC)]
    return write_wav(tmp_path / "long.wav", [1.0, clips[0], 5.0, clips[1], 5.0, clips[2], 3.0])


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "silent.wav", [40.0])


def test_stdout_has_the_text_alone() -> None:
    result = tiny_g4("transcribe", SPEECH)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{SPEECH_TEXT}\n", "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("txt", f"{SPEECH_TEXT}\n"),
        ("srt", f"1\n{TIMES.replace('.', ',')}\n{SPEECH_TEXT}\n"),
        ("tsv", f"start\tend\ttext\n0\t2107\t{SPEECH_TEXT}\n"),
    ],
)
def test_formats(name: str, expected: str) -> None:
    assert tiny_g4("transcribe", SPEECH, "-f", name).stdout == expected


def test_vtt_explains_its_times() -> None:
    text = tiny_g4("transcribe", SPEECH, "-f", "vtt").stdout
    assert text.startswith("WEBVTT\n\nNOTE Times are those of pieces of speech")
    assert text.endswith(f"\n\n{TIMES}\n{SPEECH_TEXT}\n")


def test_json_document() -> None:
    document = json.loads(tiny_g4("transcribe", SPEECH, "-f", "json", "--language", "en").stdout)
    assert document["language"] == "English"
    assert document["text"] == SPEECH_TEXT
    assert [segment["text"] for segment in document["segments"]] == [SPEECH_TEXT]


def test_json_has_one_record_for_each_recording() -> None:
    (record,) = records(tiny_g4("transcribe", SPEECH, "--json"))
    piece = {"start": 0.0, "end": 2.107, "text": SPEECH_TEXT}
    assert list(record) == [
        "input",
        "text",
        "language",
        "seconds",
        "pieces",
        "segments",
        "model",
        "finish_reason",
        "usage",
        "timings",
    ]
    assert (record["text"], record["language"], record["pieces"]) == (SPEECH_TEXT, None, 1)
    assert record["segments"] == [piece]
    # 2.107 s are 53, and 0.16 s of silence follow speech that breaks off.
    assert record["usage"]["soft_tokens"] == 57
    assert record["finish_reason"] == "stop"


def test_segments_come_as_they_finish_and_no_text_comes_twice() -> None:
    (whole,) = records(tiny_g4("transcribe", SPEECH, "--json"))
    segment, rest = records(tiny_g4("transcribe", SPEECH, "--json", "--segments"))
    assert segment == {"input": SPEECH, **whole["segments"][0]}
    assert [key for key in whole if key not in rest] == ["text", "segments"]
    assert rest["usage"] == whole["usage"]


def test_segments_need_json() -> None:
    assert_fails(tiny_g4("transcribe", SPEECH, "--segments"), 2, "--segments is for --json")


def test_a_long_recording_has_a_record_for_each_piece(long: Path) -> None:
    result = tiny_g4("transcribe", long, "--json", "--segments")
    *segments, record = records(result)
    assert [segment["text"] for segment in segments] == [SPEECH_TEXT, TEACHER_TEXT, MUSIC_TEXT]
    assert record["pieces"] == 3
    starts = [segment["start"] for segment in segments]
    assert starts == pytest.approx([0.8, 7.9, 15.5], abs=0.4)
    assert result.stderr == f"{long}: 3 pieces in 0:21\n"


def test_a_long_recording_as_text_has_a_line_for_each_piece(long: Path) -> None:
    result = tiny_g4("transcribe", long, "-q")
    assert result.stdout == f"{SPEECH_TEXT}\n{TEACHER_TEXT}\n{MUSIC_TEXT}\n"
    assert result.stderr == ""


@pytest.mark.parametrize(
    "batch",
    [pytest.param("1", marks=pytest.mark.slow), "2", pytest.param("8", marks=pytest.mark.slow)],
)
def test_batches_do_not_change_the_text(long: Path, batch: str) -> None:
    result = tiny_g4("transcribe", long, SPEECH, "-q", "--batch", batch)
    assert result.stdout == (
        f"{long}: {SPEECH_TEXT} {TEACHER_TEXT} {MUSIC_TEXT}\n{SPEECH}: {SPEECH_TEXT}\n"
    )


def test_a_recording_of_silence_has_an_empty_transcript(silent: Path) -> None:
    result = tiny_g4("transcribe", silent)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{silent}: no speech in 0:40\n"
    assert tiny_g4("transcribe", silent, "-f", "vtt").stdout == "WEBVTT\n"
    (record,) = records(tiny_g4("transcribe", silent, "--json"))
    assert (record["text"], record["segments"], record["pieces"]) == ("", [], 0)


def test_two_runs_agree_even_where_the_model_samples() -> None:
    model = PARITY / "checkpoints" / "e2b"
    assert '"do_sample": true' in (model / "generation_config.json").read_text("utf-8")

    def run() -> str:
        *_, record = records(g4("transcribe", "-m", model, SPEECH, "--json", "--max-tokens", "16"))
        assert record["usage"]["completion_tokens"] > 4
        return str(record["text"])

    assert run() == run()


def test_transcripts_of_several_recordings_follow_their_names() -> None:
    result = tiny_g4("transcribe", TEACHER, SPEECH)
    assert result.stdout == f"{TEACHER}: {TEACHER_TEXT}\n{SPEECH}: {SPEECH_TEXT}\n"


def test_a_bad_one_of_several_does_not_stop_the_rest(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    result = tiny_g4("transcribe", TEACHER, tmp_path / "bad.wav", tmp_path / "none.wav", SPEECH)
    assert result.exit_code == 5
    assert result.stdout == f"{TEACHER}: {TEACHER_TEXT}\n{SPEECH}: {SPEECH_TEXT}\n"
    first, second = result.stderr.splitlines()
    assert "bad.wav: not an audio or video file" in first
    assert "none.wav: no such file" in second


def test_a_single_bad_one_decides_on_the_status(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no sound")
    assert_fails(tiny_g4("transcribe", tmp_path / "bad.wav"), 3, "not an audio or video file")


def test_a_bad_one_is_a_line_of_json(tmp_path: Path) -> None:
    result = tiny_g4("transcribe", tmp_path / "none.wav", SPEECH, "--json")
    failed, whole = records(result)
    assert failed["error"]["code"] == 3
    assert whole["text"] == SPEECH_TEXT


def test_sound_of_a_video(tmp_path: Path) -> None:
    clip = write_clip_with_sound(tmp_path / "clip.mkv")
    assert tiny_g4("transcribe", clip).stdout == f"{SPEECH_TEXT}\n"


def test_standard_input() -> None:
    result = tiny_g4("transcribe", "-", "-f", "tsv", stdin=Path(SPEECH).read_bytes())
    assert result.stdout == f"start\tend\ttext\n0\t2107\t{SPEECH_TEXT}\n"


def test_empty_standard_input() -> None:
    assert_fails(tiny_g4("transcribe", "-", stdin=b""), 3, "is empty")


def test_output_to_a_file(tmp_path: Path) -> None:
    result = tiny_g4("transcribe", SPEECH, "-f", "srt", "-o", tmp_path / "out.srt")
    assert result.stdout == ""
    assert (tmp_path / "out.srt").read_text("utf-8").startswith("1\n00:00:00,000 --> ")


def test_all_formats_to_a_folder(tmp_path: Path) -> None:
    result = tiny_g4("transcribe", SPEECH, "-f", "all", "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"speech00.{suffix}" for suffix in ("json", "srt", "tsv", "txt", "vtt")]


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    (folder / "more").mkdir(parents=True)
    (folder / "a.wav").write_bytes(Path(SPEECH).read_bytes())
    (folder / "more" / "a.wav").write_bytes(Path(TEACHER).read_bytes())
    (folder / "notes.txt").write_text("no sound")
    result = tiny_g4("transcribe", folder, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert (tmp_path / "out" / "a.txt").read_text() == f"{SPEECH_TEXT}\n"
    assert (tmp_path / "out" / "more" / "a.txt").read_text() == f"{TEACHER_TEXT}\n"


def test_an_existing_transcript_is_skipped(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "speech00.txt").write_text("by hand\n")
    result = tiny_g4("transcribe", SPEECH, TEACHER, "-o", out, "--skip-existing")
    assert result.exit_code == 0
    assert (out / "speech00.txt").read_text() == "by hand\n"
    assert (out / "speech03.txt").read_text() == f"{TEACHER_TEXT}\n"
    assert "skipped: 1 of 2 were written before" in result.stderr


def test_recordings_with_a_line_of_json_are_skipped(tmp_path: Path) -> None:
    lines = tmp_path / "all.jsonl"
    tiny_g4("transcribe", SPEECH, "-o", lines)
    before = lines.read_text()
    result = tiny_g4("transcribe", TEACHER, SPEECH, "-o", lines, "--skip-existing")
    assert "skipped: 1 of 2 were written before" in result.stderr
    assert lines.read_text().startswith(before)
    kept, new = map(json.loads, lines.read_text().splitlines())
    assert (kept["input"], new["input"], new["text"]) == (str(SPEECH), str(TEACHER), TEACHER_TEXT)
    assert g4("transcribe", SPEECH, "-o", lines, "--skip-existing", "-m", "no/model").exit_code == 0


def test_json_in_a_folder_is_a_file_for_each_recording(tmp_path: Path) -> None:
    result = tiny_g4("transcribe", SPEECH, TEACHER, "--json", "-o", f"{tmp_path}/out/")
    assert (result.exit_code, result.stdout) == (0, "")
    texts = [
        json.loads((tmp_path / "out" / f"{n}.json").read_text()) for n in ("speech00", "speech03")
    ]
    assert [each["text"].strip() for each in texts] == [SPEECH_TEXT, TEACHER_TEXT]


def test_skipping_looks_for_every_format(tmp_path: Path) -> None:
    (tmp_path / "speech00.txt").write_text("by hand\n")
    tiny_g4("transcribe", SPEECH, "-f", "all", "-o", tmp_path, "--skip-existing")
    assert (tmp_path / "speech00.srt").exists()


def test_skipping_needs_files() -> None:
    assert_fails(tiny_g4("transcribe", SPEECH, "--skip-existing"), 2, "needs a file for each input")


def test_lines_of_subtitles_are_as_wide_as_asked(long: Path) -> None:
    text = tiny_g4(
        "transcribe", long, "-f", "srt", "-q", "--max-line-width", "12", "--max-line-count", "1"
    ).stdout
    lines = [line for cue in text.strip().split("\n\n") for line in cue.splitlines()[2:]]
    assert " ".join(lines) == f"{SPEECH_TEXT} {TEACHER_TEXT} {MUSIC_TEXT}"
    assert max(map(len, lines)) <= 12


def test_output_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemma4cli.subtitles import formats as writers

    def fails(transcript: writers.Transcript) -> str:
        raise KeyboardInterrupt

    monkeypatch.setitem(writers.FORMATS, "txt", fails)
    result = tiny_g4("transcribe", SPEECH, "-o", tmp_path / "out.txt")
    assert result.exit_code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ffmpeg
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program")
@pytest.mark.parametrize("suffix", ["srt", "vtt"])
def test_subtitles_play_with_their_clip(tmp_path: Path, suffix: str) -> None:
    clip = write_clip_with_sound(tmp_path / "clip.mkv")
    subtitles, whole = tmp_path / f"clip.{suffix}", tmp_path / "whole.mkv"
    assert tiny_g4("transcribe", clip, "-f", suffix, "-o", subtitles).exit_code == 0
    command = ["ffmpeg", "-v", "error", "-i", clip, "-i", subtitles, "-c", "copy", "-c:s", "srt"]
    subprocess.run([*command, "-map", "0", "-map", "1", whole], check=True, timeout=60)
    with av.open(str(whole)) as container:
        (stream,) = container.streams.subtitles
        (cue, *_) = [packet for packet in container.demux(stream) if packet.size]
        assert bytes(cue).decode() == SPEECH_TEXT
        assert float(cue.pts * cue.time_base) < 0.5


def test_languages_are_named_or_coded(tmp_path: Path) -> None:
    *_, record = records(tiny_g4("transcribe", TEACHER, "--language", "en-GB", "--json"))
    assert (record["language"], record["text"]) == ("English", TEACHER_TEXT)
    assert_fails(tiny_g4("transcribe", TEACHER, "--language", "xx"), 2, "is not a language")


def test_a_transcription_refuses_thinking() -> None:
    assert_fails(tiny_g4("transcribe", SPEECH, "--think"), 2, "leave out --think")


def test_json_and_format_exclude_each_other() -> None:
    assert_fails(tiny_g4("transcribe", SPEECH, "--json", "-f", "srt"), 2, "exclude each other")


def test_several_subtitles_need_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out.vtt").touch()
    result = tiny_g4("transcribe", SPEECH, TEACHER, "-f", "vtt", "-o", tmp_path / "out.vtt")
    assert_fails(result, 2, "several results need a folder")
    assert_fails(
        tiny_g4("transcribe", SPEECH, TEACHER, "-f", "vtt"),
        2,
        "vtt of several recordings need a folder: pass one with -o",
    )


def test_unknown_format() -> None:
    result = tiny_g4("transcribe", SPEECH, "-f", "docx")
    assert result.exit_code == 2
    assert "docx" in result.stderr


def test_a_run_without_recordings_is_an_error() -> None:
    assert_fails(tiny_g4("transcribe"), 2, "pass either recordings or --mic")
    assert_fails(tiny_g4("transcribe", SPEECH, "--mic"), 2, "pass either recordings or --mic")
    assert_fails(tiny_g4("transcribe", SPEECH, "--device", "1"), 2, "--device is for --mic")


def test_a_model_without_audio_is_refused(silence: Callable[[float], bytes]) -> None:
    Path("a.wav").write_bytes(silence(1))
    result = g4("transcribe", "-m", PARITY / "checkpoints" / "31b", "a.wav")
    assert_fails(result, 4, "does not support audio")
