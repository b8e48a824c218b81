"""Several prompts to their answers at once: the weights are read once for all of them.

Rows that have ended leave the batch, so that the rest gets quicker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import mlx.core as mx

from ..events import EncodeProgress, Finished, Timings
from ..models.gemma4 import SoftTokens
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from .backend import on_cpu
from .batch_decode import BatchDecoder
from .batch_prefill import BatchPrefill
from .encode import encode_features, place
from .generate import Answer, check_context, generate, make_answer_sampler, temperature_of
from .model import LoadedModel
from .sampling import suppress


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One prompt of a batch. ``number`` is its place among all of them."""

    number: int
    inputs: ModelInputs
    options: GenerateOptions
    answer: Answer


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
    """What ``generate`` gives for each prompt, in order. Notices are left to the caller.

    ``max_tokens`` holds a limit for each prompt, in place of the options' one. Prompts that cannot
    run together (``can_batch``) run alone. Where tokens are drawn, each row draws for itself; with
    a seed it draws what it would alone.

    A batch adds numbers in another order than a single run. In float32 that is rounding, and only
    a tie could come out otherwise; in bfloat16 an answer may differ as it does between devices.

    Timings are shares of the batch's time, by soft tokens, by prompt tokens and by decoded tokens:
    all of them together are the time that passed.

    Raises ContextLengthError before anything is computed, NonFiniteError if any row has a NaN.
    """
    for each in inputs:
        check_context(model, each)
    limits = [options.max_tokens] * len(inputs) if max_tokens is None else max_tokens
    together: list[_Row] = []
    finished: dict[int, Finished] = {}
    for number, (each, limit) in enumerate(zip(inputs, limits, strict=True)):
        own = replace(options, max_tokens=limit)
        if can_batch(model, each):
            together.append(_Row(number, each, own, Answer(model, each, own)))
        else:
            finished[number] = _alone(model, each, own)
    if together:
        together.sort(key=lambda row: len(row.inputs.ids), reverse=True)
        total = _run(model, together, options)
        answers = [row.answer.finished(total) for row in together]
        for row, answer in zip(together, _with_shares(answers), strict=True):
            finished[row.number] = answer
    return [finished[number] for number in range(len(inputs))]


def _alone(model: LoadedModel, inputs: ModelInputs, options: GenerateOptions) -> Finished:
    *_, last = generate(model, inputs, options)
    assert isinstance(last, Finished)
    return last


def _run(model: LoadedModel, rows: Sequence[_Row], options: GenerateOptions) -> Timings:
    """Answer all rows, longest prompt first; returns the time that it took."""
    started = perf_counter()
    soft_tokens = _encode(model, rows)
    encoded = perf_counter()
    cache = model.network.language_model.make_batch_cache()
    prefill = BatchPrefill(
        network=model.network,
        ids=[row.inputs.ids for row in rows],
        soft_tokens=soft_tokens,
        step=options.prefill_step_size,
    )
    logits = prefill.run(cache)
    mx.eval(logits)
    prefilled = perf_counter()
    greedy = temperature_of(model, options) == 0
    decoder = BatchDecoder(
        model.network,
        cache,
        logits,
        [] if greedy else [make_answer_sampler(model, row.options) for row in rows],
        bias=suppress(logits.shape[-1], model.generation.suppressed_ids),
        lookahead=not on_cpu(),
    )
    _decode(decoder, rows)
    return Timings(
        encode=encoded - started,
        prefill=prefilled - encoded,
        decode=perf_counter() - prefilled,
    )


def _encode(model: LoadedModel, rows: Sequence[_Row]) -> list[list[SoftTokens]]:
    """The soft tokens of every row; a clip that several rows have is encoded once."""
    features = [feature for row in rows for feature in row.inputs.features]
    known: dict[str, mx.array] = {}
    for step in encode_features(model, features):
        if not isinstance(step, EncodeProgress):
            known = step
    return [place(row.inputs, known) for row in rows]


def _decode(decoder: BatchDecoder, rows: Sequence[_Row]) -> None:
    """Token by token, until the last row has ended."""
    while rows:
        for row, token in zip(rows, decoder.step(), strict=True):
            row.answer.push(token)
        going = [i for i, row in enumerate(rows) if row.answer.reason is None]
        if 0 < len(going) < len(rows):
            decoder.keep(going)
        rows = [rows[i] for i in going]


def _with_shares(answers: Sequence[Finished]) -> list[Finished]:
    """Answers that bear the whole batch's timings, with each one's share of them."""
    usages = [answer.usage for answer in answers]
    encode = _shares([usage.soft_tokens for usage in usages])
    prefill = _shares([usage.prompt_tokens for usage in usages])
    # What ends an answer is decoded, too.
    decode = _shares([usage.completion_tokens + 1 for usage in usages])
    result = []
    for i, answer in enumerate(answers):
        whole = answer.timings
        own = Timings(
            encode=whole.encode * encode[i],
            prefill=whole.prefill * prefill[i],
            decode=whole.decode * decode[i],
        )
        result.append(replace(answer, timings=own))
    return result


def _shares(counts: Sequence[int]) -> list[float]:
    """Each count's share of their sum; equal shares of nothing."""
    total = sum(counts)
    return [count / total if total else 1 / len(counts) for count in counts]
