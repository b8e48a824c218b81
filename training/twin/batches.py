"""Training batches of the twin: conversations about pictures and clips, and small talk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from gemma4cli.processing.audio import audio_features
from gemma4cli.processing.config import RawAudioConfig, VisionProcessorConfig
from gemma4cli.processing.image import fit, patch_features
from gemma4cli.processing.prompt import ImageSlot
from gemma4cli.processing.tokenizer import Tokenizer

from ..checkpoint import BUDGET
from ..language.dialogues import Encoded, Turn
from ..pictures.description import Picture
from ..pictures.drawing import drawn
from ..pictures.labels import CLASSES, labels
from ..special_tokens import ID_OF
from .architecture import SAMPLES_PER_TOKEN
from .dialogues import about_clip, about_picture, encoded
from .digits import Clip
from .forward import NO_BLOCK, Batch, Places
from .scenes import COLORLESS, Sort, scene
from .small_talk import talk

_VISION = VisionProcessorConfig()
_PATCH = 3 * (_VISION.patch_size * _VISION.pooling) ** 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Seen:
    """A picture's squares float32 ``[S, 6912]``, their (x, y) int64 ``[S, 2]``, labels ``[S]``."""

    patches: npt.NDArray[np.float32]
    positions: npt.NDArray[np.int64]
    labels: dict[str, npt.NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Heard:
    """A clip's frames float32 ``[T, 640]`` and the class of each int64 ``[T]``."""

    frames: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """A conversation and the one medium it may be about."""

    encoded: Encoded
    medium: Seen | Heard | None = None


def seen(picture: Picture, rng: np.random.Generator) -> Seen:
    """What the model gets of a picture; ``rng`` decides on noise."""
    fitted = fit(drawn(picture, rng), BUDGET, _VISION)
    features = patch_features(fitted, _VISION, unified=True)
    rows, columns = features.grid
    y, x = np.mgrid[:rows, :columns]
    # A square without color has nothing that could be labelled.
    known = replace(picture, plain=None) if picture.plain == COLORLESS else picture
    return Seen(
        patches=features.patches,
        positions=np.stack([x.ravel(), y.ravel()], axis=1),
        labels={name: each.reshape(-1) for name, each in labels(known, features.grid).items()},
    )


def picture_example(
    rng: np.random.Generator, sort: Sort, tokenizer: Tokenizer, questions: int
) -> Example:
    picture = scene(rng, sort)
    medium = seen(picture, rng)
    turns = about_picture(picture, len(medium.patches), rng, questions)
    return Example(encoded=encoded(turns, tokenizer), medium=medium)


def crowded_example(rng: np.random.Generator, tokenizer: Tokenizer) -> Example:
    """A crowded picture, of which nothing is said: it teaches squares what they show."""
    medium = seen(scene(rng, "dense"), rng)
    turn = Turn(parts=(ImageSlot(soft_tokens=len(medium.patches)),), answer="")
    whole = encoded([turn], tokenizer)
    shown = replace(whole, ids=whole.ids[: whole.spans[0].end], answers=())
    return Example(encoded=shown, medium=medium)


def heard(clip: Clip) -> Heard:
    return Heard(frames=audio_features(clip.samples, RawAudioConfig()).frames, labels=clip.labels)


def clip_example(rng: np.random.Generator, clip: Clip, tokenizer: Tokenizer) -> Example:
    medium = heard(clip)
    turns = about_clip(clip.written, len(medium.frames), rng)
    return Example(encoded=encoded(turns, tokenizer), medium=medium)


def talk_example(rng: np.random.Generator, tokenizer: Tokenizer) -> Example:
    question, answer = talk(rng)
    return Example(encoded=encoded([Turn(parts=(question,), answer=answer)], tokenizer))


def collate(examples: Sequence[Example]) -> Batch:
    """Examples as one batch; soft tokens in the order of the examples."""
    length = max(len(each.encoded.ids) for each in examples)
    ids = np.full((len(examples), length), ID_OF["<pad>"])
    blocks = np.full((len(examples), length), NO_BLOCK)
    places: dict[type, list[tuple[int, int]]] = {Seen: [], Heard: []}
    answers: list[tuple[int, int]] = []
    targets: list[int] = []
    for row, each in enumerate(examples):
        talk = each.encoded
        ids[row, : len(talk.ids)] = talk.ids
        for span in talk.spans:
            ids[row, span.start : span.end] = ID_OF["<pad>"]
            if isinstance(each.medium, Seen):
                blocks[row, span.start : span.end] = span.item
            places[type(each.medium)] += [(row, column) for column in range(span.start, span.end)]
        for answer in talk.answers:
            answers += [(row, column - 1) for column in answer]
            targets += [talk.ids[column] for column in answer]
    pictures = [each.medium for each in examples if isinstance(each.medium, Seen)]
    clips = [each.medium for each in examples if isinstance(each.medium, Heard)]
    return Batch(
        ids=torch.from_numpy(ids),
        blocks=torch.from_numpy(blocks),
        patches=_joined([each.patches for each in pictures], np.zeros((0, _PATCH), np.float32)),
        positions=_joined([each.positions for each in pictures], np.zeros((0, 2), np.int64)),
        image=_places(places[Seen]),
        frames=_joined(
            [each.frames for each in clips], np.zeros((0, SAMPLES_PER_TOKEN), np.float32)
        ),
        audio=_places(places[Heard]),
        answers=_places(answers),
        targets=torch.tensor(targets, dtype=torch.int64),
    )


def picture_labels(examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Labels int64 ``[S]`` of all pictures' squares."""
    pictures = [each.medium for each in examples if isinstance(each.medium, Seen)]
    return {
        name: _joined([each.labels[name] for each in pictures], np.zeros(0, np.int64))
        for name in CLASSES
    }


def frame_labels(examples: Sequence[Example]) -> torch.Tensor:
    """Classes int64 ``[T]`` of all clips' frames."""
    clips = [each.medium for each in examples if isinstance(each.medium, Heard)]
    return _joined([each.labels for each in clips], np.zeros(0, np.int64))


def _joined(arrays: Sequence[npt.NDArray], nothing: npt.NDArray) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([*arrays, nothing]))


def _places(pairs: Sequence[tuple[int, int]]) -> Places:
    table = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return Places(rows=table[:, 0], columns=table[:, 1])
