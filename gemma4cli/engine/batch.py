"""Several prompts to their answers at once: the weights are read once for all of them.

Rows that have ended leave the batch, so that the rest gets quicker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import mlx.core as mx

from ..events import EncodeProgress, Finished, TextDelta, ThoughtDelta, Timings
from ..machine.backend import on_cpu
from ..models.gemma4 import SoftTokens
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from .batch_decode import BatchDecoder
from .batch_prefill import BatchPrefill
from .encode import encode_features, place
from .generate import Answer, check_context, generate, make_answer_sampler, temperature_of
from .model import LoadedModel
from .sampling import suppress

BatchEvent = TextDelta | ThoughtDelta | Finished


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prompt:
    """What one row of a batch is to answer, and how."""

    inputs: ModelInputs
    options: GenerateOptions


@dataclass(slots=True, eq=False)
class _Row:
    """A prompt on its way. ``number`` is its place among all, the times are what it took."""

    number: int
    inputs: ModelInputs
    options: GenerateOptions
    answer: Answer
    encode: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0

    def finished(self) -> Finished:
        timings = Timings(encode=self.encode, prefill=self.prefill, decode=self.decode)
        return self.answer.finished(timings)


def can_batch(model: LoadedModel, inputs: ModelInputs) -> bool:
    """Whether a prompt can run together with others: not with images whose tokens see each other
    (12B, 26B, 31B), since no chunk may split them."""
    opened = model.network.config.text.vision_blocks
    return not opened or all(span.kind == "audio" for span in inputs.spans)


def generate_batch(
    model: LoadedModel,
    inputs: Sequence[ModelInputs],
    options: GenerateOptions,
    *,
    max_tokens: Sequence[int] | None = None,
) -> list[Finished]:
    """The answers of ``stream_batch`` as a whole, in order.

    ``max_tokens`` holds a limit for each prompt, in place of the options' one.
    """
    limits = [options.max_tokens] * len(inputs) if max_tokens is None else max_tokens
    prompts = [
        Prompt(inputs=each, options=replace(options, max_tokens=limit))
        for each, limit in zip(inputs, limits, strict=True)
    ]
    finished = {
        number: event
        for number, event in stream_batch(model, prompts)
        if isinstance(event, Finished)
    }
    return [finished[number] for number in range(len(inputs))]


def stream_batch(model: LoadedModel, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
    """What ``generate`` yields for each prompt, progress and notices left out, with its number.

    The first prompt's prefill step counts for all. Prompts that cannot
    run together (``can_batch``) run alone. Where tokens are drawn, each row draws for itself; with
    a seed it draws what it would alone.

    A batch adds numbers in another order than a single run. In float32 that is rounding, and only
    a tie could come out otherwise; in bfloat16 an answer may differ as it does between devices.

    Timings are shares of the batch's time, by soft tokens, by prompt tokens and by decoded tokens:
    all of them together are the time that passed.

    Raises ContextLengthError before anything is computed, NonFiniteError if any row has a NaN.
    """
    for each in prompts:
        check_context(model, each.inputs)
    together: list[_Row] = []
    for number, each in enumerate(prompts):
        if can_batch(model, each.inputs):
            answer = Answer(model, each.inputs, each.options)
            together.append(_Row(number, each.inputs, each.options, answer))
        else:
            yield from _alone(model, number, each)
    if together:
        together.sort(key=lambda row: len(row.inputs.ids), reverse=True)
        yield from _run(model, together, prompts[0].options.prefill_step_size)


def _alone(model: LoadedModel, number: int, prompt: Prompt) -> Iterator[tuple[int, BatchEvent]]:
    for event in generate(model, prompt.inputs, prompt.options):
        if isinstance(event, BatchEvent):
            yield number, event


def _run(model: LoadedModel, rows: Sequence[_Row], step: int) -> Iterator[tuple[int, BatchEvent]]:
    """Answer all rows, longest prompt first."""
    started = perf_counter()
    soft_tokens = _encode(model, rows)
    encoded = perf_counter()
    cache = model.network.language_model.make_batch_cache()
    prefill = BatchPrefill(
        network=model.network,
        ids=[row.inputs.ids for row in rows],
        soft_tokens=soft_tokens,
        step=step,
    )
    logits = prefill.run(cache)
    mx.eval(logits)
    prefilled = perf_counter()
    looked = _shares([row.inputs.num_soft_tokens for row in rows])
    read = _shares([len(row.inputs.ids) for row in rows])
    for row, look, share in zip(rows, looked, read, strict=True):
        row.encode = look * (encoded - started)
        row.prefill = share * (prefilled - encoded)
    greedy = all(temperature_of(model, row.options) == 0 for row in rows)
    decoder = BatchDecoder(
        model.network,
        cache,
        logits,
        [] if greedy else [make_answer_sampler(model, row.options) for row in rows],
        bias=suppress(logits.shape[-1], model.generation.suppressed_ids),
        lookahead=not on_cpu(),
    )
    yield from _decode(decoder, rows, prefilled)


def _encode(model: LoadedModel, rows: Sequence[_Row]) -> list[list[SoftTokens]]:
    """The soft tokens of every row; a clip that several rows have is encoded once."""
    features = [feature for row in rows for feature in row.inputs.features]
    known: dict[str, mx.array] = {}
    for step in encode_features(model, features):
        if not isinstance(step, EncodeProgress):
            known = step
    return [place(row.inputs, known) for row in rows]


def _decode(
    decoder: BatchDecoder, rows: Sequence[_Row], begun: float
) -> Iterator[tuple[int, BatchEvent]]:
    """Token by token, until the last row has ended; a step's time is shared by all that took it."""
    while rows:
        tokens = decoder.step()
        passed = (perf_counter() - begun) / len(rows)
        begun += passed * len(rows)
        for row, token in zip(rows, tokens, strict=True):
            row.decode += passed
            for delta in row.answer.push(token):
                yield row.number, delta
            if row.answer.reason is not None:
                yield row.number, row.finished()
        going = [i for i, row in enumerate(rows) if row.answer.reason is None]
        if 0 < len(going) < len(rows):
            decoder.keep(going)
        rows = [rows[i] for i in going]


def _shares(counts: Sequence[int]) -> list[float]:
    """Each count's share of their sum; equal shares of nothing."""
    total = sum(counts)
    return [count / total if total else 1 / len(counts) for count in counts]
