"""Read prompts: one in a KV cache of its own, or several in one cache, if all are new."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from time import perf_counter

import mlx.core as mx

from ..events import EncodeProgress, Notice, PrefillProgress
from ..models.batch_cache import BatchCache
from ..models.gemma4 import SoftTokens
from ..processing.inputs import ModelInputs
from .batch_prefill import BatchPrefill
from .batch_row import Row, RowEvent
from .cache_room import make_room
from .encode import arrange_soft_tokens, encode_features, encode_media
from .memory_limits import prefill_step
from .model import LoadedModel
from .prefill import make_prefill, uncached_media
from .repeated_turns import answer_start


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


def can_read_together(model: LoadedModel, inputs: ModelInputs) -> bool:
    """Whether a prompt can be read with others.

    One with bidirectional image blocks (12B, 26B, 31B) cannot, because no chunk may split one.
    Quantized caches have one row.
    """
    if model.options.kv_bits is not None:
        return False
    has_blocks = model.network.config.text.vision_blocks
    return not has_blocks or all(span.kind == "audio" for span in inputs.spans)


def read_together(
    model: LoadedModel, rows: Sequence[Row]
) -> Generator[tuple[Row, RowEvent] | None, None, tuple[BatchCache, mx.array]]:
    """Encode media and prefill rows, longest first, from their first token on.

    Yields None between pieces. Returns a cache of these rows, and the logits ``[B, V]`` of their
    last positions. Raises as ``read_prompt``.
    """
    prompts = [row.prompt.inputs for row in rows]
    for row, inputs in zip(rows, prompts, strict=True):
        for notice in inputs.notices:
            yield row, Notice(text=notice)
    known: dict[str, mx.array] = {}
    for each in encode_features(model, [each for inputs in prompts for each in inputs.features]):
        if isinstance(each, dict):
            known = each
            continue
        for row, inputs in zip(rows, prompts, strict=True):
            if inputs.features:
                yield row, each
        if each.done:
            yield None
    prefill = BatchPrefill(
        network=model.network,
        ids=[inputs.ids for inputs in prompts],
        soft_tokens=[arrange_soft_tokens(inputs, known) for inputs in prompts],
        step=prefill_step(model, prompts[0], rows[0].prompt.options),
    )
    encoded = perf_counter()
    for row in rows:
        row.encoded = encoded
    cache = model.network.language_model.make_batch_cache()
    yield from _progress(rows, 0)
    chunks, longest = prefill.run(cache), len(prompts[0].ids)
    while True:
        try:
            columns = next(chunks)
        except StopIteration as end:
            yield from _progress(rows, longest)
            return cache, end.value
        if columns < longest - 1:
            yield from _progress(rows, columns)
            yield None


def _progress(rows: Sequence[Row], columns: int) -> Iterator[tuple[Row, PrefillProgress]]:
    """How far each row is, longest first, with so many columns of a cache filled."""
    longest = len(rows[0].prompt.inputs.ids)
    for row in rows:
        total = len(row.prompt.inputs.ids)
        yield row, PrefillProgress(done=max(0, columns - longest + total), total=total)


def is_piece(event: RowEvent) -> bool:
    """Whether something was computed before this event, and there is more of the prompt."""
    if isinstance(event, PrefillProgress):
        return 0 < event.done < event.total
    return isinstance(event, EncodeProgress) and event.done > 0
