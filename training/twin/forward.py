"""The reference's unified model, run on a training batch.

The reference's layers and embedders are run as they are; the masks are added, which is faster on a
CPU than its fused attention, and the vocabulary is run where an answer is learnt.
tests/training/test_twin.py holds this to the reference's own forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import Gemma4UnifiedModel

NO_BLOCK = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where soft tokens stand: rows and columns int64 ``[S]`` of the batch."""

    rows: torch.Tensor
    columns: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Sequences padded on the right.

    ``ids`` int64 ``[B, L]``, soft tokens have the padding id; ``blocks`` int64 ``[B, L]`` number
    the image that a token belongs to. ``patches`` ``[S, 6912]`` with (x, y) int64 ``[S, 2]`` and
    ``frames`` ``[T, 640]`` stand at their places; ``targets`` int64 ``[N]`` are to follow the
    positions ``answers``.
    """

    ids: torch.Tensor
    blocks: torch.Tensor
    patches: torch.Tensor
    positions: torch.Tensor
    image: Places
    frames: torch.Tensor
    audio: Places
    answers: Places
    targets: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """Logits float32 ``[N, V]`` for the answers, and what stands in the middle of the layers.

    ``image`` ``[S, D]`` and ``audio`` ``[T, D]`` are the states of the soft tokens there.
    """

    logits: torch.Tensor
    image: torch.Tensor
    audio: torch.Tensor


def run(model: Gemma4UnifiedModel, batch: Batch, *, middle: int) -> Outputs:
    """Run a batch; ``middle`` is the number of layers before the states that are looked at.

    Where nothing is answered, the layers above are left out.
    """
    text = model.language_model
    config = text.config
    hidden = text.embed_tokens(batch.ids)
    if len(batch.patches):
        seen = model.embed_vision(batch.patches, batch.positions)
        hidden = _put(hidden, batch.image, seen.pooler_output)
    if len(batch.frames):
        hidden = _put(hidden, batch.audio, model.embed_audio(batch.frames))
    positions = torch.arange(batch.ids.shape[1], device=batch.ids.device).unsqueeze(0)
    masks = attention_masks(batch.blocks, config.sliding_window)
    rotary = {kind: text.rotary_emb(hidden, positions, kind) for kind in masks}
    looked_at = hidden
    for number, layer in enumerate(text.layers):
        kind = config.layer_types[number]
        hidden = layer(
            hidden,
            shared_kv_states={},
            position_embeddings=rotary[kind],
            attention_mask=masks[kind],
        )
        if number + 1 == middle:
            looked_at = hidden
            if not len(batch.targets):
                break
    answers = text.norm(hidden[batch.answers.rows, batch.answers.columns])
    logits = nn.functional.linear(answers, text.embed_tokens.weight).float()
    cap: float = config.final_logit_softcapping
    return Outputs(
        logits=torch.tanh(logits / cap) * cap,
        image=looked_at[batch.image.rows, batch.image.columns],
        audio=looked_at[batch.audio.rows, batch.audio.columns],
    )


def _put(hidden: torch.Tensor, places: Places, values: torch.Tensor) -> torch.Tensor:
    return hidden.index_put((places.rows, places.columns), values.to(hidden.dtype))


def attention_masks(blocks: torch.Tensor, window: int) -> dict[str, torch.Tensor]:
    """Masks to add, ``[1 or B, 1, L, L]``, for block numbers ``[B, L]``.

    Tokens of one image see each other on sliding layers, inside the window; full layers are causal.
    """
    steps = torch.arange(blocks.shape[1], device=blocks.device)
    distance = steps.unsqueeze(-1) - steps.unsqueeze(-2)
    causal = (distance >= 0).unsqueeze(0)
    same = (blocks.unsqueeze(-1) == blocks.unsqueeze(-2)) & (blocks != NO_BLOCK).unsqueeze(-1)
    allowed = {
        "full_attention": causal,
        "sliding_attention": (causal | same) & (distance < window),
    }
    hidden = torch.finfo(torch.float32).min
    return {kind: torch.where(mask, 0.0, hidden).unsqueeze(1) for kind, mask in allowed.items()}
