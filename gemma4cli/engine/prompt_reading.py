"""Read a row's prompt, a piece between two events, in a KV cache of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from time import perf_counter

import mlx.core as mx

from ..events import EncodeProgress, Notice, PrefillProgress
from ..models.gemma4 import SoftTokens
from .batch_row import Row, RowEvent
from .cache_room import make_room
from .encode import encode_media
from .generate import answer_start, make_prefill, uncached_media
from .memory_limits import prefill_step
from .model import LoadedModel


def read_prompt(
    model: LoadedModel, row: Row, most: Callable[[], int | None]
) -> Generator[RowEvent, None, mx.array]:
    """Encode media and prefill; returns the last position's hidden state ``[1, 1, D]``.

    ``most`` says how many tokens the next chunk may have, None for as many as if the prompt were
    alone. Raises NonFiniteError and PlaceholderMismatchError.
    """
    inputs = row.prompt.inputs
    for notice in inputs.notices:
        yield Notice(text=notice)
    soft_tokens: list[SoftTokens] = []
    for each in encode_media(model, uncached_media(inputs, row.run.start)):
        if isinstance(each, list):
            soft_tokens = each
        else:
            yield each
    row.encoded = perf_counter()
    return (yield from _prefill(model, row, soft_tokens, most))


def _prefill(
    model: LoadedModel, row: Row, soft_tokens: list[SoftTokens], most: Callable[[], int | None]
) -> Generator[RowEvent, None, mx.array]:
    """Fill the row's cache; returns the last position's hidden state ``[1, 1, D]``."""
    inputs, run = row.prompt.inputs, row.run
    row.tail = answer_start(model, inputs.ids)
    stops = run.stops(row.tail, inputs.spans)
    step = prefill_step(model, inputs, row.prompt.options)
    prefill = make_prefill(model, inputs, soft_tokens, step, start=run.start, tail=row.tail)
    total = len(inputs.ids) - run.start
    yield PrefillProgress(done=0, total=total)
    make_room(run.cache, total)
    position, hidden = run.start, None
    while hidden is None:
        size = min(step, most() or step)
        chunk = replace(prefill, start=position, step=size, stops=stops)
        position, hidden = chunk.run_chunk(run.cache)
        if position in (*stops, row.tail):
            run.keep()
        yield PrefillProgress(done=position - run.start, total=total)
    return hidden


def is_piece(event: RowEvent) -> bool:
    """Whether something was computed before this event, and there is more of the prompt."""
    if isinstance(event, PrefillProgress):
        return 0 < event.done < event.total
    return isinstance(event, EncodeProgress) and event.done > 0
