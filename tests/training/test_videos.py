"""Videos of stills: stamps and answers agree with the frames that the model is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemma4cli.decoded import SAMPLE_RATE
from gemma4cli.media.video import load_frames, load_sound, probe_video
from gemma4cli.messages import Source
from gemma4cli.processing.prompt import time_label
from gemma4cli.processing.video import frame_times
from training.pictures.drawing import drawn
from training.pictures.scenes import picture
from training.seeds import generator
from training.video_files import write_video
from training.videos import (
    FRAMES,
    Scene,
    Video,
    appearances,
    sampled_times,
    video,
    video_caption,
    video_questions,
)


def clip(number: int) -> Video:
    return video(generator("video", number))


def test_a_scene_is_stamped_with_its_first_sampled_frame() -> None:
    first, second = (picture(generator("scene", number), "count", (96, 96)) for number in range(2))
    scenes = (Scene(picture=first, start=0.0), Scene(picture=second, start=3.5))
    shown = Video(scenes=scenes, duration=12.0, rate=10)
    assert [each.stamp for each in appearances(shown, 6)] == ["00:00", "00:04"]
    assert video_caption(shown, 6).count("At 00:04 ") == 1


def test_every_scene_is_told_apart() -> None:
    for number in range(30):
        shown = clip(number)
        seen = appearances(shown)
        assert len(seen) == len(shown.scenes)
        assert len({each.stamp for each in seen}) == len(seen)


def test_answers_name_a_stamp_of_the_prompt() -> None:
    for number in range(30):
        shown = clip(number)
        stamps = {time_label(seconds) for seconds in sampled_times(shown)}
        for question, answer in video_questions(shown, generator("asked", number)):
            if question.startswith("When"):
                assert answer.removeprefix("At ").rstrip(".") in stamps


@pytest.mark.parametrize("with_sound", [False, True])
def test_a_written_video_shows_what_is_described(tmp_path: Path, with_sound: bool) -> None:
    small = tuple(
        replace(scene, picture=picture(generator("small", index), "objects", (96, 128)))
        for index, scene in enumerate(clip(5).scenes)
    )
    shown = replace(clip(5), scenes=small)
    path = tmp_path / "clip.mp4"
    samples = np.zeros(round(shown.duration * SAMPLE_RATE), np.float32) if with_sound else None
    write_video(path, shown, generator("noise"), samples)
    source = Source.of(path)
    info = probe_video(source)
    assert info.duration == pytest.approx(shown.duration)
    assert (load_sound(source) is not None) == with_sound
    times = frame_times(duration=info.duration, frame_count=info.frames, max_frames=FRAMES)
    frames = load_frames(source, times)
    assert [frame.seconds for frame in frames] == pytest.approx(sampled_times(shown))
    for frame in frames:
        pixels = drawn(shown.shown_at(frame.seconds).picture, generator("other noise"))
        assert np.abs(frame.pixels.astype(int) - pixels).mean() < 12
