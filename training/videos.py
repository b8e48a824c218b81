"""Videos of still scenes: descriptions, captions with time stamps, questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gemma4cli.processing.prompt import time_label
from gemma4cli.processing.video import frame_times

from .choosing import one
from .pictures.captions import NUMBERS, phrase, sentence
from .pictures.description import Picture
from .pictures.scenes import VIDEO_SIZES, still

FRAMES = 6
"""How many frames of a clip the built-in model is shown."""

_MOST_SCENES = 4
_RATES = (10, 12, 15, 24, 25, 30)
_LENGTHS = (2, 24)
# A frame may begin this much after the time that is asked for.
_TOLERANCE = 0.0005


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A picture that stays from ``start``, in seconds, until the next scene or the end."""

    picture: Picture
    start: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """Scenes with hard cuts between them; ``duration`` in seconds, ``rate`` in frames a second."""

    scenes: tuple[Scene, ...]
    duration: float
    rate: int

    def shown_at(self, seconds: float) -> Scene:
        """The scene of the frame that is on the screen at a time."""
        return [scene for scene in self.scenes if scene.start <= seconds + _TOLERANCE][-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Appearance:
    """A scene and the first time stamp in the prompt at which it is shown."""

    picture: Picture
    stamp: str


def video(
    rng: np.random.Generator,
    draw: Callable[[np.random.Generator, tuple[int, int]], Picture] = still,
    frames: int = FRAMES,
) -> Video:
    """A random video whose every scene is seen in one of ``frames`` frames.

    ``draw`` gives the scenes' pictures for a size in pixels.
    """
    count = int(rng.integers(1, min(_MOST_SCENES, frames) + 1))
    while True:
        length = float(rng.uniform(*_LENGTHS))
        if rng.random() < 0.4:
            length = float(round(length))
        rate = one(rng, _RATES)
        total = max(frames, round(length * rate))
        cuts = np.sort(rng.choice(np.arange(1, total), count - 1, replace=False))
        if rng.random() < 0.5:
            # Half of the clips are cut at whole seconds, as people cut them.
            cuts = np.unique(np.round(cuts / rate) * rate)
        starts = [0.0, *(float(cut) / rate for cut in cuts if 0 < cut < total)]
        size = one(rng, VIDEO_SIZES)
        scenes = tuple(Scene(picture=draw(rng, size), start=start) for start in starts)
        made = Video(scenes=scenes, duration=total / rate, rate=rate)
        if len(scenes) == count and _is_clear(made, frames):
            return made


def sampled_times(shown: Video, frames: int = FRAMES) -> tuple[float, ...]:
    """The times in seconds at which the frames that the model is given begin."""
    wanted = frame_times(
        duration=shown.duration,
        frame_count=round(shown.duration * shown.rate),
        max_frames=frames,
    )
    return tuple(int((seconds + _TOLERANCE) * shown.rate) / shown.rate for seconds in wanted)


def appearances(shown: Video, frames: int = FRAMES) -> list[Appearance]:
    """Every scene that is sampled, in order, with the stamp of its first frame."""
    found: list[Appearance] = []
    last: Scene | None = None
    for seconds in sampled_times(shown, frames):
        scene = shown.shown_at(seconds)
        if scene is not last:
            found.append(Appearance(picture=scene.picture, stamp=time_label(seconds)))
            last = scene
    return found


def _is_clear(shown: Video, frames: int) -> bool:
    """Whether every scene is sampled, and has a stamp and a caption that no other has."""
    seen = appearances(shown, frames)
    stamps = {each.stamp for each in seen}
    phrases = {phrase(each.picture) for each in seen}
    return len(seen) == len(shown.scenes) == len(stamps) == len(phrases)


def video_caption(shown: Video, frames: int = FRAMES) -> str:
    """A sentence for each scene: At 00:00 a red circle in the center. At 00:03 three stars."""
    return " ".join(
        f"At {each.stamp} {phrase(each.picture)}." for each in appearances(shown, frames)
    )


def video_questions(
    shown: Video, rng: np.random.Generator, frames: int = FRAMES
) -> list[tuple[str, str]]:
    """One question of each kind that has one right answer, with that answer."""
    seen = appearances(shown, frames)
    shot = one(rng, seen)
    asked = [("How many scenes are there?", f"{NUMBERS[len(seen)]}.")]
    if _stamp_is_clear(shown, shot, frames):
        asked.append((f"What is shown at {shot.stamp}?", sentence(phrase(shot.picture))))
    subject = _subject(shot, seen)
    if subject is not None:
        asked.append((f"When {subject}?", f"At {shot.stamp}."))
    return asked


def _stamp_is_clear(shown: Video, shot: Appearance, frames: int) -> bool:
    """Whether all frames with this stamp show the same scene."""
    scenes = [
        shown.shown_at(seconds)
        for seconds in sampled_times(shown, frames)
        if time_label(seconds) == shot.stamp
    ]
    return all(scene is scenes[0] for scene in scenes)


def _subject(shot: Appearance, seen: list[Appearance]) -> str | None:
    """The words "does the red star appear", of what is in one scene only; None without such."""
    if shot.picture.lettering:
        return f"does {phrase(shot.picture)} appear"
    others = [thing for each in seen if each is not shot for thing in each.picture.things]
    for thing in shot.picture.things:
        if all(thing.look != other.look for other in others):
            several = sum(thing.look == other.look for other in shot.picture.things) > 1
            verb, ending = ("do", "s") if several else ("does", "")
            alone = all(thing.shape != o.shape for o in others) and all(
                thing.look == o.look for o in shot.picture.things if o.shape == thing.shape
            )
            name = thing.shape if alone else f"{thing.color} {thing.shape}"
            return f"{verb} the {name}{ending} appear"
    return None
