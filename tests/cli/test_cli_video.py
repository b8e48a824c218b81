"""``g4 video``: which frames are looked at, and how much of the sound is heard."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import Exchange, assert_fails, records, tiny_g4, write_clip_with_sound
from support.samples import TEXT_OF, sample

from gemma4cli.messages import Source, TextPart, VideoPart
from gemma4cli.processing.processor import Processor

CLIP = sample("video00.mp4")  # 3 s at 4 frames a second
CLIP_TEXT = TEXT_OF["video00.mp4"]


def frames_of(*options: str) -> list[float]:
    (record,) = records(tiny_g4("video", CLIP, "--json", "--max-tokens", "1", *options))
    frames: list[float] = record["frames"]
    return frames


def test_answer_on_stdout_and_plan_on_stderr() -> None:
    result = tiny_g4("video", CLIP)
    assert (result.exit_code, result.stdout) == (0, f"{CLIP_TEXT}\n")
    assert result.stderr == f"{CLIP}: 6 frames, one every 0.50 s, 384 soft tokens\n"


def test_quiet_leaves_out_the_plan() -> None:
    result = tiny_g4("video", CLIP, "-q", "--max-tokens", "1", "--video-max-frames", "1")
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_default_prompt_follows_the_clip(sent: Exchange) -> None:
    tiny_g4("video", "a.mp4")
    video = VideoPart(source=Source.of("a.mp4"))
    assert sent.parts == [(video, TextPart(text="Describe this video."))]


def test_a_prompt_replaces_the_default(sent: Exchange) -> None:
    tiny_g4("video", "a.mp4", "-p", "Who wins?")
    assert sent.text == "Who wins?"


def test_options_reach_the_sampling(sent: Exchange) -> None:
    options = "--video-max-frames 5 --fps 1.5 --from 2 --to 8.5 --budget 140 --no-audio"
    tiny_g4("video", "a.mp4", *options.split())
    (media,) = sent.media
    assert (media.video_max_frames, media.video_fps) == (5, 1.5)
    assert (media.video_start, media.video_end) == (2.0, 8.5)
    assert (media.video_budget, media.budget, media.video_sound) == (140, None, False)


def test_json_adds_the_times_of_the_frames() -> None:
    (record,) = records(tiny_g4("video", CLIP, "--json"))
    assert list(record) == [
        "input",
        "text",
        "model",
        "finish_reason",
        "usage",
        "timings",
        "frames",
        "plan",
    ]
    assert record["text"] == CLIP_TEXT
    assert record["frames"] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert record["usage"]["soft_tokens"] == 6 * 64
    assert record["plan"] == {
        "frames": 6,
        "spacing": 0.5,
        "soft_tokens": 6 * 64,
        "sound_seconds": 0,
        "audio_pieces": 0,
    }


def test_most_frames() -> None:
    assert frames_of("--video-max-frames", "2") == [0.0, 1.5]


def test_frames_per_second() -> None:
    assert frames_of("--fps", "1") == [0.0, 1.0, 2.0]


def test_most_frames_bound_the_frames_per_second() -> None:
    assert len(frames_of("--fps", "4", "--video-max-frames", "3")) == 3


def test_from_and_to() -> None:
    assert frames_of("--from", "1", "--to", "2", "--fps", "4") == [1.0, 1.25, 1.5, 1.75]


def test_answers_about_several_clips_follow_their_names(sent: Exchange) -> None:
    assert tiny_g4("video", "a.mp4", "b.mp4").stdout == "a.mp4: Done.\nb.mp4: Done.\n"


def test_standard_input() -> None:
    (record,) = records(
        tiny_g4("video", "-", "--json", "--video-max-frames", "1", stdin=Path(CLIP).read_bytes())
    )
    assert (record["input"], record["frames"]) == ("-", [0.0])


@pytest.fixture
def spoken(tmp_path: Path) -> str:
    return str(write_clip_with_sound(tmp_path / "spoken.mkv"))


def test_the_sound_of_a_clip_reaches_the_model(spoken: str) -> None:
    options = ("--json", "--video-max-frames", "2", "--max-tokens", "1")
    heard = tiny_g4("video", spoken, *options)
    (with_sound,) = records(heard)
    (without,) = records(tiny_g4("video", spoken, "--no-audio", *options))
    plan = "2 frames, one every 1.50 s, 2.1 s of sound, 181 soft tokens"
    assert heard.stderr.startswith(f"{spoken}: {plan}\n")
    assert without["usage"]["soft_tokens"] == 2 * 64
    assert with_sound["usage"]["soft_tokens"] == 2 * 64 + 53


def test_a_part_of_a_clip_has_the_sound_of_that_part(spoken: str) -> None:
    options = ("--max-tokens", "1", "--video-max-frames", "1")
    result = tiny_g4("video", spoken, "--from", "1", "--to", "2", *options)
    assert "1.0 s of sound" in result.stderr


def test_sound_longer_than_the_model_hears_comes_in_pieces(
    spoken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processor, "longest_clip", property(lambda self: 1.0))
    result = tiny_g4("video", spoken, "--video-max-frames", "2", "--max-tokens", "1", "--json")
    assert "2.1 s of sound in 3 parts" in result.stderr
    (record,) = records(result)
    assert record["plan"]["audio_pieces"] == 3
    assert record["plan"]["soft_tokens"] == record["usage"]["soft_tokens"]


def test_a_clip_that_does_not_fit_fails_after_its_plan() -> None:
    result = tiny_g4("video", CLIP, "--budget", "1120", "--video-max-frames", "12")
    assert result.exit_code == 3
    plan, error = result.stderr.splitlines()
    assert "12 frames, one every 0.25 s" in plan
    assert "--video-max-frames" in error and "--segment" in error


def test_to_before_from() -> None:
    result = tiny_g4("video", CLIP, "--from", "2", "--to", "1")
    assert_fails(result, 2, "the end (1.0) must come after the start (2.0)")


def test_a_start_after_the_end_of_the_clip_is_an_error() -> None:
    assert_fails(tiny_g4("video", CLIP, "--from", "5"), 3, "ends at 3.0 s", "start at 5.0 s")


def test_a_value_that_does_not_parse_is_an_error(subtests: pytest.Subtests) -> None:
    for options in ["--video-max-frames 0", "--fps inf", "--fps nan", "--fps 1e9", "--fps x"]:
        with subtests.test(options=options):
            result = tiny_g4("video", CLIP, *options.split())
            assert (result.exit_code, result.stdout) == (2, "")
            assert options.split()[0] in result.stderr


def test_a_value_out_of_range_is_an_error(subtests: pytest.Subtests) -> None:
    for options in ["--fps 0", "--fps -1", "--from -1", "--to 0", "--budget 69"]:
        with subtests.test(options=options):
            assert_fails(tiny_g4("video", CLIP, *options.split()), 2)


def test_frames_are_saved_with_their_times(tmp_path: Path) -> None:
    result = tiny_g4("video", CLIP, "--save-frames", tmp_path / "frames", "--max-tokens", "1")
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names[0] == "contact-sheet.png"
    assert names[1:3] == ["frame-0001-00m00.000s.png", "frame-0002-00m00.500s.png"]
    assert len(names) == 7
    assert f"{CLIP}: 6 frames and contact-sheet.png in {tmp_path / 'frames'}" in result.stderr


def test_frames_of_several_clips_get_folders(tmp_path: Path) -> None:
    other = sample("video01.mp4")
    options = ("--save-frames", tmp_path, "--max-tokens", "1", "--video-max-frames", "1")
    tiny_g4("video", CLIP, other, *options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["video00.mp4", "video01.mp4"]


def test_frames_of_standard_input_are_saved(tmp_path: Path) -> None:
    data = Path(CLIP).read_bytes()
    options = ("--save-frames", tmp_path, "--max-tokens", "1", "--video-max-frames", "2")
    tiny_g4("video", "-", *options, stdin=data)
    assert len(list(tmp_path.iterdir())) == 3
