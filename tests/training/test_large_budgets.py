"""The vision tower's practice at large budgets: windows, what stays, what is written."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from training.loop import Loop, Schedule, trained
from training.pictures import features, large_budgets, vision_tower
from training.pictures.batches import batch
from training.pictures.labels import IGNORED
from training.pictures.large_budgets import lesson, loss_of, take_windows, window
from training.pictures.vision_tower import new_heads, new_tower, tokens_of
from training.seeds import generator


def test_a_window_is_a_part_of_its_picture() -> None:
    whole = batch(generator("window"), ["count"], 560)
    places = {tuple(place): number for number, place in enumerate(whole.positions[0].tolist())}
    columns = int(whole.positions[0, :, 0].max() + 1) // 3
    for number in range(8):
        part = window(generator("window", number), whole)
        patches = [places[tuple(place)] for place in part.positions[0].tolist()]
        assert torch.equal(part.pixels[0], whole.pixels[0, patches])
        # The first patch of each soft token, row by row.
        tokens = [tuple(place) for place in part.positions[0].tolist()]
        tokens = [(x // 3, y // 3) for x, y in tokens if x % 3 == 0 and y % 3 == 0]
        of_whole = whole.labels["shape"][[x + columns * y for x, y in tokens]]
        assert torch.equal(part.labels["shape"], of_whole)
        assert len(tokens) * 9 == len(patches)
        assert set(part.labels["count"].tolist()) == {IGNORED}
        assert len(part.labels["count"]) == len(tokens)


def test_a_tower_that_takes_windows_gives_the_same_for_whole_pictures() -> None:
    tower = new_tower().eval()
    whole = batch(generator("window"), ["objects"], 70)
    with torch.no_grad():
        before = tokens_of(tower, whole)
        take_windows(tower)
        assert torch.equal(tokens_of(tower, whole), before)


def test_each_soft_token_of_a_window_is_pooled_from_its_own_patches() -> None:
    tower = new_tower().eval()
    take_windows(tower)
    part = window(generator("window"), batch(generator("window"), ["groups"], 1120))
    count = part.positions.shape[1]
    marks = torch.arange(count).float().reshape(1, -1, 1)
    length = count // 9
    pooled, _ = tower.pooler._avg_pool_by_positions(marks, part.positions, length)
    first = part.positions[0].amin(0)
    x, y = ((part.positions[0] - first) // 3).unbind(-1)
    token = x + (int(x.max()) + 1) * y
    wanted = torch.stack([marks[0, token == number, 0].mean() for number in range(length)])
    assert torch.allclose(pooled[0, :, 0], wanted)


def test_what_has_not_moved_costs_nothing() -> None:
    tower, heads = new_tower(), new_heads(new_tower())
    take_windows(tower)
    loss, numbers = loss_of(tower, tower, heads, lesson(generator("lesson", 1)))
    assert numbers["moved"].item() == 0
    assert loss.item() == numbers["large"].item() > 0


def test_the_finished_tower_is_the_one_that_has_practised_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Compiling takes longer than a hundred steps.
    monkeypatch.setattr(large_budgets, "compile_layers", lambda layers: None)
    tower = new_tower()
    heads = new_heads(tower)
    nothing = Schedule(steps=0, peak=1e-3)
    Loop(tmp_path / vision_tower.FOLDER, {"tower": tower, "heads": heads}, nothing).save()
    large_budgets.train(tmp_path, 1)
    before = trained(tmp_path / vision_tower.FOLDER, "tower")
    after = trained(tmp_path / large_budgets.FOLDER, "tower")
    name = "encoder.layers.0.self_attn.q_proj.linear.weight"
    assert not torch.equal(before[name], after[name])
    finished = features.finished_tower(tmp_path).state_dict()[name]
    assert torch.equal(finished, after[name].bfloat16().float())
