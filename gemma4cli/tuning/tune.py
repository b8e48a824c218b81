"""A tuning from a loaded model and samples to an adapter in a folder."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..engine.local import LocalModel
from ..errors import TuningDataError
from ..events import Notice
from ..models.training import recompute_layers, with_gradients
from .adapter import LowRankOptions, in_towers, layout_of, target_paths, with_new_adapter
from .batches import steps_per_round
from .events import SamplesRead, TuningEvent, TuningFinished, TuningPlanned
from .examples import Example, Prepared, TooLong, fingerprint, prepare_sample
from .fit import fitting
from .folder import TuningFolder
from .media_store import MediaStore
from .samples import Fault, Sample, Samples
from .settings import TuningOptions, schedule_of
from .steps import Learner
from .training import Training, result_of

_LEAST_GROUPS = 5
"""Fewer different examples than these are all learned from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlreadyTuned:
    """The folder has this very tuning, with this result."""

    result: dict[str, Any]


def tune(
    model: LocalModel, samples: Samples, options: TuningOptions, folder: TuningFolder
) -> Generator[TuningEvent | Fault | AlreadyTuned, None, None]:
    """Tune an adapter for ``model``: events, at last TuningFinished or AlreadyTuned.

    Raises TuningDataError after a Fault for each sample that cannot be learned from, TuningError,
    OptionError for targets, and OSError if the folder cannot be written.
    """
    paths = target_paths(model.network, options.targets)
    media = MediaStore(model=model, folder=folder.media, in_step=in_towers(paths))
    learned, held_out, skipped = yield from _examples(model, samples, options, media)
    job = {
        "model": dict(model.identity),
        "examples": fingerprint([*learned, *held_out]),
        **asdict(options),
    }
    if folder.begin(job):
        yield AlreadyTuned(result=dict(folder.result()))
        return
    in_round = steps_per_round(learned, options.batch)
    schedule = schedule_of(options, in_round, model.network.config.text.hidden_size)
    rank, alpha = options.rank, options.alpha
    additions = LowRankOptions(
        rank=rank, alpha=2.0 * rank if alpha is None else alpha, targets=options.targets
    )
    network = with_new_adapter(
        with_gradients(model.network, towers=media.in_step), additions, options.seed
    )
    learner = Learner(
        network=network,
        media=media,
        tokens_at_once=0,
        blocks_on_full_layers=model.blocks_on_full_layers,
    )
    fit = fitting(model, learner, [*learned, *held_out], options)
    learner = replace(learner, tokens_at_once=fit.tokens_at_once)
    if fit.recompute:
        recompute_layers(network)
    training = Training(
        learner=learner,
        learned=learned,
        held_out=held_out,
        options=options,
        schedule=schedule,
        folder=folder,
        additions=additions,
        base=model.name,
        layout=layout_of(model.network.config),
    )
    start = training.begin()
    yield TuningPlanned(
        examples=len(learned),
        held_out=len(held_out),
        skipped=skipped,
        tokens=sum(len(each.ids) * each.repeats for each in learned),
        targets=sum(each.targets * each.repeats for each in learned),
        parameters=sum(each.size for each in learner.parameters.values()),
        steps=schedule.steps,
        done=start.progress.step,
        rate=schedule.rate,
        memory=fit.memory,
        recompute=fit.recompute,
        rows=fit.rows,
    )
    for event in training.run(start):
        if isinstance(event, TuningFinished):
            folder.finish(job, result_of(event))
        yield event


def _examples(
    model: LocalModel, samples: Samples, options: TuningOptions, media: MediaStore
) -> Generator[TuningEvent | Fault, None, tuple[list[Example], list[Example], int]]:
    """Events; returns the examples to learn from, those held out, and how many are too long."""
    found: list[Example] = []
    held: list[Example] = []
    faults = skipped = thoughts = 0
    outside = _held_out(samples.found, options) if not samples.held_out else set()
    longest = min(options.longest or model.context_length, model.context_length)
    every = [*samples.found, *samples.held_out]
    for number, sample in enumerate(every):
        yield SamplesRead(done=number, total=len(every))
        for step in prepare_sample(model, sample, longest):
            match step:
                case Fault():
                    faults += 1
                    yield step
                case TooLong(tokens=tokens):
                    skipped += 1
                    text = f"{sample.origin}: skipped: {tokens:,} tokens, more than {longest:,}"
                    yield Notice(text=text)
                case Prepared(examples=examples):
                    thoughts += step.unlearned_thoughts
                    media.add(step.media)
                    is_held = number in outside or number >= len(samples.found)
                    (held if is_held else found).extend(examples)
                case Notice():
                    yield step
    media.complete()
    yield SamplesRead(done=len(every), total=len(every))
    if faults:
        raise TuningDataError(
            f"{faults} of {len(every)} examples cannot be learned from: mend them or leave them out"
        )
    if not found:
        raise TuningDataError("no example is left to learn from: raise --longest")
    if thoughts:
        yield Notice(
            text=f"the reasoning of {thoughts} answers is not learned: it is where the "
            'conversation has "enable_thinking": true'
        )
    if not held and options.validation:
        yield Notice(text="too few examples to hold any out: the loss is that of what is learned")
    return found, held, skipped


def _held_out(samples: Sequence[Sample], options: TuningOptions) -> set[int]:
    """The numbers of the samples that are held out: whole groups, drawn by the seed."""
    groups: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        groups.setdefault(sample.group[0], []).append(number)
    if not options.validation or len(groups) < _LEAST_GROUPS:
        return set()
    count = max(1, round(options.validation * len(groups)))
    order = np.random.default_rng(options.seed).permutation(len(groups))[:count]
    names = sorted(groups)
    return {number for index in order for number in groups[names[int(index)]]}
