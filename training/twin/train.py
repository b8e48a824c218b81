"""The stage that trains the twin, all of it at once.

python -m training.twin.digits WORK
torchrun --nproc-per-node 2 -m training.twin.train WORK
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import Gemma4UnifiedModel

from gemma4cli.processing.tokenizer import Tokenizer

from .. import processes
from .. import tokenizer as tokenizers
from ..ahead import ahead
from ..amounts import RECIPE
from ..device import at_once, compile_layers, half_precision, placed, steps_of
from ..head import Head
from ..loop import Loop, Numbers, Schedule
from ..muon import matrices_of
from ..pictures.heads import Heads, heads_loss
from ..pictures.labels import IGNORED
from ..seeds import generator
from ..start import progress, weights_of
from ..tokenizer import VOCABULARY
from . import digits
from .architecture import HIDDEN, twin_config
from .batches import (
    Example,
    Heard,
    clip_example,
    collate,
    crowded_example,
    frame_labels,
    picture_example,
    picture_labels,
    talk_example,
)
from .forward import Batch, Outputs, run
from .initial import initialise
from .names import COMPUTED, published_name
from .scenes import Sort

FOLDER = "twin"
MODEL = "model"
_PEAK = 2e-3
_MIDDLE = 4
"""Layers below the heads that teach soft tokens what they are."""
_HEAD_WEIGHT = {"picture": 0.2, "frame": 0.4}
_BATCH = (12, 8, 2)
"""Conversations in a step, of all processes together: pictures, clips, small talk."""
_CURRICULUM: tuple[tuple[float, dict[Sort, float]], ...] = (
    (0.0, {"dense": 0.9, "objects": 0.1}),
    (0.12, {"dense": 0.2, "plain": 0.1, "colorless": 0.05, "objects": 0.55, "count": 0.1}),
    (0.5, {"dense": 0.05, "plain": 0.1, "colorless": 0.05, "objects": 0.6, "count": 0.2}),
)
"""Shares of pictures from a part of the steps on; sparse ones alone teach no shapes."""
_WHERE_A_FINISHED_ONE_BEGINS = 0.5
"""The part of the curriculum that a twin which learns on has behind it."""
_MOST_QUESTIONS = 3
_SINGLE_DIGITS_UNTIL, _APART_UNTIL = 0.15, 0.3
"""Parts of the steps: clips of one digit first, then rows of digits, then fluent speech as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    tokenizer: Tokenizer
    stock: digits.Stock


def new_model(vocabulary: int) -> Gemma4UnifiedModel:
    # The fused attention of a CPU is slower with heads as small as these.
    model = Gemma4UnifiedModel._from_config(twin_config(vocabulary), attn_implementation="eager")
    initialise(model, generator("twin", "initial"))
    # The linear map behind this norm can do all that its weights could, and its input needs no
    # gradient as long as they rest.
    model.embed_vision.patch_ln1.requires_grad_(False)
    return model


def model_of(checkpoint: Path) -> Gemma4UnifiedModel:
    """A finished twin, to learn on. Raises RuntimeError for another model."""
    model = new_model(VOCABULARY)
    stored = weights_of(checkpoint, "")
    state = model.state_dict()
    computed = {name: value for name, value in state.items() if name.startswith(COMPUTED)}
    learnt = {
        name: stored[published] for name in state if (published := published_name(name)) in stored
    }
    model.load_state_dict(computed | learnt)
    return model


def examples(step: int, progress: float, material: Material) -> list[Example]:
    """What this process learns from in a step; all of them together have a batch.

    ``progress`` 0-1 is how much of the curriculum is over.
    """
    rng = generator("twin", "train", step, processes.rank())
    pictures, clips, talks = (at_once(many) // processes.count() for many in _BATCH)
    shares = [shares for start, shares in _CURRICULUM if progress >= start][-1]
    sorts = list(shares)
    chosen = rng.choice(len(sorts), pictures, p=list(shares.values()))
    most = 1 if progress < _SINGLE_DIGITS_UNTIL else digits.LONGEST_ROW
    fluent = 0.0 if progress < _APART_UNTIL else 0.5
    return [
        *(_shown(rng, sorts[i], material.tokenizer) for i in chosen),
        *(
            clip_example(
                rng, digits.clip(rng, material.stock, most=most, fluent=fluent), material.tokenizer
            )
            for _ in range(clips)
        ),
        *(talk_example(rng, material.tokenizer) for _ in range(talks)),
    ]


def _shown(rng: np.random.Generator, sort: Sort, tokenizer: Tokenizer) -> Example:
    if sort == "dense":
        return crowded_example(rng, tokenizer)
    return picture_example(rng, sort, tokenizer, int(rng.integers(_MOST_QUESTIONS + 1)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Examples as tensors: the batch, what its soft tokens are, and which rows have a clip."""

    batch: Batch
    picture_labels: dict[str, torch.Tensor]
    frame_labels: torch.Tensor
    of_clips: torch.Tensor


def given(of_step: Sequence[Example]) -> Given:
    return Given(
        batch=collate(of_step),
        picture_labels=picture_labels(of_step),
        frame_labels=frame_labels(of_step),
        of_clips=torch.tensor([isinstance(each.medium, Heard) for each in of_step]),
    )


def run_given(
    model: Gemma4UnifiedModel, known: Given
) -> tuple[Outputs, torch.Tensor, dict[str, torch.Tensor]]:
    """Outputs, the answers' loss, and how many of the answers' tokens are right."""
    batch = known.batch
    with half_precision():
        outputs = run(model, batch, middle=_MIDDLE)
    loss = nn.functional.cross_entropy(outputs.logits, batch.targets)
    right = (outputs.logits.argmax(-1) == batch.targets).float()
    heard = known.of_clips[batch.answers.rows]
    numbers = {"answers": loss, "right": right[~heard].mean(), "digits": right[heard].mean()}
    return outputs, loss, numbers


def train(folder: Path, steps: int, start: Path | None = None) -> None:
    material = Material(
        tokenizer=tokenizers.load(folder, start),
        stock=digits.load(folder, held_out=False),
    )
    model = new_model(VOCABULARY) if start is None else model_of(start)
    learnt = 0.0 if start is None else _WHERE_A_FINISHED_ONE_BEGINS
    heads = Heads(HIDDEN, generator("twin", "heads"))
    frame_head = Head(HIDDEN, digits.FRAME_CLASSES, generator("twin", "frame head"))
    torch._dynamo.config.recompile_limit = 64
    compile_layers(model.language_model.layers)
    loop = Loop(
        folder / FOLDER,
        {MODEL: model, "heads": heads, "frame head": frame_head},
        Schedule(steps=steps, peak=_PEAK, warmup=150, decay_from=0.6),
        matrices=matrices_of(model.language_model.layers),
        save_every=250,
        log_every=50,
    )

    def given_of_step(step: int) -> Given:
        return given(examples(step, progress(step, steps, learnt), material))

    made = ahead(given_of_step, range(loop.step, steps))

    def loss_of_step(step: int) -> tuple[torch.Tensor, Numbers]:
        known = placed(next(made))
        outputs, loss, numbers = run_given(model, known)
        of_heads, each = heads_loss(heads(outputs.image.float()), known.picture_labels)
        classes = known.frame_labels
        guesses = frame_head(outputs.audio.float())
        of_frames = nn.functional.cross_entropy(guesses, classes, ignore_index=IGNORED)
        right = guesses.argmax(-1) == classes
        numbers |= {
            "shape": each["shape"],
            "column": each["column"],
            "frames": right[classes != IGNORED].float().mean(),
        }
        total = loss + _HEAD_WEIGHT["picture"] * of_heads + _HEAD_WEIGHT["frame"] * of_frames
        return total, numbers

    loop.run(loss_of_step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=steps_of(RECIPE.twin))
    parser.add_argument("--start", type=Path, help="a checkpoint that learns on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    processes.join()
    train(arguments.work, arguments.steps, arguments.start)


if __name__ == "__main__":
    main()
