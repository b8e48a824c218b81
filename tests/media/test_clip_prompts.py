"""Clips in conversations: sound between the frames, and plans that are checked before decoding."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
from media_makers import numbered, tone, write_video

from gemma4cli.conversations.chat import Chat
from gemma4cli.conversations.open_media import open_message, prepare
from gemma4cli.conversations.opened import OpenedMessage
from gemma4cli.decoded import SAMPLE_RATE, AudioClip, Decoded, VideoClip, VideoFrame
from gemma4cli.engine import memory_limits
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import ContextLengthError, PromptTooLargeError
from gemma4cli.events import DecodeProgress, Finished, VideoPlanned, VideoSampled
from gemma4cli.media.pictures import video
from gemma4cli.messages import AudioPart, Message, Part, Source, TextPart, VideoPart, content_of
from gemma4cli.options import GenerateOptions, MediaOptions
from gemma4cli.processing.inputs import ModelInputs
from gemma4cli.processing.processor import Processor

SHORT = GenerateOptions(max_tokens=1, temperature=0)


def write_clip(folder: Path, sound: float | None, suffix: str = "mkv") -> Path:
    """8 s of picture with ``sound`` seconds of sound."""
    return write_video(
        folder / f"clip.{suffix}",
        [numbered(number) for number in range(16)],
        rate=2,
        sound=None if sound is None else tone(sound),
    )


ClipOf = Callable[..., Path]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipOf:
    """``write_clip`` that writes each clip once."""

    @cache
    def written(sound: float | None, suffix: str = "mkv") -> Path:
        return write_clip(tmp_path_factory.mktemp("clips"), sound, suffix)

    return written


def hears(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the model take clips of ``seconds`` at once."""
    monkeypatch.setattr(Processor, "longest_clip", property(lambda self: seconds))


def opened(model: LoadedModel, path: Path, options: MediaOptions) -> OpenedMessage:
    message = Message(role="user", content=content_of("What happens?", videos=[path]))
    *_, last = open_message(model, message, options)
    assert isinstance(last, OpenedMessage)
    return last


def inputs(model: LoadedModel, path: Path, **options: object) -> ModelInputs:
    media = MediaOptions(**{"video_max_frames": 4, **options})  # type: ignore[arg-type]
    return prepare(model, [opened(model, path, media)], media)


def order(given: ModelInputs) -> str:
    """Times of frames and "sound", in the order of the prompt."""
    found = re.findall(r"\d\d:\d\d|<\|audio>", given.text)
    return " ".join(found).replace("<|audio>", "sound").replace("00:0", "")


# Seconds of sound, the longest clip that the model takes, and the order in the prompt
ORDERS: list[tuple[float | None, float, str]] = [
    (8.0, 30.0, "0 2 4 6 sound"),
    (8.0, 4.0, "0 2 sound 4 6 sound"),
    (8.0, 1.0, "0 sound sound 2 sound sound 4 sound sound 6 sound sound"),
    (None, 4.0, "0 2 4 6"),
    (3.0, 4.0, "0 2 sound 4 6"),
    (3.0, 2.0, "0 sound 2 sound 4 6"),
    (12.0, 4.0, "0 2 sound 4 6 sound sound"),
]


def test_sound_follows_the_frames_of_its_span(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for sound, longest, _ in ORDERS:
        hears(monkeypatch, longest)
        found.append((sound, longest, order(inputs(tiny, clip(sound)))))
    assert found == ORDERS


def test_begin_and_end_tokens_enclose_frames_and_sound(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    hears(monkeypatch, 4.0)
    text = re.sub(r"(<\|(video|audio)\|>)+", "*", inputs(tiny, clip(8.0)).text)
    frames = "{} <|image>*<image|> {} <|image>*<image|>"
    sound = "<|audio>*<audio|>"
    assert text == (
        f"<bos><|turn>user\n{frames.format('00:00', '00:02')}{sound}"
        f"{frames.format('00:04', '00:06')}{sound}What happens?<turn|>\n<|turn>model\n"
    )


def test_a_part_of_a_clip_has_the_times_of_the_clip(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    hears(monkeypatch, 2.0)
    given = inputs(tiny, clip(8.0), video_start=2.0, video_end=6.0)
    assert order(given) == "2 3 sound 4 5 sound"


def test_without_sound_only_frames_are_in_the_prompt(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip(8.0)
    hears(monkeypatch, 2.0)
    silent = inputs(tiny, path, video_sound=False)
    assert order(silent) == "0 2 4 6"
    monkeypatch.setattr(Processor, "hears", False)
    assert inputs(tiny, path).ids == silent.ids


def test_padding_of_a_codec_adds_no_span(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    hears(monkeypatch, 8.0)
    assert order(inputs(tiny, clip(8.0, "mp4"))) == "0 2 4 6 sound"


def test_a_clip_equals_its_frames_and_sound_given_one_by_one(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same ids and the same media."""
    path = clip(8.0)
    hears(monkeypatch, 4.0)
    source = Source.of(path)
    frames = [
        VideoFrame(pixels=tiny.processor.fit_frame(frame.pixels), seconds=frame.seconds)
        for frame in video.iter_frames(source, (0, 2, 4, 6))
    ]
    sound = video.load_sound(source, video.probe_video(source))
    assert sound is not None
    half = 4 * SAMPLE_RATE
    seen, heard = VideoPart(source=source), AudioPart(source=source)
    content: tuple[Part, ...] = (seen, heard, seen, heard, TextPart(text="What happens?"))
    media: Sequence[Decoded] = [
        VideoClip(frames=tuple(frames[:2]), sound=None, name="first"),
        AudioClip(samples=sound.samples[:half], name="first"),
        VideoClip(frames=tuple(frames[2:]), sound=None, name="second"),
        AudioClip(samples=sound.samples[half:], name="second"),
    ]
    by_hand = tiny.processor.prepare([Message(role="user", content=content)], media)
    given = inputs(tiny, path)
    assert given.ids == by_hand.ids
    assert given.spans == by_hand.spans
    assert [f.digest for f in given.features] == [f.digest for f in by_hand.features]


def test_the_history_has_the_clip_as_given(tiny: LoadedModel, clip: ClipOf) -> None:
    chat = Chat(tiny, media=MediaOptions(video_max_frames=1))
    message = Message(role="user", content=content_of("What?", videos=[clip(2.0)]))
    list(chat.load([message]))
    assert chat.history == (message,)


def test_a_second_turn_continues_after_the_clip_without_its_file(
    tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path, 2.0)
    hears(monkeypatch, 4.0)
    chat = Chat(tiny, media=MediaOptions(video_max_frames=2))
    *_, first = chat.send(content_of("What happens?", videos=[path]), SHORT)
    path.unlink()
    *_, second = chat.send("And then?", SHORT)
    assert isinstance(first, Finished) and isinstance(second, Finished)
    assert second.usage.soft_tokens == first.usage.soft_tokens > 0
    assert second.usage.cached_tokens > first.usage.soft_tokens


# Plans


def test_a_plan_reports_the_frames_and_sound_that_follow(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    hears(monkeypatch, 4.0)
    path = clip(7.0)
    media = MediaOptions(video_max_frames=4)
    message = Message(role="user", content=content_of("What?", videos=[path]))
    *events, last = open_message(tiny, message, media)
    assert isinstance(last, OpenedMessage)
    ready = prepare(tiny, [last], media)
    name = str(path)
    assert events[:4] == [
        DecodeProgress(source=name),
        VideoPlanned(
            source=name,
            frames=4,
            spacing=2.0,
            soft_tokens=ready.num_soft_tokens,
            sound_seconds=7.0,
            audio_pieces=2,
        ),
        DecodeProgress(source=name),
        VideoSampled(source=name, timestamps=(0.0, 2.0, 4.0, 6.0)),
    ]


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding anything after the probe fails."""

    def decoding(*_: object) -> None:
        raise AssertionError("the clip was decoded")

    monkeypatch.setattr(video, "iter_frames", decoding)
    monkeypatch.setattr(video, "load_sound", decoding)


@pytest.mark.usefixtures("undecoded")
def test_too_many_frames_are_an_error_before_decoding(tiny: LoadedModel, clip: ClipOf) -> None:
    chat = Chat(tiny, media=MediaOptions(video_max_frames=16, video_budget=1120))
    with pytest.raises(
        ContextLengthError, match=r"about 7 frames with --video-max-frames"
    ) as raised:
        list(chat.send(content_of("What?", videos=[clip(None)]), SHORT))
    assert raised.value.tokens > 16 * 1000
    for fix in ("--budget", "--from and --to", "--segment"):
        assert fix in str(raised.value)
    assert chat.history == ()


@pytest.mark.usefixtures("undecoded")
def test_too_much_sound_is_an_error_before_decoding(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadedModel, "context_length", 200)
    chat = Chat(tiny, media=MediaOptions(video_max_frames=1))
    with pytest.raises(ContextLengthError, match="leave the sound out with --no-audio"):
        list(chat.send(content_of("What?", videos=[clip(8.0)]), SHORT))


@pytest.mark.usefixtures("undecoded")
def test_previous_messages_count(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = Chat(tiny, media=MediaOptions(video_max_frames=2))
    list(chat.load([Message(role="user", content="word " * 300)]))
    monkeypatch.setattr(LoadedModel, "context_length", chat.context().tokens + 100)
    with pytest.raises(ContextLengthError):
        list(chat.send(content_of("What?", videos=[clip(None)]), SHORT))


@pytest.mark.usefixtures("undecoded")
def test_all_clips_are_planned_before_one_is_decoded(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them alone would fit."""
    monkeypatch.setattr(LoadedModel, "context_length", 200)
    path = clip(None)
    chat = Chat(tiny, media=MediaOptions(video_max_frames=2))
    with pytest.raises(ContextLengthError):
        list(chat.send(content_of("What?", videos=[path, path]), SHORT))


@pytest.mark.usefixtures("undecoded")
def test_too_little_memory_is_an_error_before_decoding(
    tiny: LoadedModel, clip: ClipOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_limits, "available_memory", lambda: 10**6)
    with pytest.raises(PromptTooLargeError, match="fewer frames with --video-max-frames"):
        opened(tiny, clip(None), MediaOptions())


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_header_has_the_end_of_the_sound(suffix: str, clip: ClipOf) -> None:
    info = video.probe_video(Source.of(clip(3.0, suffix)))
    assert info.sound_end == pytest.approx(3.0, abs=0.1)


def test_a_clip_without_sound_has_no_end_of_it(clip: ClipOf) -> None:
    assert video.probe_video(Source.of(clip(None))).sound_end is None
