"""The reference's language model, run so that only answers are paid for in full.

The last layers share keys and values with earlier ones, and nothing reads their output at the
positions of a prompt. They and the vocabulary are run for the answers' positions alone, which
halves a training step. tests/training/test_language.py holds this to the reference's own forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import Gemma4Config
from transformers.models.gemma4.modeling_gemma4 import (
    Gemma4MultimodalEmbedder,
    Gemma4TextModel,
    apply_rotary_pos_emb,
)

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
    Of every word that is heard, ``words`` int64 ``[W, 1 + before]`` is the word and those before
    it, ``word_numbers`` int64 ``[W]`` how many are heard before it in its sound, and
    ``word_places`` (rows, columns) int64 ``[W]`` where it begins. Wherever the next token of an
    answer tells of a word, ``tellers`` (rows, columns) int64 ``[T]`` is where that is, and ``told``
    int64 ``[T]`` the word's number.
    Of every token of an answer of which it is known what it tells of, ``lookers`` (rows, columns of
    ``answers``) int64 ``[K]`` is where it is to be said, and ``looked_at`` (numbers of lookers,
    columns) int64 ``[N]`` are all the places that show it.
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
    words: torch.Tensor
    word_numbers: torch.Tensor
    word_places: tuple[torch.Tensor, torch.Tensor]
    told: torch.Tensor
    tellers: tuple[torch.Tensor, torch.Tensor]
    lookers: tuple[torch.Tensor, torch.Tensor]
    looked_at: tuple[torch.Tensor, torch.Tensor]
    answers: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """Logits float32 ``[B, A, V]`` at the answers' positions, and what led to them.

    ``states`` ``[B, L, hidden]`` are those from which the last keys and values are made.
    ``looks`` float32 ``[B, A, L]``, one for each of the last layers, are the logarithms of what the
    first head of its attention gives every position.
    """

    logits: torch.Tensor
    states: torch.Tensor
    looks: tuple[torch.Tensor, ...]


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
    looks: list[torch.Tensor] = []
    for number in range(first_shared, config.num_hidden_layers):
        kind = config.layer_types[number]
        cosine, sine = rotary[kind]
        turned = cosine[0][answers], sine[0][answers]
        keys, _ = shared[kind]
        looks.append(_looks(model.layers[number], hidden, keys, turned, masks[kind]))
        hidden = model.layers[number](
            hidden,
            per_layer[:, :, number],
            shared_kv_states=shared,
            position_embeddings=turned,
            attention_mask=masks[kind],
        )
    logits = nn.functional.linear(model.norm(hidden), model.embed_tokens.weight).float()
    cap: float = config.final_logit_softcapping
    return Outputs(logits=torch.tanh(logits / cap) * cap, states=states, looks=tuple(looks))


def _looks(
    layer: nn.Module,
    hidden: torch.Tensor,
    keys: torch.Tensor,
    turned: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor,
) -> torch.Tensor:
    """What the first head of a layer's attention makes of ``hidden``, once more.

    The layer itself, compiled or fused, does not tell.
    """
    attention = layer.self_attn
    normed = layer.input_layernorm(hidden)
    queries = nn.functional.linear(normed, attention.q_proj.weight[: attention.head_dim])
    queries = apply_rotary_pos_emb(attention.q_norm(queries).unsqueeze(2), *turned, unsqueeze_dim=2)
    scores = (queries.squeeze(2) @ keys[:, 0].transpose(1, 2)).float()
    mask = mask[:, 0]
    if mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(torch.float32).min)
    else:
        scores = scores + mask
    return nn.functional.log_softmax(scores, -1)


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
