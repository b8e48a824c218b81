"""Tasks with videos: which scene when, and what is said in them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gemma4cli import prompts
from gemma4cli.processing.prompt import AudioSlot, VideoSlot

from .. import videos
from ..choosing import choice, one
from ..pictures.description import Picture
from ..pictures.features import Shown
from ..speech.audio_features import Heard
from ..speech.clips import LONGEST_CLIP, MOST_TOKENS
from .conversations import Conversation, Library, audio, quoted
from .dialogues import Turn

_DESCRIBE_VIDEO = (
    "What happens in this video?", "What does the video show?", "Describe the video.",
    "What do you see?", "Summarize this video.", "What is shown in this video?",
)  # fmt: skip
_FRAMES = {videos.FRAMES: 0.7, 3: 0.05, 4: 0.1, 8: 0.15}


def watch(rng: np.random.Generator, library: Library) -> Conversation:
    """A video, described and asked about; its sound, if any, is heard but nobody speaks."""
    video, frames, slot, stills = _clip_of_stills(rng, library)
    asked = videos.video_questions(video, rng, frames)
    asked = [asked[int(i)] for i in rng.permutation(len(asked))]
    described = (_video_prompt(rng), videos.video_caption(video, frames))
    texts = [described, *asked] if rng.random() < 0.5 else [*asked[:1], described]
    sounds: tuple[Heard, ...] = ()
    if rng.random() < 0.15:
        sounds = tuple(_quiet(rng, library) for _ in _spans(video))
    parts = _with_sound(rng, slot, texts[0][0], sounds, video)
    turns = [Turn(parts=parts, answer=texts[0][1])]
    turns += [Turn(parts=(text,), answer=answer) for text, answer in texts[1:]]
    return Conversation(turns=tuple(turns), pictures=stills, sounds=sounds)


def watch_and_listen(rng: np.random.Generator, library: Library) -> Conversation:
    """A video in which somebody speaks, in one of the stretches that are heard at once."""
    video, frames, slot, stills = _clip_of_stills(rng, library)
    clip = library.clips.any(rng, {"sentence": 0.7, "sentences": 0.15, "german": 0.15})
    spans = _spans(video)
    # Mostly the sound begins with the picture.
    speaks = 0 if rng.random() < 0.6 else int(rng.integers(len(spans)))
    # A sound that is shorter than the picture has no silence at its end.
    last = speaks + 1 if rng.random() < 0.5 else len(spans)
    sounds = tuple(
        _with_rest(rng, library, clip) if number == speaks else _quiet(rng, library)
        for number in range(last)
    )
    seen = videos.video_caption(video, frames)
    asked = choice(rng, {"both": 0.7, "said": 0.3})
    if asked == "both":
        texts = [(_video_prompt(rng), f"{seen} {quoted(clip)}")]
    else:
        texts = [("What is said in this video?", quoted(clip))]
    if rng.random() < 0.3:
        texts.append(("What does the voice say?", quoted(clip)))
    parts = _with_sound(rng, slot, texts[0][0], sounds, video)
    turns = [Turn(parts=parts, answer=texts[0][1])]
    turns += [Turn(parts=(text,), answer=answer) for text, answer in texts[1:]]
    return Conversation(turns=tuple(turns), pictures=stills, sounds=sounds)


def _clip_of_stills(
    rng: np.random.Generator, library: Library
) -> tuple[videos.Video, int, VideoSlot, tuple[Shown, ...]]:
    """A video, how many frames of it are shown, and those frames."""
    renderings: dict[int, tuple[Shown, Shown]] = {}

    def still(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
        pair = library.pictures.still(rng, size)
        renderings[id(pair[0].picture)] = pair
        return pair[0].picture

    frames = choice(rng, _FRAMES)
    video = videos.video(rng, still, frames)
    times = videos.sampled_times(video, frames)
    stills = tuple(one(rng, renderings[id(video.shown_at(seconds).picture)]) for seconds in times)
    lengths = (len(each.tokens) for each in stills)
    slot = VideoSlot(frames=tuple(zip(times, lengths, strict=True)))
    return video, frames, slot, stills


def _with_sound(
    rng: np.random.Generator,
    slot: VideoSlot,
    text: str,
    sounds: tuple[Heard, ...],
    video: videos.Video,
) -> tuple[str | VideoSlot | AudioSlot, ...]:
    """Each stretch's frames and then its sound, or all sounds behind the text."""
    heard = [audio(clip) for clip in sounds]
    if not heard:
        return slot, text
    if rng.random() < 0.15:
        return slot, text, *heard
    parts: list[VideoSlot | AudioSlot] = []
    begin = 0.0
    for number, end in enumerate(_spans(video)):
        shown = tuple(frame for frame in slot.frames if begin <= frame[0] < end)
        parts += [VideoSlot(frames=shown)] if shown else []
        parts += heard[number : number + 1]
        begin = end
    return *parts, text


def _spans(video: videos.Video) -> list[float]:
    """Where the equal stretches of a video end whose sound is heard at once, in seconds."""
    count = math.ceil(video.duration / LONGEST_CLIP)
    return [video.duration * (number + 1) / count for number in range(count)]


def _with_rest(rng: np.random.Generator, library: Library, clip: Heard) -> Heard:
    """A clip, now and then with a while in which nobody speaks before or behind it."""
    if rng.random() < 0.5:
        return clip
    rest = _quiet(rng, library)
    before = 0
    both = [clip.tokens, rest.tokens]
    if rng.random() >= 0.8:
        before = len(rest.tokens)
        both.reverse()
    tokens = np.concatenate(both)[:MOST_TOKENS]
    spelled = tuple((before + at, word) for at, word in clip.spelled if before + at < len(tokens))
    return replace(clip, tokens=tokens, spelled=spelled)


def _quiet(rng: np.random.Generator, library: Library) -> Heard:
    return library.clips.any(rng, {"no words": 1.0})


def _video_prompt(rng: np.random.Generator) -> str:
    return prompts.DESCRIBE_VIDEO if rng.random() < 0.7 else one(rng, _DESCRIBE_VIDEO)
