"""Model inputs to an answer, as a stream of events. Closing the stream cancels the run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from ..models.language import Cache
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
    answer = _Answer(model, inputs, options)
    yield from answer.stream(cache, logits)
    yield Finished(
        reason=answer.reason,
        text=answer.splitter.text,
        thoughts=answer.splitter.thoughts,
        token_ids=tuple(answer.ids),
        usage=Usage(
            prompt_tokens=len(inputs.ids),
            soft_tokens=inputs.num_soft_tokens,
            completion_tokens=len(answer.ids),
        ),
        timings=Timings(
            encode=encoded - started,
            prefill=prefilled - encoded,
            decode=perf_counter() - prefilled,
        ),
    )


class _Answer:
    """One answer as it grows, up to what ends it."""

    def __init__(self, model: LoadedModel, inputs: ModelInputs, options: GenerateOptions) -> None:
        self.ids: list[int] = []
        self.reason: FinishReason = "stop"
        self.splitter = ChannelSplitter(model.processor.tokenizer, inputs.ids)
        self._model = model
        self._options = options
        self._room = model.context_length - len(inputs.ids)

    def stream(
        self, cache: Sequence[Cache], logits: mx.array
    ) -> Iterator[TextDelta | ThoughtDelta]:
        """Decode from a filled cache; ``logits`` ``[V]`` are the prompt's last."""
        tokens = decode_tokens(
            self._model.network,
            cache,
            logits,
            _sampler(self._model, self._options),
            bias=suppress(logits.shape[-1], self._model.generation.suppressed_ids),
            lookahead=not on_cpu(),
        )
        for token in tokens:
            if token in self._model.generation.stop_ids:
                break
            self.ids.append(token)
            yield from self.splitter.push(token)
            ending = self._ending()
            if ending is not None:
                self.reason = ending
                break
        yield from self.splitter.finish()

    def _ending(self) -> FinishReason | None:
        """Why the answer ends here though the model would go on."""
        if self._options.repetition_guard and is_repeating(self.ids):
            return "repetition"
        if len(self.ids) == self._room:
            return "context"
        return "length" if len(self.ids) == self._options.max_tokens else None


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
