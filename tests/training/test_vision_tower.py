"""The vision tower's stage: batches, starting weights, losses, stored features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from training.pictures.batches import batch
from training.pictures.drawing import drawn
from training.pictures.features import Rendering, encode, load, write_shard
from training.pictures.heads import HEAD_WEIGHT, heads_loss
from training.pictures.labels import CLASSES, IGNORED
from training.pictures.scenes import picture
from training.pictures.vision_tower import (
    new_heads,
    new_tower,
    tokens_of,
    training_batch,
)
from training.seeds import generator


def test_a_batch_follows_from_its_step() -> None:
    first, second = (training_batch(3, 0.03) for _ in range(2))
    assert first.pictures == second.pictures
    assert torch.equal(first.pixels, second.pixels)


def test_every_soft_token_has_labels() -> None:
    given = batch(generator("batch"), ["objects", "page"], 70)
    tokens = tokens_of(new_tower(), given)
    assert len(tokens) == len(given.labels["shape"])


def test_the_loss_reaches_every_weight_of_the_tower() -> None:
    model = new_tower()
    given = batch(generator("batch"), ["groups", "page"], 70)
    loss, _ = heads_loss(new_heads(model)(tokens_of(model, given)), given.labels)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_head_without_targets_changes_nothing() -> None:
    heads = new_heads(new_tower())
    tokens = torch.randn(20, 128, requires_grad=True)
    targets = {name: torch.full((20,), IGNORED) for name in CLASSES}
    targets["shape"] = torch.arange(20) % CLASSES["shape"]
    loss, each = heads_loss(heads(tokens), targets)
    loss.backward()
    assert loss == HEAD_WEIGHT["shape"] * each["shape"]
    assert all(torch.isnan(each[name]) for name in CLASSES if name != "shape")
    assert tokens.grad.isfinite().all() and tokens.grad.abs().sum() > 0


def test_the_first_layer_starts_by_looking_beside() -> None:
    model = new_tower()
    model.set_attn_implementation("eager")
    weights = []
    attention = model.encoder.layers[0].self_attn
    attention.register_forward_hook(lambda module, given, result: weights.append(result[1]))
    given = batch(generator("batch"), ["page"], 70)
    with torch.no_grad():
        model(pixel_values=given.pixels, pixel_position_ids=given.positions)
    columns = int(given.positions[0, :, 0].max()) + 1
    middle = 7 * columns + 7
    favourites = [int(weights[0][0, head, middle].argmax()) - middle for head in range(4)]
    assert favourites == [-1, 1, -columns, columns]


def test_stored_features_come_back(tmp_path: Path) -> None:
    renderings = []
    for number in range(3):
        rng = generator("stored", number)
        shown = picture(rng)
        renderings.append(Rendering(picture=shown, pixels=drawn(shown, rng), budget=70))
    encoded = encode(new_tower(), renderings)
    write_shard(tmp_path, 0, encoded)
    for stored, made in zip(load(tmp_path), encoded, strict=True):
        assert stored.picture == made.picture
        assert stored.grid == made.grid
        assert np.array_equal(stored.tokens, made.tokens)
