"""The exact inputs and outputs of a model for one conversation, as arrays.

For bug reports, and to compare with other implementations.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..options import GenerateOptions
from .file import Conversation, read_conversation

if TYPE_CHECKING:
    from ..engine.local import LocalModel
    from ..processing.inputs import ModelInputs

_SPAN_KINDS = {"image": 0, "video": 1, "audio": 2}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trace:
    """One run.

    input_ids    int32 [S]
    logits       float32 [S, V] of the prefill, after soft-capping
    greedy       int32 [n], the likeliest continuation, stop and suppressed ids included
    generated    int32 [m], the answer of a greedy run
    spans        int32 [k, 3]: kind (0 image, 1 video frame, 2 audio), start, end
    prompt       the rendered text
    soft_tokens  float32 [t, D], in the order of the prompt
    """

    input_ids: npt.NDArray[np.int32]
    logits: npt.NDArray[np.float32]
    greedy: npt.NDArray[np.int32]
    generated: npt.NDArray[np.int32]
    spans: npt.NDArray[np.int32]
    prompt: str
    soft_tokens: npt.NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file; ``numpy.load`` reads it."""
        with path.open("wb") as file:
            np.savez_compressed(file, **asdict(self))


def trace(
    model: LocalModel,
    conversation: Conversation | Path,
    *,
    max_tokens: int = 24,
    prefill_step_size: int = 512,
) -> Trace:
    """Run a conversation, or the one in a file, greedily.

    Its ``unified_full_attention_blocks`` has the effect of the load option of that name.

    Raises ConversationError, MediaError, PromptError, NonFiniteError.
    """
    import mlx.core as mx

    from ..engine.decode import decode_tokens
    from ..engine.encode import encode_media
    from ..engine.prefill import make_prefill
    from ..engine.sampling import make_sampler

    conversation = _read(conversation)
    if conversation.unified_full_attention_blocks:
        model = replace(model, options=replace(model.options, unified_full_attention_blocks=True))
    inputs = inputs_of(model, conversation)
    soft_tokens = next(s for s in encode_media(model, inputs) if isinstance(s, list))
    cache = model.network.language_model.make_cache()
    logits = make_prefill(model, inputs, soft_tokens, prefill_step_size).all_logits(cache)
    greedy = make_sampler(temperature=0, top_p=1, top_k=0)
    tokens = decode_tokens(model.network, cache, logits[-1], greedy, lookahead=False)
    width = model.network.config.text.hidden_size
    values = [np.array(s.values.astype(mx.float32)) for s in soft_tokens]
    return Trace(
        input_ids=np.array(inputs.ids, np.int32),
        logits=np.array(logits),
        greedy=np.array(list(islice(tokens, max_tokens)), np.int32),
        generated=_generated(model, inputs, max_tokens),
        spans=np.array(
            [(_SPAN_KINDS[s.kind], s.start, s.end) for s in inputs.spans], np.int32
        ).reshape(-1, 3),
        prompt=inputs.text,
        soft_tokens=np.concatenate(values) if values else np.zeros((0, width), np.float32),
    )


def inputs_of(model: LocalModel, conversation: Conversation | Path) -> ModelInputs:
    """Model inputs of a conversation, or of the one in a file."""
    from .open_media import open_message, prepare
    from .opened import OpenedMessage

    conversation = _read(conversation)
    media = conversation.media
    opened = [
        step
        for message in conversation.messages
        for step in open_message(model, message, media)
        if isinstance(step, OpenedMessage)
    ]
    return prepare(model, opened, media, think=conversation.think, tools=conversation.tools)


def _read(conversation: Conversation | Path) -> Conversation:
    if isinstance(conversation, Path):
        return read_conversation(conversation, for_trace=True)
    return conversation


def _generated(model: LocalModel, inputs: ModelInputs, max_tokens: int) -> npt.NDArray[np.int32]:
    from ..engine.generate import generate
    from ..events import Finished

    options = GenerateOptions(max_tokens=max_tokens, temperature=0)
    for event in generate(model, inputs, options):
        if isinstance(event, Finished):
            return np.array(event.token_ids, np.int32)
    raise AssertionError("a run ends with Finished")
