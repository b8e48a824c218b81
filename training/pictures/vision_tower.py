"""The stage that trains the vision tower alone, by what every soft token should know.

python -m training.pictures.vision_tower WORK
torchrun --nproc-per-node 2 -m training.pictures.vision_tower WORK
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers.models.gemma4.modeling_gemma4 import Gemma4VisionModel

from .. import processes
from ..ahead import ahead
from ..amounts import RECIPE
from ..architecture import vision_config
from ..choosing import choice
from ..device import at_once, compile_layers, half_precision, placed, steps_of
from ..loop import Loop, Numbers, Schedule
from ..muon import matrices_of
from ..seeds import generator
from ..start import heads_from, progress, start_from
from .batches import Batch, batch
from .description import KINDS, Kind
from .heads import Heads, heads_loss
from .initial_vision import initialise_vision_tower
from .labels import CLASSES, IGNORED

FOLDER = "vision_tower"
HEADS = ("heads",)
_BATCH = 8
_PEAK = 2e-3
_DENSE_UNTIL = 0.21
"""The part of the steps in which most pictures are crowded; sparse ones teach too little."""
_CURRICULUM: tuple[tuple[float, dict[Kind, float]], ...] = (
    (0.0, {"dense": 0.72, "page": 0.13, "objects": 0.05, "count": 0.05, "groups": 0.05}),
    (0.05, {"dense": 0.55, "page": 0.25, "objects": 0.05, "count": 0.08, "groups": 0.07}),
    (0.085, {"dense": 0.10, "page": 0.68, "count": 0.12, "groups": 0.10}),
    (
        _DENSE_UNTIL,
        {
            "dense": 0.05,
            "page": 0.42,
            "objects": 0.08,
            "count": 0.10,
            "groups": 0.15,
            "text": 0.18,
            "plain": 0.02,
        },
    ),
)
"""Shares of the kinds from a part of the steps on. Lettering comes in once shapes are known.

A page has as many characters as eight pictures with a word.
"""
_BUDGETS = {70: 0.86, 140: 0.08, 280: 0.05, 560: 0.01}
_LATER_BUDGETS = {70: 0.42, 140: 0.20, 280: 0.24, 560: 0.10, 1120: 0.04}
_LATER = 0.65
"""The part of the steps from which on large budgets are common: most is learnt from small ones."""


def new_tower() -> Gemma4VisionModel:
    model = Gemma4VisionModel(vision_config())
    initialise_vision_tower(model, generator("vision", "initial"))
    return model


def new_heads(model: Gemma4VisionModel) -> Heads:
    return Heads(model.config.hidden_size, generator("vision", "heads"))


def training_batch(step: int, progress: float) -> Batch:
    """This process's part of a step: about as many patches whatever the budget is.

    ``progress`` 0-1 is how much of the curriculum is over. The budget is the same for all
    processes, so that none waits for another.
    """
    rng = generator("vision", "train", step)
    shares = [shares for start, shares in _CURRICULUM if progress >= start][-1]
    budget = 70
    if progress >= _DENSE_UNTIL:
        budgets = _LATER_BUDGETS if progress >= _LATER else _BUDGETS
        budget = choice(rng, budgets)
    if processes.rank():
        rng = generator("vision", "train", step, processes.rank())
    names = list(shares)
    many = max(1, at_once(_BATCH) * 70 // budget // processes.count())
    chosen = rng.choice(len(names), many, p=list(shares.values()))
    return batch(rng, [names[i] for i in chosen], budget)


def tokens_of(model: Gemma4VisionModel, given: Batch) -> torch.Tensor:
    """Soft tokens ``[B * tokens, width]`` in reading order, one picture after the other."""
    with half_precision():
        output = model(pixel_values=given.pixels, pixel_position_ids=given.positions)
    tokens: torch.Tensor = output.last_hidden_state
    return tokens.float()


def train(
    folder: Path,
    steps: int,
    held_out_every: int,
    *,
    start: Path | None = None,
    kept_heads: Path | None = None,
) -> None:
    model = new_tower()
    if start is not None:
        start_from(model, start, "model.vision_tower.")
    schedule = Schedule(steps=steps, peak=_PEAK, warmup=100)
    # A tower that learns on has the crowded pictures and the small budgets behind it.
    learnt = 0.0 if start is None else _LATER
    heads = new_heads(model)
    if kept_heads is not None:
        heads_from({"heads": heads}, kept_heads, FOLDER)
    compile_layers(model.encoder.layers)
    loop = Loop(
        folder,
        {"tower": model, "heads": heads},
        schedule if start is None else schedule.learning_on(),
        matrices=matrices_of(model.encoder.layers),
        save_every=100,
    )

    def batch_of_step(step: int) -> Batch:
        return training_batch(step, progress(step, steps, learnt))

    made = ahead(batch_of_step, range(loop.step, steps))
    watched = held_out_every > 0 and processes.rank() == 0

    def loss_of_step(step: int) -> tuple[torch.Tensor, Numbers]:
        if watched and step and step % held_out_every == 0:
            report(model, heads, pictures_per_kind=24)
        given = placed(next(made))
        return heads_loss(heads(tokens_of(model, given)), given.labels)

    loop.run(loss_of_step)
    if not watched:
        return
    for budget in (70, 280):
        report(model, heads, pictures_per_kind=200 if budget == 70 else 50, budget=budget)


@torch.no_grad()
def report(
    model: Gemma4VisionModel, heads: Heads, *, pictures_per_kind: int, budget: int = 70
) -> None:
    """Print held-out accuracy of each head for each kind of picture."""
    for kind in (*KINDS, "dense", "page"):
        right: dict[str, int] = {}
        known: dict[str, int] = {}
        whole = 0
        size = 12 if budget == 70 else 4
        rounds = max(1, pictures_per_kind // size)
        for number in range(rounds):
            rng = generator("vision", "held out", kind, budget, number)
            given = placed(batch(rng, [kind] * size, budget))
            guesses = {n: v.argmax(-1) for n, v in heads(tokens_of(model, given)).items()}
            for name, (hits, total) in accuracies(guesses, given.labels).items():
                right[name] = right.get(name, 0) + hits
                known[name] = known.get(name, 0) + total
            whole += whole_pictures(guesses, given, size)
        parts = [f"{n} {right[n] / known[n]:.3f}/{known[n]}" for n in right if known[n]]
        print(f"  {budget} {kind}: whole {whole}/{rounds * size}  " + "  ".join(parts), flush=True)


def accuracies(
    guesses: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]
) -> dict[str, tuple[int, int]]:
    """Right and counted tokens of each head; "none" counts apart, under the name "no ..."."""
    result = {}
    for name in CLASSES:
        target, guess = targets[name], guesses[name]
        known = target != IGNORED
        if name in {"shape", "color", "center", "first", "second"}:
            nothing = known & (target == 0)
            result[f"no {name}"] = int((guess == target)[nothing].sum()), int(nothing.sum())
            known &= target != 0
        elif name in {"row", "column"}:
            # The thirds matter where a thing is.
            known &= targets["center"] == 1
        result[name] = int((guess == target)[known].sum()), int(known.sum())
    return result


def whole_pictures(guesses: Mapping[str, torch.Tensor], given: Batch, pictures: int) -> int:
    """Pictures of which everything that a caption needs is right in every token."""
    wrong = torch.zeros_like(given.labels["shape"], dtype=torch.bool)
    for name in ("shape", "color", "first", "second", "count", "index"):
        target = given.labels[name]
        at_marks = target != IGNORED
        if name in {"shape", "color", "count"}:
            at_marks &= (given.labels["center"] == 1) | (given.labels["first"] > 0)
        wrong |= at_marks & (guesses[name] != target)
    return int((~wrong.reshape(pictures, -1).any(dim=1)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=steps_of(RECIPE.vision_tower))
    parser.add_argument(
        "--held-out-every", type=int, default=400, help="steps between reports; 0 for none"
    )
    parser.add_argument("--start", type=Path, help="a checkpoint whose tower learns on")
    parser.add_argument("--heads", type=Path, help="that tower's heads, by training.kept_heads")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    processes.join()
    train(
        arguments.work / FOLDER,
        arguments.steps,
        arguments.held_out_every,
        start=arguments.start,
        kept_heads=arguments.heads,
    )


if __name__ == "__main__":
    main()
