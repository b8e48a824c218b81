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
    TextDelta,
    ThoughtDelta,
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
    check_context(model, inputs)
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
    answer = Answer(model, inputs, options)
    tokens = decode_tokens(
        model.network,
        cache,
        logits,
        make_answer_sampler(model, options),
        bias=suppress(logits.shape[-1], model.generation.suppressed_ids),
        lookahead=not on_cpu(),
    )
    for token in tokens:
        yield from answer.push(token)
        if answer.reason is not None:
            break
    yield answer.finished(
        Timings(
            encode=encoded - started,
            prefill=prefilled - encoded,
            decode=perf_counter() - prefilled,
        )
    )


def check_context(model: LoadedModel, inputs: ModelInputs) -> None:
    """Raise ContextLengthError for a prompt that leaves no room for an answer."""
    if len(inputs.ids) >= model.context_length:
        raise ContextLengthError(len(inputs.ids), model.context_length)


class Answer:
    """One answer as it grows, up to what ends it; ``reason`` is None until then."""

    def __init__(self, model: LoadedModel, inputs: ModelInputs, options: GenerateOptions) -> None:
        self.reason: FinishReason | None = None
        self._inputs = inputs
        self._options = options
        self._ids: list[int] = []
        self._stop_ids = model.generation.stop_ids
        self._splitter = ChannelSplitter(model.processor.tokenizer, inputs.ids)
        self._room = model.context_length - len(inputs.ids)

    def push(self, token: int) -> list[TextDelta | ThoughtDelta]:
        """Take the next token; returns what it completes."""
        deltas: list[TextDelta | ThoughtDelta] = []
        if token in self._stop_ids:
            self.reason = "stop"
        else:
            self._ids.append(token)
            deltas += self._splitter.push(token)
            self.reason = self._ending()
        if self.reason is not None:
            deltas += self._splitter.finish()
        return deltas

    def finished(self, timings: Timings) -> Finished:
        """The whole of an answer that has ended."""
        assert self.reason is not None
        return Finished(
            reason=self.reason,
            text=self._splitter.text,
            thoughts=self._splitter.thoughts,
            token_ids=tuple(self._ids),
            usage=Usage(
                prompt_tokens=len(self._inputs.ids),
                soft_tokens=self._inputs.num_soft_tokens,
                completion_tokens=len(self._ids),
            ),
            timings=timings,
        )

    def _ending(self) -> FinishReason | None:
        """Why the answer ends here though the model would go on."""
        if self._options.repetition_guard and is_repeating(self._ids):
            return "repetition"
        if len(self._ids) == self._room:
            return "context"
        return "length" if len(self._ids) == self._options.max_tokens else None


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


def make_answer_sampler(model: LoadedModel, options: GenerateOptions) -> Sampler:
    """The sampler that options ask for, the checkpoint's values where they are silent."""
    defaults = model.generation
    return make_sampler(
        temperature=temperature_of(model, options),
        top_p=defaults.top_p if options.top_p is None else options.top_p,
        top_k=defaults.top_k if options.top_k is None else options.top_k,
        key=None if options.seed is None else mx.random.key(options.seed),
    )


def temperature_of(model: LoadedModel, options: GenerateOptions) -> float:
    """The temperature that options ask for, or the checkpoint's."""
    asked = options.temperature
    return model.generation.temperature if asked is None else asked
