"""A stage that begins with a checkpoint's weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
from transformers.models.gemma4.modeling_gemma4 import Gemma4AudioModel, Gemma4VisionModel

from training import kept_heads, tokenizer
from training.architecture import audio_config, vision_config
from training.export import averaged
from training.loop import Loop, Schedule, trained
from training.pictures import vision_tower
from training.pictures.batches import batch
from training.pictures.vision_tower import accuracies, new_heads, new_tower, tokens_of
from training.seeds import generator
from training.speech import audio_tower
from training.speech.audio_tower import new_speller
from training.start import heads_from, start_from, weights_of
from training.tokenizer import CHECKPOINT_FILE, FILE, VOCABULARY

START = Path(__file__).parents[2] / "gemma4cli" / "builtin" / "tiny"
HEADS = Path(kept_heads.__file__).with_name("tiny_heads.safetensors")
AUDIO, VISION = "model.audio_tower.", "model.vision_tower."


def test_a_tower_takes_the_weights_and_keeps_its_bounds_open() -> None:
    tower = Gemma4AudioModel(audio_config())
    start_from(tower, START, AUDIO)
    state = tower.state_dict()
    stored = weights_of(START, AUDIO)
    assert all(torch.equal(state[name], value) for name, value in stored.items())
    bounds = [value for name, value in state.items() if name.endswith(("_min", "_max"))]
    assert bounds
    assert all(torch.isinf(bound) for bound in bounds)


def test_another_part_does_not_fit() -> None:
    tower = Gemma4VisionModel(vision_config())
    with pytest.raises(RuntimeError, match="Missing key"):
        start_from(tower, START, AUDIO)
    start_from(tower, START, VISION)


def test_what_learnt_on_is_moved_a_quarter_of_the_way_back() -> None:
    earlier = weights_of(START, AUDIO)
    learnt = {name: value + torch.randn_like(value) for name, value in earlier.items()}
    moved = averaged(learnt, earlier)
    assert moved.keys() == learnt.keys()
    for name, value in moved.items():
        assert torch.allclose(value, 0.75 * learnt[name] + 0.25 * earlier[name], atol=1e-6)


def test_the_rate_of_what_learns_on_is_lower_and_falls_from_the_first_step() -> None:
    new = Schedule(steps=1000, peak=1e-3, warmup=10)
    on = new.learning_on()
    assert new.rate(20) == new.rate(600) == 1e-3
    rates = [on.rate(step) for step in range(10, 1000)]
    assert rates[0] < 0.5e-3
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.1 * rates[0]


def test_a_checkpoint_learns_on_with_its_own_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.parent.mkdir()
    path.write_bytes((START / CHECKPOINT_FILE).read_bytes())
    loaded = tokenizer.load(tmp_path, START)
    assert loaded.vocab_size == VOCABULARY


def test_a_checkpoint_refuses_another_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.parent.mkdir()
    content = json.loads((START / CHECKPOINT_FILE).read_text())
    content["model"]["merges"].pop()
    path.write_text(json.dumps(content))
    assert tokenizer.load(tmp_path).vocab_size == VOCABULARY
    with pytest.raises(ValueError, match="is not the tokenizer of"):
        tokenizer.load(tmp_path, START)


def test_the_tokenizer_of_a_checkpoint_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["tokenizer", str(tmp_path), "--start", str(START)])
    tokenizer.main()
    assert tokenizer.load(tmp_path, START).vocab_size == VOCABULARY


def test_heads_are_kept_and_taken_over(tmp_path: Path) -> None:
    speller = new_speller()
    heads = new_heads(new_tower())
    Loop(
        tmp_path / audio_tower.FOLDER,
        {name: speller.get_submodule(name) for name in audio_tower.HEADS},
        Schedule(steps=0, peak=1e-3),
    ).save()
    Loop(tmp_path / vision_tower.FOLDER, {"heads": heads}, Schedule(steps=0, peak=1e-3)).save()
    file = tmp_path / "heads.safetensors"
    kept_heads.keep(tmp_path, file)
    for module, stage, head in (
        (heads, "vision_tower", "heads"),
        (speller.words, "audio_tower", "words"),
        (speller.phonemes, "audio_tower", "phonemes"),
    ):
        before = {name: value.clone() for name, value in module.state_dict().items()}
        with torch.no_grad():
            for value in module.parameters():
                value.zero_()
        heads_from({head: module}, file, stage)
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name].half().float())
    with pytest.raises(RuntimeError, match="size mismatch"):
        heads_from({"words": speller.phonemes}, file, "audio_tower")


def test_no_steps_keep_what_a_stage_starts_from(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    loop = Loop(tmp_path, {"module": module}, Schedule(steps=0, peak=1e-3))
    loop.run(lambda step: pytest.fail("a step was taken"))
    kept = trained(tmp_path, "module")
    assert torch.equal(kept["weight"], module.weight)


def test_the_kept_heads_are_those_of_the_tower_that_ships() -> None:
    tower = new_tower()
    start_from(tower, START, VISION)
    heads = new_heads(tower)
    heads_from({"heads": heads}, HEADS, "vision_tower")
    given = batch(generator("kept heads"), ["objects", "count"] * 4, 70)
    with torch.no_grad():
        guesses = {n: v.argmax(-1) for n, v in heads(tokens_of(tower, given)).items()}
    for name in ("shape", "color"):
        right, known = accuracies(guesses, given.labels)[name]
        assert known > 10
        assert right >= 0.95 * known
