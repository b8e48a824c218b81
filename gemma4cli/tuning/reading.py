"""Samples to the examples that are learned, those that are held out, and those that are kept."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np

from ..engine.local import LocalModel
from ..errors import TuningDataError
from ..events import Notice
from .data import Samples
from .events import PromptsAnswered, SamplesRead
from .examples import Example, Prepared, TooLong, prepare_sample
from .folder import TuningFolder
from .kept_states import KeptStates
from .media_store import MediaStore
from .own_answers import answered, key_of
from .samples import Fault, Sample
from .settings import TuningOptions
from .steps import Learner

_LEAST_GROUPS = 5
"""Fewer different examples than these are all learned from."""
Reading = Generator[SamplesRead | PromptsAnswered | Notice | Fault, None, "Examples"]


@dataclass(kw_only=True, slots=True)
class Examples:
    """What samples have become; ``skipped`` of them are too long."""

    learned: list[Example] = field(default_factory=list)
    held_out: list[Example] = field(default_factory=list)
    skipped: int = 0
    thoughts: int = 0


def read_examples(
    model: LocalModel, samples: Samples, options: TuningOptions, media: MediaStore
) -> Reading:
    """The examples to learn from, and those that are held out.

    Raises TuningDataError after a Fault for each sample that cannot be learned from.
    """
    whole = list(samples.found)
    faults = 0
    for recording in samples.timed:
        for each in recording.samples(model.processor.longest_clip):
            if isinstance(each, Fault):
                faults += 1
                yield each
            else:
                whole.append(each)
    _require_none(faults, faults + len(whole))
    outside = _held_out(whole, options) if not samples.held_out else set()
    every = [*whole, *samples.held_out]
    held = {*outside, *range(len(whole), len(every))}
    found = yield from _prepared(model, every, held, options, media)
    if not found.learned:
        raise TuningDataError("no example is left to learn from: raise --longest")
    if found.thoughts:
        yield Notice(
            text=f"the reasoning of {found.thoughts} answers is not learned: it is where the "
            'conversation has "enable_thinking": true'
        )
    if not found.held_out and options.validation:
        yield Notice(text="too few examples to hold any out: the loss is that of what is learned")
    return found


def keys_of(prompts: Sequence[Sample]) -> Generator[Fault, None, list[str]]:
    """What tells each prompt from others. Raises TuningDataError after a Fault for each file."""
    keys: list[str] = []
    for sample in prompts:
        try:
            keys.append(key_of(sample))
        except OSError as exc:
            name = str(exc.filename)
            problem = f"cannot be read ({exc.strerror})"
            problem = problem if name == sample.origin else f"{name}: {problem}"
            yield Fault(origin=sample.origin, problem=problem)
    _require_none(len(prompts) - len(keys), len(prompts))
    return keys


def read_kept(
    model: LocalModel,
    prompts: Sequence[Sample],
    keys: Sequence[str],
    options: TuningOptions,
    media: MediaStore,
    folder: TuningFolder,
) -> Reading:
    """The prompts that the model is to answer as it does now, as examples with its answers.

    Raises TuningDataError after a Fault for each that cannot be answered.
    """
    longest = longest_of(model, options)
    faults = 0
    skipped = 0
    asked: list[Sample] = []
    for step in answered(model, list(zip(prompts, keys, strict=True)), folder.answers, longest):
        match step:
            case Sample():
                asked.append(step)
            case TooLong():
                skipped += 1
                yield _skipped(step, longest)
            case _:
                faults += isinstance(step, Fault)
                yield step
    _require_none(faults, len(prompts))
    found = yield from _prepared(model, asked, set(), options, media)
    found.skipped += skipped
    return found


def read_states(learner: Learner, kept: Sequence[Example], states: KeptStates) -> None:
    """Compute the states at which kept examples begin; the network is not tuned yet."""
    for batch in learner.parts([each for each in kept if not states.has(each)]):
        found = learner.hidden_before(batch)
        mx.eval(found)
        states.add(batch.examples, found)


def longest_of(model: LocalModel, options: TuningOptions) -> int:
    """Tokens that an example may have."""
    return min(options.longest or model.context_length, model.context_length)


def _prepared(
    model: LocalModel,
    samples: Sequence[Sample],
    held_out: set[int],
    options: TuningOptions,
    media: MediaStore,
) -> Reading:
    found = Examples()
    longest = longest_of(model, options)
    faults = 0
    for number, sample in enumerate(samples):
        yield SamplesRead(done=number, total=len(samples))
        for step in prepare_sample(model, sample, longest):
            match step:
                case Fault():
                    faults += 1
                    yield step
                case TooLong():
                    found.skipped += 1
                    yield _skipped(step, longest)
                case Prepared(examples=examples):
                    found.thoughts += step.unlearned_thoughts
                    media.add(step.media)
                    (found.held_out if number in held_out else found.learned).extend(examples)
                case Notice():
                    yield step
    media.complete()
    yield SamplesRead(done=len(samples), total=len(samples))
    _require_none(faults, len(samples))
    return found


def _skipped(found: TooLong, longest: int) -> Notice:
    return Notice(text=f"{found.origin}: skipped: {found.tokens:,} tokens, more than {longest:,}")


def _require_none(faults: int, count: int) -> None:
    if faults:
        raise TuningDataError(
            f"{faults} of {count} examples cannot be learned from: mend them or leave them out"
        )


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
