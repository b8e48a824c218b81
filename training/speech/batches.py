"""The clips in the order in which training hears them, clips of a length together.

The shards are heard in the order of their numbers, over and over; the batches of a few shards are
shuffled. So a batch is a function of its step, also while shards are still being made: a step waits
for the shards it needs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.seeds import generator

from .clips import TRAIN
from .shards import StoredClip, read_shard, shard_path

SHARDS_SHUFFLED = 4
FRAMES_PER_BATCH = 5120
LARGEST_BATCH = 40
SHORT_GROUPS = 2
"""The first groups are heard without their long clips: alignments are found on short ones."""
SHORT_FRAMES = 320
FRAMES_PER_TOKEN = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """``features`` ``[B, T, bins]``; ``mask`` ``[B, T]`` is true where they are real."""

    features: torch.Tensor
    mask: torch.Tensor
    token_lengths: torch.Tensor
    words: torch.Tensor
    word_lengths: torch.Tensor
    phonemes: torch.Tensor
    phoneme_lengths: torch.Tensor


class TrainingBatches:
    """The batches of the training shards in ``work``; steps are asked for in rising order."""

    def __init__(self, work: Path, shards: int) -> None:
        self.work = work
        self.shards = shards
        self.groups = max(1, shards // SHARDS_SHUFFLED)
        self._group = -1
        self._first = 0
        self._batches: list[list[StoredClip]] = []

    def clips(self, step: int) -> list[StoredClip]:
        while step >= self._first + len(self._batches):
            self._first += len(self._batches)
            self._group += 1
            self._batches = self._read(self._group)
        return self._batches[step - self._first]

    def _read(self, group: int) -> list[list[StoredClip]]:
        first = group % self.groups * SHARDS_SHUFFLED
        clips: list[StoredClip] = []
        for number in range(first, min(first + SHARDS_SHUFFLED, self.shards)):
            while not shard_path(self.work, TRAIN, number).exists():
                time.sleep(1.0)
            clips += read_shard(self.work, TRAIN, number)
        if group < SHORT_GROUPS:
            clips = [clip for clip in clips if len(clip.mel) <= SHORT_FRAMES]
        batches = by_length([len(clip.mel) for clip in clips])
        order = generator("audio tower", "order", group).permutation(len(batches))
        return [[clips[index] for index in batches[int(number)]] for number in order]


def by_length(lengths: Sequence[int]) -> list[list[int]]:
    """The indices of clips in batches of like lengths, each at most so many padded frames."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        full = (
            not batches
            or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > FRAMES_PER_BATCH
            or len(batches[-1]) == LARGEST_BATCH
        )
        if full:
            batches.append([])
        batches[-1].append(index)
    return batches


def collated(clips: Sequence[StoredClip]) -> Batch:
    lengths = [len(clip.mel) for clip in clips]
    features = np.zeros((len(clips), max(lengths), clips[0].mel.shape[1]), np.float32)
    for row, clip in enumerate(clips):
        features[row, : len(clip.mel)] = clip.mel
    frames = torch.tensor(lengths)
    return Batch(
        features=torch.from_numpy(features),
        mask=torch.arange(max(lengths))[None] < frames[:, None],
        token_lengths=(frames + FRAMES_PER_TOKEN - 1) // FRAMES_PER_TOKEN,
        words=torch.from_numpy(np.concatenate([clip.words for clip in clips])).long(),
        word_lengths=torch.tensor([len(clip.words) for clip in clips]),
        phonemes=torch.from_numpy(np.concatenate([clip.phonemes for clip in clips])).long(),
        phoneme_lengths=torch.tensor([len(clip.phonemes) for clip in clips]),
    )


def masked_in_places(batch: Batch, rng: np.random.Generator) -> torch.Tensor:
    """The features with a few bands and moments replaced by the mean of their clip."""
    features = batch.features.clone()
    count, frames, bins = features.shape
    means = features.mean((1, 2))
    for row in range(count):
        for _ in range(int(rng.integers(0, 3))):
            low = int(rng.integers(0, bins - 12))
            features[row, :, low : low + int(rng.integers(1, 13))] = means[row]
        for _ in range(int(rng.integers(0, 3))):
            start = int(rng.integers(0, max(1, frames - 8)))
            features[row, start : start + int(rng.integers(1, 9))] = means[row]
    return features
