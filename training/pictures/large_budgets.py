"""Large budgets for a tower that has learnt, while what it gives at small ones stays as it is.

python -m training.pictures.large_budgets WORK --steps 2000

A large picture is mostly shown through windows: some of its soft tokens, each where it is in the
whole, which costs a tenth of it. The tower's heads stay, and at small budgets its output is held
to what it was, so that the language model has nothing to learn anew.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers.models.gemma4.modeling_gemma4 import Gemma4VisionModel

from .. import processes
from ..ahead import ahead
from ..choosing import choice
from ..device import compile_layers, device, placed, steps_of
from ..loop import Loop, Numbers, Schedule, trained
from ..seeds import generator
from . import vision_tower
from .batches import VISION, Batch, batch
from .description import Kind
from .heads import Heads, heads_loss
from .labels import IGNORED
from .scenes import SHARES
from .vision_tower import new_heads, new_tower, tokens_of

FOLDER = "vision_tower_large_budgets"
_PEAK = 4e-4
_KINDS: dict[Kind, float] = {"objects": 0.3, "count": 0.3, "groups": 0.3, "text": 0.1}
_LARGE = {560: 0.25, 1120: 0.75}
_SMALL = {70: 0.5, 140: 0.25, 280: 0.25}
_WHOLE = 0.15
"""The part of the large pictures that are shown whole."""
_WINDOWS = 2
_SMALLEST_WINDOW, _LARGEST_WINDOW = 12, 19
"""Rows and columns of soft tokens."""
_SEEN_IN_A_WINDOW = frozenset({"shape", "color", "center", "first", "second"})
"""What can be told without the rest of the picture."""
_KEPT_WEIGHT = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """Pictures at a small budget, and a large one: whole, or windows of it."""

    small: Batch
    large: tuple[Batch, ...]


def lesson(rng: np.random.Generator) -> Lesson:
    small = choice(rng, _SMALL)
    kinds = [choice(rng, SHARES) for _ in range(4 * 70 // small)]
    whole = batch(rng, [choice(rng, _KINDS)], choice(rng, _LARGE))
    uncut = rng.random() < _WHOLE
    return Lesson(
        small=batch(rng, kinds, small),
        large=(whole,) if uncut else tuple(window(rng, whole) for _ in range(_WINDOWS)),
    )


def window(rng: np.random.Generator, whole: Batch) -> Batch:
    """Some neighbouring soft tokens of a batch of one picture, with their places in it."""
    x, y = (whole.positions[0] // VISION.pooling).unbind(-1)
    columns, rows = int(x.max()) + 1, int(y.max()) + 1
    left, right = _span(rng, columns)
    top, bottom = _span(rng, rows)
    inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    labels = {}
    for name, of_whole in whole.labels.items():
        of_window = of_whole.reshape(rows, columns)[top:bottom, left:right].flatten()
        seen = name in _SEEN_IN_A_WINDOW
        labels[name] = of_window if seen else torch.full_like(of_window, IGNORED)
    return replace(
        whole,
        pixels=whole.pixels[:, inside],
        positions=whole.positions[:, inside],
        labels=labels,
    )


def _span(rng: np.random.Generator, length: int) -> tuple[int, int]:
    size = min(length, int(rng.integers(_SMALLEST_WINDOW, _LARGEST_WINDOW + 1)))
    first = int(rng.integers(0, length - size + 1))
    return first, first + size


def take_windows(tower: Gemma4VisionModel) -> None:
    """Let a tower pool the patches of a window, whose places do not begin at zero."""
    pool = tower.pooler._avg_pool_by_positions

    def from_the_window(
        states: torch.Tensor, positions: torch.Tensor, length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return pool(states, positions - positions.amin(1, keepdim=True), length)

    tower.pooler._avg_pool_by_positions = from_the_window


def train(work: Path, steps: int) -> None:
    tower = new_tower()
    tower.load_state_dict(trained(work / vision_tower.FOLDER, "tower"))
    heads = new_heads(tower)
    heads.load_state_dict(trained(work / vision_tower.FOLDER, "heads"))
    finished = copy.deepcopy(tower)
    for stays in (heads, finished):
        stays.to(device()).requires_grad_(False)
    take_windows(tower)
    for model in (tower, finished):
        compile_layers(model.encoder.layers)
    schedule = Schedule(steps=steps, peak=_PEAK, warmup=30, decay_from=0.0)
    loop = Loop(work / FOLDER, {"tower": tower}, schedule, weight_decay=0.0, save_every=100)

    def lesson_of_step(step: int) -> Lesson:
        return lesson(generator("vision", "large budgets", step, processes.rank()))

    made = ahead(lesson_of_step, range(loop.step, steps))
    loop.run(lambda _: loss_of(tower, finished, heads, placed(next(made))))


def loss_of(
    tower: Gemma4VisionModel, finished: Gemma4VisionModel, heads: Heads, given: Lesson
) -> tuple[torch.Tensor, Numbers]:
    """What the heads do not see in the large picture, and how far the small ones have moved.

    The latter is in parts of the variance of what the finished tower gives.
    """
    seen = [heads_loss(heads(tokens_of(tower, part)), part.labels)[0] for part in given.large]
    large = torch.stack(seen).mean()
    with torch.no_grad():
        before = tokens_of(finished, given.small)
    moved = (tokens_of(tower, given.small) - before).pow(2).mean() / before.var()
    return large + _KEPT_WEIGHT * moved, {"large": large, "moved": moved}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=steps_of(2000))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    processes.join()
    train(arguments.work, arguments.steps)


if __name__ == "__main__":
    main()
