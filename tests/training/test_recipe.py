"""How long the stages of the recipe take, and what can run beside what."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

from training import __main__ as recipe
from training.amounts import CLIPS_PER_SHARD, RECIPE, TRIAL, Amounts


@pytest.mark.parametrize("factor", [0.001, 0.3, 1.0, 2.5])
def test_clips_come_in_whole_shards_and_nothing_is_none(factor: float) -> None:
    amounts = RECIPE.times(factor)
    assert min(asdict(amounts).values()) > 0
    for clips in (amounts.clips, amounts.asked, amounts.unbroken):
        assert clips % CLIPS_PER_SHARD == 0


def test_twice_is_twice() -> None:
    assert asdict(RECIPE.times(2)) == {name: 2 * n for name, n in asdict(RECIPE).items()}


@pytest.mark.parametrize("amounts", [RECIPE, TRIAL])
def test_every_stage_is_there_and_follows_what_it_needs(amounts: Amounts) -> None:
    order = [
        [stage.module for stage in chain]
        for side_by_side in recipe.chains(Path("made"), amounts)
        for chain in side_by_side
    ]
    assert all(find_spec(module) for chain in order for module in chain)
    assert order[0] == ["training.tokenizer"]
    assert order[-1] == [
        "training.pictures.features",
        "training.language.stage",
        "training.export",
    ]
    towers = [module for chain in order[1:-1] for module in chain]
    assert {"training.speech.audio_features", "training.pictures.vision_tower"} <= set(towers)


def test_all_who_read_the_clips_are_told_the_same_number() -> None:
    stages = {
        stage.module: stage.command(Path("work"))
        for side_by_side in recipe.chains(Path("made"), RECIPE.times(3))
        for chain in side_by_side
        for stage in chain
    }
    told = [
        stages[f"training.speech.{name}"] for name in ("shards", "audio_tower", "audio_features")
    ]
    assert [
        line[line.index(option) + 1]
        for line, option in zip(told, ("--count", "--clips", "--count"), strict=True)
    ] == ["72000"] * 3


@pytest.mark.parametrize("times", ["0", "-1"])
def test_nothing_is_no_recipe(
    times: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["training", str(tmp_path), str(tmp_path), "--times", times])
    with pytest.raises(SystemExit):
        recipe.main()
    assert "--times has to be more than 0" in capsys.readouterr().err
