"""The reference's language model, run so that only answers are paid for in full.

The last layers share keys and values with earlier ones, and nothing reads their output at the
positions of a prompt. They and the vocabulary are run for the answers' positions alone, which
halves a training step. tests/training/test_answers.py holds this to the reference's own forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import Gemma4Config
from transformers.models.gemma4.modeling_gemma4 import Gemma4MultimodalEmbedder, Gemma4TextModel

_LONG = 400
"""Positions from which the reference's fused attention is quicker on a CPU than its eager one, with
heads as small as these: at 690 by half, while at 200 it takes half as long again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Sequences padded on the right, and where their answers are.

    ``ids`` int64 ``[B, L]``, soft tokens have the padding id. ``pictures`` and ``sounds`` float32
    ``[S, width]`` are what the towers gave, their places (rows, columns) int64 ``[S]``.
    ``picture_labels`` int8 ``[S, heads]`` are what the soft tokens of pictures show. Of every
    picture, ``picture_ends`` (rows, columns) int64 ``[P]`` is the token behind it, and ``repeated``
    int64 ``[P]`` 1 where it shows what the picture before it shows.
    ``answers`` int64 ``[B, A]`` are the positions whose next token is to be learnt, ``targets``
    int64 ``[B, A]`` those tokens, ``weights`` float32 ``[B, A]`` what each counts, 0 where a row
    has fewer.
    """

    ids: torch.Tensor
    pictures: torch.Tensor
    picture_places: tuple[torch.Tensor, torch.Tensor]
    picture_labels: torch.Tensor
    picture_ends: tuple[torch.Tensor, torch.Tensor]
    repeated: torch.Tensor
    sounds: torch.Tensor
    sound_places: tuple[torch.Tensor, torch.Tensor]
    answers: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """Logits float32 ``[B, A, V]`` at the answers' positions, and states in the middle.

    ``states`` ``[B, L, hidden]`` are those from which the last keys and values are made.
    """

    logits: torch.Tensor
    states: torch.Tensor


class LanguageModel(nn.Module):
    """The parts of the checkpoint that learn from conversations."""

    def __init__(self, config: Gemma4Config) -> None:
        super().__init__()
        self.text = Gemma4TextModel(config.text_config)
        self.pictures = Gemma4MultimodalEmbedder(config.vision_config, config.text_config)
        self.sounds = Gemma4MultimodalEmbedder(config.audio_config, config.text_config)

    def forward(self, batch: Batch) -> Outputs:
        embeds = self.text.embed_tokens(batch.ids)
        for embedder, tokens, places in (
            (self.pictures, batch.pictures, batch.picture_places),
            (self.sounds, batch.sounds, batch.sound_places),
        ):
            if len(tokens):
                embeds = embeds.index_put(places, embedder(tokens).to(embeds.dtype))
        return run(self.text, batch.ids, embeds, batch.answers)


def run(
    model: Gemma4TextModel, ids: torch.Tensor, embeds: torch.Tensor, answers: torch.Tensor
) -> Outputs:
    """Logits at the positions ``answers``.

    ``embeds`` ``[B, L, hidden]`` belong to ``ids``, with soft tokens in their places.
    """
    config = model.config
    config._attn_implementation = "sdpa" if ids.shape[1] > _LONG else "eager"
    per_layer = model.project_per_layer_inputs(embeds, model.get_per_layer_inputs(ids, embeds))
    positions = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
    added = config._attn_implementation == "eager"
    masks = _masks(positions, positions, config.sliding_window, added=added)
    rotary = {kind: model.rotary_emb(embeds, positions, kind) for kind in masks}
    shared: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    hidden = embeds
    first_shared = config.num_hidden_layers - config.num_kv_shared_layers
    states = hidden
    for number in range(first_shared):
        states = hidden
        kind = config.layer_types[number]
        hidden = model.layers[number](
            hidden,
            per_layer[:, :, number],
            shared_kv_states=shared,
            position_embeddings=rotary[kind],
            attention_mask=masks[kind],
        )

    rows = torch.arange(len(hidden), device=ids.device).unsqueeze(1)
    hidden = hidden[rows, answers]
    per_layer = per_layer[rows, answers]
    masks = _masks(answers, positions, config.sliding_window, added=added)
    for number in range(first_shared, config.num_hidden_layers):
        kind = config.layer_types[number]
        cosine, sine = rotary[kind]
        hidden = model.layers[number](
            hidden,
            per_layer[:, :, number],
            shared_kv_states=shared,
            position_embeddings=(cosine[0][answers], sine[0][answers]),
            attention_mask=masks[kind],
        )
    logits = nn.functional.linear(model.norm(hidden), model.embed_tokens.weight).float()
    cap: float = config.final_logit_softcapping
    return Outputs(logits=torch.tanh(logits / cap) * cap, states=states)


def _masks(
    queries: torch.Tensor, keys: torch.Tensor, window: int, *, added: bool
) -> dict[str, torch.Tensor]:
    """Masks ``[1 or B, 1, Q, K]`` for queries ``[1 or B, Q]`` and keys ``[1, K]``.

    ``added`` masks are 0 or the lowest number, others true or false.
    """
    distance = (queries.unsqueeze(-1) - keys.unsqueeze(-2)).unsqueeze(1)
    seen = {
        "full_attention": distance >= 0,
        "sliding_attention": (distance >= 0) & (distance < window),
    }
    if not added:
        return seen
    hidden = torch.finfo(torch.float32).min
    return {kind: torch.where(mask, 0.0, hidden) for kind, mask in seen.items()}
