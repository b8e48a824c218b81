"""Model inputs to an answer, as a stream of events. Closing the stream cancels the run."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import mlx.core as mx

from ..errors import ContextLengthError
from ..events import (
    Event,
    Finished,
    FinishReason,
    Notice,
    PrefillProgress,
    Timings,
    Usage,
)
from ..models.gemma4 import SoftTokens
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from .backend import on_cpu
from .channels import ChannelSplitter
from .decode import decode_tokens
from .encode import encode_media
from .model import LoadedModel
from .prefill import Prefill
from .repetition import is_repeating
from .sampling import Sampler, make_sampler, suppress


def generate(model: LoadedModel, inputs: ModelInputs, options: GenerateOptions) -> Iterator[Event]:
    """Encode media, prefill, decode; the last event is Finished.

    Raises ContextLengthError before anything is computed, NonFiniteError during it.
    """
    if len(inputs.ids) >= model.context_length:
        raise ContextLengthError(len(inputs.ids), model.context_length)
    for notice in inputs.notices:
        yield Notice(text=notice)
    started = perf_counter()
    soft_tokens: list[SoftTokens] = []
    for step in encode_media(model, inputs):
        if isinstance(step, list):
            soft_tokens = step
        else:
            yield step
    encoded = perf_counter()
    cache = model.network.language_model.make_cache()
    logits = mx.zeros(0)
    for progress in make_prefill(model, inputs, soft_tokens, options.prefill_step_size).run(cache):
        if isinstance(progress, PrefillProgress):
            yield progress
        else:
            logits = progress
    mx.eval(logits)
    prefilled = perf_counter()

    splitter = ChannelSplitter(model.processor.tokenizer, inputs.ids)
    bias = suppress(logits.shape[-1], model.generation.suppressed_ids)
    tokens = decode_tokens(
        model.network,
        cache,
        logits,
        _sampler(model, options),
        bias=bias,
        lookahead=not on_cpu(),
    )
    ids: list[int] = []
    room = model.context_length - len(inputs.ids)
    reason: FinishReason = "length"
    for token in tokens:
        if token in model.generation.stop_ids:
            reason = "stop"
            break
        ids.append(token)
        yield from splitter.push(token)
        if options.repetition_guard and is_repeating(ids):
            reason = "repetition"
            break
        if len(ids) == room:
            reason = "context"
            break
        if len(ids) == options.max_tokens:
            break
    yield from splitter.finish()
    finished = perf_counter()
    yield Finished(
        reason=reason,
        text=splitter.text,
        thoughts=splitter.thoughts,
        token_ids=tuple(ids),
        usage=Usage(
            prompt_tokens=len(inputs.ids),
            soft_tokens=inputs.num_soft_tokens,
            completion_tokens=len(ids),
        ),
        timings=Timings(
            encode=encoded - started, prefill=prefilled - encoded, decode=finished - prefilled
        ),
    )


def make_prefill(
    model: LoadedModel, inputs: ModelInputs, soft_tokens: list[SoftTokens], step: int
) -> Prefill:
    """The prefill of one prompt, by the model's mask rule."""
    return Prefill(
        network=model.network,
        ids=inputs.ids,
        spans=inputs.spans,
        soft_tokens=soft_tokens,
        step=step,
        open_full_layers=(
            model.network.config.unified and model.options.unified_full_attention_blocks
        ),
    )


def _sampler(model: LoadedModel, options: GenerateOptions) -> Sampler:
    """The sampler that options ask for, the checkpoint's values where they are silent."""
    defaults = model.generation
    return make_sampler(
        temperature=(defaults.temperature if options.temperature is None else options.temperature),
        top_p=defaults.top_p if options.top_p is None else options.top_p,
        top_k=defaults.top_k if options.top_k is None else options.top_k,
        key=None if options.seed is None else mx.random.key(options.seed),
    )
