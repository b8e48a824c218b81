"""Generate an answer as a stream of events. Closing the stream cancels the run."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from time import perf_counter

import mlx.core as mx

from ..events import Event, Notice, PrefillProgress, Timings
from ..machine.backend import on_cpu
from ..models.gemma4 import SoftTokens
from ..models.masks import NO_MASKS
from ..models.mlx_lm_parts import RowCache
from ..options import GenerateOptions
from ..processing.inputs import ModelInputs
from .answer import Answer
from .answer_rules import make_answer_sampler, make_constraint, stop_ids_of
from .constrain import Constraint
from .context_limits import check_context
from .decode import decode_tokens
from .drafting import Draft, DraftCounts
from .encode import encode_media
from .logprobs import SeenLogits
from .memory_limits import prefill_step, require_memory_for_prompt
from .model import LoadedModel
from .prefill import make_prefill, uncached_media
from .repeated_turns import answer_start, is_repeated
from .sampling import suppress
from .turn_cache import CachedRun, TurnCache, content_of


def generate(
    model: LoadedModel,
    inputs: ModelInputs,
    options: GenerateOptions,
    turns: TurnCache | None = None,
) -> Iterator[Event]:
    """Encode media, prefill and decode; the last event is Finished.

    With ``turns``, positions cached by earlier turns are neither encoded nor prefilled again.

    Raises ContextLengthError, PromptTooLargeError, and AnswerCutError for a schema that the answer
    is too short for, before computing anything, and NonFiniteError while computing.
    """
    check_context(inputs, model.context_length)
    kept = None if turns is None else turns.kept
    require_memory_for_prompt(model, inputs, options, kept=kept)
    constraint = make_constraint(model, options, inputs.ids)
    for notice in inputs.notices:
        yield Notice(text=notice)
    run = (TurnCache(limit=0) if turns is None else turns).begin(
        model.network, content_of(inputs), blocks_on_full_layers=model.blocks_on_full_layers
    )
    tail = answer_start(model, inputs.ids)
    step = prefill_step(model, inputs, options, kept)
    try:
        yield from _run(model, inputs, options, constraint, run, tail, step)
    except Exception:
        # The layers may hold different numbers of positions, NaN, or arrays that were not computed.
        run.forget()
        raise
    except GeneratorExit:
        # Events are yielded between steps, when all layers hold the same number of positions.
        _keep_answer(model, run, tail, len(inputs.ids))
        raise


def _run(
    model: LoadedModel,
    inputs: ModelInputs,
    options: GenerateOptions,
    constraint: Constraint | None,
    run: CachedRun,
    tail: int,
    step: int,
) -> Iterator[Event]:
    """``generate`` once the turn cache is set up; the model's turn starts at ``tail``."""
    started = perf_counter()
    soft_tokens: list[SoftTokens] = []
    for each in encode_media(model, uncached_media(inputs, run.start)):
        if isinstance(each, list):
            soft_tokens = each
        else:
            yield each
    encoded = perf_counter()
    hidden = mx.zeros(0)
    stops = run.stops(tail, inputs.spans)
    prefill = make_prefill(model, inputs, soft_tokens, step, start=run.start, tail=tail)
    for progress in replace(prefill, stops=stops).run(run.cache):
        if isinstance(progress, PrefillProgress):
            if run.cached in (*stops, tail):
                run.keep()
            yield progress
        else:
            hidden = progress
    mx.eval(hidden)
    prefilled = perf_counter()
    answer = Answer(model, inputs, options, cached_tokens=run.start)
    counts = DraftCounts()
    seen = SeenLogits.of(options)
    tokens = _tokens(model, run.cache, hidden, options, constraint, answer.most, counts, seen)
    # Closing it rewinds the cache to what was taken from it.
    with closing(tokens):
        for token in tokens:
            run.content.append(token)
            yield from answer.push(token, None if seen is None else seen.take(token))
            if answer.reason is not None:
                break
    answer.conclude(constraint)
    _keep_answer(model, run, tail, len(inputs.ids))
    yield answer.finished(
        Timings(
            encode=encoded - started,
            prefill=prefilled - encoded,
            decode=perf_counter() - prefilled,
        ),
        counts,
    )


def _tokens(
    model: LoadedModel,
    cache: Sequence[RowCache],
    hidden: mx.array,
    options: GenerateOptions,
    constraint: Constraint | None,
    most: int,
    counts: DraftCounts,
    seen: SeenLogits | None,
) -> Generator[int]:
    """The tokens of an answer, at most ``most`` of them with the model's drafter.

    Without a drafter if the logits are to be ``seen``.
    """
    network, drafter = model.network, model.drafter
    text = network.language_model
    sampler = make_answer_sampler(model, options)
    bias = suppress(network.config.text.vocab_size, model.generation.suppressed_ids)
    if drafter is not None and seen is None and drafter.pace.begin():
        last = yield from Draft(
            network=network,
            drafter=drafter.network,
            cache=cache,
            sampler=sampler,
            bias=bias,
            constraint=constraint,
            stop_ids=stop_ids_of(model, options),
            most=most,
            pace=drafter.pace,
            counts=counts,
        ).tokens(hidden)
        hidden = text.model(*network.embed([last]), cache, NO_MASKS)
    logits = text.logits(hidden)[0, -1]
    yield from decode_tokens(
        network,
        cache,
        logits,
        sampler,
        bias=bias,
        constraint=constraint,
        lookahead=not on_cpu(),
        seen=seen,
    )


def _keep_answer(model: LoadedModel, run: CachedRun, tail: int, prompt_length: int) -> None:
    """Keep a checkpoint after the answer, if later prompts repeat it."""
    if run.cached == prompt_length == len(run.content):
        return
    if is_repeated(model, run.content[tail : run.cached]):
        run.keep()
