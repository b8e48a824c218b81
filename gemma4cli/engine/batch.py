"""Answer several prompts together, reading the weights once per step for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..errors import Gemma4Error
from ..events import Finished
from .answering import BatchEvent, Prompt
from .context_limits import check_context
from .generate import generate
from .model import LoadedModel
from .running_batch import RunningBatch


def stream_batch(model: LoadedModel, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
    """Yield the events of ``generate`` with the prompt's number, without progress and notices.

    Rows sample independently; with a seed, a row samples the same tokens as it would alone.

    A batch sums in a different order than a single run. In float32 the difference is rounding and
    only ties can be decided differently; in bfloat16 answers can differ as they do between devices.

    Timings are the row's share of the batch's time: encoding by soft tokens, prefill by prompt
    tokens, decoding by steps. They add up to the elapsed time.

    Raises ContextLengthError, and OptionError or AnswerCutError for a schema, before computing
    anything, and NonFiniteError if any row has a NaN.
    """
    for each in prompts:
        check_context(each.inputs, model.context_length)
    if model.options.kv_bits is not None:
        # Rows with quantized caches cannot be computed together.
        for number, each in enumerate(prompts):
            events = generate(model, each.inputs, each.options)
            yield from ((number, event) for event in events if isinstance(event, BatchEvent))
        return
    batch = RunningBatch(model, reads_all=True)
    numbers = {batch.add(each): number for number, each in enumerate(prompts)}
    while batch.rows:
        for row, event in batch.step():
            if isinstance(event, Gemma4Error):
                raise event
            if isinstance(event, Finished):
                yield numbers[row], replace(event, timings=row.spent)
            elif isinstance(event, BatchEvent):
                yield numbers[row], event
