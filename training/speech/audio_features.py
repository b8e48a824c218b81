"""Soft tokens of the trained audio tower, kept so that the language model can learn from them.

``python -m training.speech.audio_features WORK`` hears what training has.
Every file of clips gives a ``.npy`` with the tokens of all its clips and a ``.json`` with the texts
and the place of each clip, which is written last. Files that are there already are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers.models.gemma4.modeling_gemma4 import Gemma4AudioModel

from training import processes
from training.architecture import audio_config
from training.clip_bounds import set_clip_bounds
from training.device import device, half_precision, placed
from training.loop import trained
from training.words.sentence import word_alphabet

from .audio_tower import FOLDER as TOWER
from .audio_tower import words_read
from .batches import by_length, collated
from .channels_last import use_channels_last
from .clips import LEARNT_FROM, TRAIN
from .shards import StoredClip, add_counts, learnt_from, read_shard, set_folder
from .targets import BLANK

FOLDER = "audio_features"
_CALIBRATION_CLIPS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """A clip's soft tokens float16 ``[T, width]`` as the tower gives them, and what is said in it.

    ``written`` is the transcript and ``english`` the same in English; both are empty where nobody
    speaks. ``spelled`` are the words that the tower's own head reads, each with the number of the
    soft token on which it begins.
    """

    tokens: npt.NDArray[np.float16]
    spelled: tuple[tuple[int, str], ...]
    written: str
    english: str
    language: str
    kind: str


def finished_tower(work: Path) -> Gemma4AudioModel:
    """The trained tower as it is shipped: weights of bfloat16 precision, clip bounds set."""
    tower = Gemma4AudioModel(audio_config())
    use_channels_last(tower)
    # The bounds in the state are the open ones of training.
    tower.load_state_dict(trained(work / TOWER, "tower"))
    tower.to(device())
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.copy_(parameter.bfloat16())
    clips = read_shard(work, TRAIN, 0)[:_CALIBRATION_CLIPS]
    batches = [placed(collated([clip])) for clip in clips]
    set_clip_bounds(
        tower, ({"input_features": b.features, "attention_mask": b.mask} for b in batches)
    )
    return tower.eval()


def word_head(work: Path) -> nn.Linear:
    """The linear head that spelled words on the trained tower's output."""
    weights = trained(work / TOWER, "words")
    head = nn.Linear(weights["weight"].shape[1], weights["weight"].shape[0])
    head.load_state_dict(weights)
    return head.to(device())


def spelled(scores: torch.Tensor) -> tuple[tuple[int, str], ...]:
    """The greedy path through the scores ``[T, letters]`` of one clip: where each word begins."""
    alphabet = word_alphabet()
    tokens, words = words_read(scores, len(scores))
    return tuple(
        (token, alphabet[word - BLANK - 1])
        for token, word in zip(tokens.tolist(), words.tolist(), strict=True)
    )


@torch.no_grad()
def heard(tower: Gemma4AudioModel, words: nn.Linear, clips: list[StoredClip]) -> list[Heard]:
    """What the tower makes of ``clips``, in their order; ``words`` is its head."""
    result: dict[int, Heard] = {}
    for indices in by_length([len(clip.mel) for clip in clips]):
        batch = placed(collated([clips[index] for index in indices]))
        with half_precision():
            output = tower(batch.features, attention_mask=batch.mask).last_hidden_state
        scores = words(output.float()).cpu()
        tokens = output.half().cpu().numpy()
        for row, index in enumerate(indices):
            text = clips[index].text
            length = int(batch.token_lengths[row])
            result[index] = Heard(
                tokens=tokens[row, :length],
                spelled=spelled(scores[row, :length]),
                written=text.written,
                english=text.english,
                language=text.language,
                kind=text.kind,
            )
    return [result[index] for index in range(len(clips))]


def features_path(work: Path, set_name: str, number: int) -> Path:
    return work / FOLDER / set_folder(set_name) / f"{number:05d}.json"


def write_features(path: Path, clips: list[Heard]) -> None:
    """The tokens beside ``path``, then ``path`` itself, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path.with_suffix(".npy"), np.concatenate([clip.tokens for clip in clips]))
    rows = [
        {
            "tokens": len(clip.tokens),
            "spelled": clip.spelled,
            "written": clip.written,
            "english": clip.english,
            "language": clip.language,
            "kind": clip.kind,
        }
        for clip in clips
    ]
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(rows, ensure_ascii=False))
    os.replace(partial, path)


def load(work: Path) -> list[Heard]:
    """All clips of training that are there, in order; the tokens stay on disk until read."""
    clips: list[Heard] = []
    folders = (features_path(work, set_name, 0).parent for set_name in LEARNT_FROM)
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        rows = json.loads(path.read_text())
        tokens = np.load(path.with_suffix(".npy"), mmap_mode="r")
        parts = np.split(tokens, np.cumsum([row.pop("tokens") for row in rows])[:-1])
        for part, row in zip(parts, rows, strict=True):
            said = tuple((int(start), str(word)) for start, word in row.pop("spelled"))
            clips.append(Heard(tokens=part, spelled=said, **row))
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep what the audio tower makes of the clips.")
    parser.add_argument("work", type=Path, help="folder for working data")
    add_counts(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work: Path = arguments.work
    tower = finished_tower(work)
    words = word_head(work)
    processes.join()
    for set_name, number in processes.share(learnt_from(arguments)):
        path = features_path(work, set_name, number)
        if not path.exists():
            write_features(path, heard(tower, words, read_shard(work, set_name, number)))
            sys.stdout.write(f"{set_name} {number}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
