"""Answer several prompts together, reading the weights once per step for all of them.

A row leaves the batch when its answer ends, so the remaining rows run faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import mlx.core as mx

from ..events import EncodeProgress, Finished, Timings
from ..machine.backend import on_cpu
from ..models.gemma4 import SoftTokens
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from .answering import BatchEvent, Prompt
from .batch_decode import BatchDecoder
from .batch_prefill import BatchPrefill
from .context_limits import check_context
from .encode import arrange_soft_tokens, encode_features
from .generate import Answer, generate, make_answer_sampler, temperature_of
from .memory_limits import prefill_step
from .model import LoadedModel
from .sampling import suppress


@dataclass(slots=True, eq=False)
class _Row:
    """A prompt being answered. ``number`` is its index among all prompts; times are in seconds."""

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
    """Whether a prompt can share a batch with others.

    A prompt with bidirectional image blocks (12B, 26B, 31B) cannot, because no chunk may split one.
    Quantized caches have one row.
    """
    if model.options.kv_bits is not None:
        return False
    has_blocks = model.network.config.text.vision_blocks
    return not has_blocks or all(span.kind == "audio" for span in inputs.spans)


def stream_batch(model: LoadedModel, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
    """Yield the events of ``generate`` with the prompt's number, without progress and notices.

    The longest prompt's prefill step applies to all. Prompts that cannot share a batch
    (``can_batch``) run alone. Rows sample independently; with a seed, a row samples the same tokens
    as it would alone.

    A batch sums in a different order than a single run. In float32 the difference is rounding and
    only ties can be decided differently; in bfloat16 answers can differ as they do between devices.

    Timings are the row's share of the batch's time: encoding by soft tokens, prefill by prompt
    tokens, decoding by steps. They add up to the elapsed time.

    Raises ContextLengthError before computing anything, and NonFiniteError if any row has a NaN.
    """
    for each in prompts:
        check_context(each.inputs, model.context_length)
    together: list[_Row] = []
    for number, each in enumerate(prompts):
        # A constraint applies to one answer at a time, and so do logprobs.
        alone = each.options.is_constrained or each.options.logprobs is not None
        if not alone and can_batch(model, each.inputs):
            answer = Answer(model, each.inputs, each.options)
            together.append(_Row(number, each.inputs, each.options, answer))
        else:
            yield from _alone(model, number, each)
    if together:
        together.sort(key=lambda row: len(row.inputs.ids), reverse=True)
        first = together[0]
        yield from _run(model, together, prefill_step(model, first.inputs, first.options))


def _alone(model: LoadedModel, number: int, prompt: Prompt) -> Iterator[tuple[int, BatchEvent]]:
    for event in generate(model, prompt.inputs, prompt.options):
        if isinstance(event, BatchEvent):
            yield number, event


def _run(model: LoadedModel, rows: Sequence[_Row], step: int) -> Iterator[tuple[int, BatchEvent]]:
    """Answer ``rows``, which are sorted by prompt length, longest first."""
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
    encode_shares = _shares([row.inputs.num_soft_tokens for row in rows])
    prefill_shares = _shares([len(row.inputs.ids) for row in rows])
    for row, encode, prefill_share in zip(rows, encode_shares, prefill_shares, strict=True):
        row.encode = encode * (encoded - started)
        row.prefill = prefill_share * (prefilled - encoded)
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
    """The soft tokens of each row; media that rows have in common are encoded once."""
    features = [feature for row in rows for feature in row.inputs.features]
    known: dict[str, mx.array] = {}
    for step in encode_features(model, features):
        if not isinstance(step, EncodeProgress):
            known = step
    return [arrange_soft_tokens(row.inputs, known) for row in rows]


def _decode(
    decoder: BatchDecoder, rows: Sequence[_Row], started: float
) -> Iterator[tuple[int, BatchEvent]]:
    """Decode until the last row has ended; each step's time is split evenly between its rows."""
    while rows:
        tokens = decoder.step()
        share = (perf_counter() - started) / len(rows)
        started += share * len(rows)
        for row, token in zip(rows, tokens, strict=True):
            row.decode += share
            for delta in row.answer.push(token):
                yield row.number, delta
            if row.answer.reason is not None:
                yield row.number, row.finished()
        active = [i for i, row in enumerate(rows) if row.answer.reason is None]
        if 0 < len(active) < len(rows):
            decoder.keep(active)
        rows = [rows[i] for i in active]


def _shares(counts: Sequence[int]) -> list[float]:
    """Each count's share of the sum; equal shares if the sum is zero."""
    total = sum(counts)
    return [count / total if total else 1 / len(counts) for count in counts]
