"""Soft tokens of the trained vision tower, kept so that the language model can learn from them.

python -m training.pictures.features WORK
torchrun --nproc-per-node 2 -m training.pictures.features WORK
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers.models.gemma4.modeling_gemma4 import Gemma4VisionModel

from .. import processes
from ..amounts import RECIPE
from ..architecture import vision_config
from ..choosing import choice
from ..clip_bounds import set_clip_bounds
from ..device import compile_layers, device, half_precision
from ..loop import trained
from ..seeds import generator
from .batches import patches, soft_grid
from .description import Picture, from_json, to_json
from .drawing import drawn
from .labels import label_rows
from .scenes import VIDEO_SIZES, picture, still
from .vision_tower import FOLDER as TOWER

PICTURES = "picture_features"
STILLS = "still_features"

_BUDGETS = {70: 0.52, 140: 0.18, 280: 0.17, 560: 0.09, 1120: 0.04}
_STILL_BUDGET = 70
_SHARD = 500
_BATCH_TOKENS = 560
_CALIBRATION = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """A picture as it was shown to the tower: pixels uint8 ``[H, W, 3]``."""

    picture: Picture
    pixels: npt.NDArray[np.uint8]
    budget: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A picture with the tower's output for it, float16 ``[rows * columns, 128]``.

    ``labels`` int8 ``[rows * columns, heads]`` are what each of these soft tokens shows.
    """

    picture: Picture
    budget: int
    grid: tuple[int, int]
    tokens: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int8]


def finished_tower(work: Path) -> Gemma4VisionModel:
    """The trained tower as it is shipped: weights of bfloat16 precision, clip bounds set."""
    model = Gemma4VisionModel(vision_config())
    model.load_state_dict(trained(work / TOWER, "tower"))
    model.to(device())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    seen = _drawn_pictures(0, _CALIBRATION, "calibration")
    set_clip_bounds(model, (_inputs([each]) for each in seen))
    return model.eval()


def load(folder: Path) -> list[Shown]:
    """What ``write_shard`` wrote, all shards, in order."""
    result: list[Shown] = []
    for lines in sorted(folder.glob("*.jsonl")):
        stored = np.load(lines.with_suffix(".npz"))
        tokens, labels = stored["tokens"], stored["labels"]
        offsets, grids = stored["offsets"], stored["grids"]
        for number, line in enumerate(lines.read_text().splitlines()):
            rows, columns = grids[number]
            at = slice(offsets[number], offsets[number + 1])
            result.append(
                Shown(
                    picture=from_json(json.loads(line)),
                    budget=int(stored["budgets"][number]),
                    grid=(int(rows), int(columns)),
                    tokens=tokens[at],
                    labels=labels[at],
                )
            )
    return result


def _drawn_pictures(first: int, count: int, use: str) -> Iterator[Rendering]:
    for number in range(first, first + count):
        rng = generator("pictures", use, number)
        budget = choice(rng, _BUDGETS)
        shown = picture(rng)
        yield Rendering(picture=shown, pixels=drawn(shown, rng), budget=budget)


def _training_pictures(first: int, count: int) -> Iterator[Rendering]:
    return _drawn_pictures(first, count, "train")


def _drawn_stills(first: int, count: int) -> Iterator[Rendering]:
    """Every still twice in a row, with noise of its own each time; sizes take turns."""
    for number in range(first, first + count):
        rng = generator("stills", number)
        shown = still(rng, VIDEO_SIZES[number % len(VIDEO_SIZES)])
        for _ in range(2):
            yield Rendering(picture=shown, pixels=drawn(shown, rng), budget=_STILL_BUDGET)


def _inputs(renderings: list[Rendering]) -> dict[str, torch.Tensor]:
    """The tower's arguments for pictures that have the same grid."""
    shown = [patches(each.pixels, each.budget) for each in renderings]
    return {
        "pixel_values": torch.from_numpy(np.stack([pixels for pixels, _ in shown])).to(device()),
        "pixel_position_ids": torch.from_numpy(np.stack([where for _, where in shown])).to(
            device()
        ),
    }


@torch.no_grad()
def encode(model: Gemma4VisionModel, renderings: list[Rendering]) -> list[Shown]:
    """The tower's output for each rendering; those of equal grid go through it together."""
    by_grid: dict[tuple[int, tuple[int, int]], list[int]] = {}
    for number, each in enumerate(renderings):
        grid = soft_grid(each.picture.height, each.picture.width, each.budget)
        by_grid.setdefault((each.budget, grid), []).append(number)
    result: dict[int, Shown] = {}
    for (budget, grid), numbers in by_grid.items():
        soft_tokens = grid[0] * grid[1]
        size = max(1, _BATCH_TOKENS // soft_tokens)
        for start in range(0, len(numbers), size):
            some = numbers[start : start + size]
            with half_precision():
                output = model(**_inputs([renderings[i] for i in some]))
            tokens = output.last_hidden_state.reshape(len(some), soft_tokens, -1)
            for number, of_one in zip(some, tokens.half().cpu().numpy(), strict=True):
                seen = renderings[number].picture
                result[number] = Shown(
                    picture=seen,
                    budget=budget,
                    grid=grid,
                    tokens=of_one,
                    labels=label_rows(seen, grid),
                )
    return [result[number] for number in range(len(renderings))]


def write_shard(folder: Path, number: int, shown: list[Shown]) -> None:
    """A .npz with what the tower gave, and a .jsonl with the pictures, which is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"shard-{number:04d}"
    lengths = [len(each.tokens) for each in shown]
    np.savez(
        folder / f"{name}.npz",
        tokens=np.concatenate([each.tokens for each in shown]),
        labels=np.concatenate([each.labels for each in shown]),
        offsets=np.cumsum([0, *lengths]),
        grids=np.array([each.grid for each in shown]),
        budgets=np.array([each.budget for each in shown]),
    )
    partial = folder / f"{name}.partial"
    partial.write_text("".join(json.dumps(to_json(each.picture)) + "\n" for each in shown))
    os.replace(partial, folder / f"{name}.jsonl")


def is_done(folder: Path, number: int) -> bool:
    return (folder / f"shard-{number:04d}.jsonl").exists()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--count", type=int, default=RECIPE.pictures)
    parser.add_argument("--stills", type=int, default=RECIPE.stills)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = finished_tower(arguments.work)
    compile_layers(model.encoder.layers)
    processes.join()
    shards = _shards(arguments.count, arguments.stills)
    for folder, number, first, count in processes.share(shards):
        if is_done(arguments.work / folder, number):
            continue
        drawn_ones = _drawn_stills if folder == STILLS else _training_pictures
        write_shard(arguments.work / folder, number, encode(model, list(drawn_ones(first, count))))
        print(f"{folder}: {first + count}", flush=True)


def _shards(pictures: int, stills: int) -> list[tuple[str, int, int, int]]:
    """(folder, number, first, count) of every shard, both folders growing side by side."""
    shards = [
        (folder, number, number * _SHARD, min(_SHARD, total - number * _SHARD), total)
        for folder, total in ((PICTURES, pictures), (STILLS, stills))
        for number in range(-(-total // _SHARD))
    ]
    shards.sort(key=lambda shard: shard[2] / shard[4])
    return [shard[:4] for shard in shards]


if __name__ == "__main__":
    main()
