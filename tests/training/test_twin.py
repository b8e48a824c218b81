"""The twin: its forward is the reference's, its checkpoint is one that g4 loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
from torch import nn
from transformers import Gemma4UnifiedForConditionalGeneration, Gemma4UnifiedModel

import gemma4cli
from gemma4cli.processing.tokenizer import Tokenizer
from training.evaluation.cases import Row, answer_of
from training.pictures.labels import IGNORED
from training.seeds import generator
from training.special_tokens import ID_OF
from training.start import weights_of
from training.tokenizer import FILE as TOKENIZER
from training.tokenizer import VOCABULARY
from training.twin import digits, train
from training.twin.architecture import SAMPLES_PER_TOKEN, twin_config
from training.twin.batches import (
    Example,
    Seen,
    clip_example,
    collate,
    frame_labels,
    picture_example,
    picture_labels,
    talk_example,
)
from training.twin.battery import causal_copy, compared, digit_cases, scene_cases
from training.twin.dialogues import described
from training.twin.export import config_json, export, tensors
from training.twin.forward import run
from training.twin.initial import cosine_patterns, filter_bank
from training.twin.names import COMPUTED, published_name
from training.twin.scenes import COLORLESS, HUES, scene
from training.twin.train import model_of, new_model

BUILTIN = Path(gemma4cli.__file__).parent / "builtin" / "tiny"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(BUILTIN / "tokenizer.json")


@pytest.fixture(scope="module")
def model() -> Gemma4UnifiedModel:
    return new_model(VOCABULARY).eval()


@pytest.fixture(scope="module")
def given(tokenizer: Tokenizer) -> list[Example]:
    rng = generator("test", "twin")
    tone = np.sin(np.arange(4000) / 5).astype(np.float32)
    clip = digits.Clip(samples=tone, digits=(4, 0), labels=np.array([IGNORED, 0, 5, 5, 1, 1, 0]))
    return [
        picture_example(rng, "objects", tokenizer, 2),
        clip_example(rng, clip, tokenizer),
        talk_example(rng, tokenizer),
        picture_example(rng, "colorless", tokenizer, 1),
    ]


@torch.no_grad()
def test_forward_is_the_reference_s(model: Gemma4UnifiedModel, given: list[Example]) -> None:
    """With the masks by which the reference generates into a static cache."""
    batch = collate(given)
    ours = run(model, batch, middle=2).logits
    reference = Gemma4UnifiedForConditionalGeneration(twin_config(VOCABULARY)).eval()
    reference.model.load_state_dict(model.state_dict())
    reference.tie_weights()
    at = 0
    start = {Seen: 0}
    for each in given:
        ids = torch.tensor([each.encoded.ids])
        media: dict[str, torch.Tensor] = {}
        kinds = torch.zeros_like(ids)
        if isinstance(each.medium, Seen):
            kinds[ids == ID_OF["<|image|>"]] = 1
            count = len(each.medium.patches)
            part = slice(start[Seen], start[Seen] + count)
            start[Seen] += count
            media["pixel_values"] = batch.patches[part].unsqueeze(0)
            media["image_position_ids"] = batch.positions[part].unsqueeze(0)
        elif each.medium is not None:
            media["input_features"] = batch.frames.unsqueeze(0)
            media["input_features_mask"] = torch.ones(1, len(batch.frames), dtype=torch.bool)
        masks = reference.create_masks_for_generate(
            config=reference.config,
            inputs_embeds=torch.zeros(*ids.shape, reference.config.text_config.hidden_size),
            attention_mask=torch.ones_like(ids),
            past_key_values=None,
            position_ids=torch.arange(ids.shape[1]).unsqueeze(0),
            mm_token_type_ids=kinds,
        )
        theirs = reference(input_ids=ids, attention_mask=masks, **media).logits[0]
        for answer in each.encoded.answers:
            wanted = theirs[answer.start - 1 : answer.stop - 1]
            torch.testing.assert_close(ours[at : at + len(answer)], wanted, atol=1e-4, rtol=1e-4)
            at += len(answer)
    assert at == len(ours)


def test_a_finished_twin_learns_on() -> None:
    weights = model_of(BUILTIN.parent / "tiny-unified").state_dict()
    stored = weights_of(BUILTIN.parent / "tiny-unified", "")
    learnt = {name for name in weights if not name.startswith(COMPUTED)}
    assert {published_name(name) for name in learnt} == set(stored)
    assert all(torch.equal(weights[name], stored[published_name(name)]) for name in learnt)


def test_another_model_does_not_learn_on_as_the_twin() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        model_of(BUILTIN)


def test_answers_stand_behind_the_model_s_turn(tokenizer: Tokenizer, given: list[Example]) -> None:
    """The last one behind an empty thought, earlier ones without."""
    newline = tokenizer.encode("\n")[-1]
    for each in given:
        ids = each.encoded.ids
        *earlier, last = each.encoded.answers
        assert ids[last.start - 1] == ID_OF["<channel|>"]
        assert all(ids[answer.start - 1] == newline for answer in earlier)
        assert all(ids[answer.stop - 1] == ID_OF["<turn|>"] for answer in each.encoded.answers)


def test_labels_are_those_of_the_soft_tokens(given: list[Example]) -> None:
    batch = collate(given)
    assert {len(each) for each in picture_labels(given).values()} == {len(batch.patches)}
    assert len(frame_labels(given)) == len(batch.frames) == len(batch.audio.rows)
    assert batch.blocks.max() == 0
    assert int((batch.blocks >= 0).sum()) == len(batch.patches)


def test_white_gray_and_black_are_the_same_to_the_embedder(model: Gemma4UnifiedModel) -> None:
    squares = torch.stack([torch.full((1, 6912), level) for level in (0.0, 0.5, 1.0)])
    tokens = model.embed_vision(squares, torch.zeros(3, 1, 2, dtype=torch.int64)).pooler_output
    assert (tokens - tokens[0]).abs().max() < 1e-2
    red = torch.tensor([0.9, 0.1, 0.1]).repeat(48 * 48).reshape(1, 1, -1)
    other = model.embed_vision(red, torch.zeros(1, 1, 2, dtype=torch.int64)).pooler_output
    assert (other - tokens[0]).abs().max() > 0.5


def test_plain_pictures_are_named_by_their_hue() -> None:
    rng = generator("test", "plain")
    named = {described(scene(rng, "plain")) for _ in range(100)}
    assert named == {f"A plain {name} picture." for name in HUES}
    for _ in range(20):
        gray = scene(rng, "colorless")
        assert len(set(gray.ground)) == 1
        assert described(gray) == f"A plain picture {COLORLESS}."


def test_patterns_and_filters_are_apart_from_each_other() -> None:
    patterns = cosine_patterns(48, 160)
    assert patterns.shape == (160, 6912)
    overlap = patterns @ patterns.T
    assert np.abs(overlap - np.diag(np.diag(overlap))).max() < 1e-9 * np.diag(overlap).max()
    bank = filter_bank(SAMPLES_PER_TOKEN)
    assert bank.shape == (160, SAMPLES_PER_TOKEN)
    np.testing.assert_allclose(np.linalg.norm(bank, axis=1), 1.0)


def stock_of_tones() -> digits.Stock:
    """One voice, whose digits last half a second each."""
    voice = [np.full(8000, 1000 * (1 + digit), np.int16) for digit in range(10)]
    rows = [np.full(12000, 500, np.int16)] * digits.ROWS_OF_A_VOICE
    spelled = np.full((1, digits.ROWS_OF_A_VOICE, digits.LONGEST_ROW), -1, np.int8)
    spelled[..., :2] = (4, 0)
    return digits.Stock(
        samples=np.concatenate([*voice, *rows]),
        starts=np.cumsum([0, *[8000] * 10, *[12000] * digits.ROWS_OF_A_VOICE]),
        rows=spelled,
    )


def test_frames_of_a_clip_are_labelled_by_its_digits() -> None:
    stock = stock_of_tones()
    for seed in range(5):
        clip = digits.clip(generator("test", seed), stock, most=3, fluent=0.0)
        assert len(clip.labels) == -(-len(clip.samples) // SAMPLES_PER_TOKEN)
        heard = [int(label) - 1 for label in clip.labels if label > 0]
        ordered = [d for i, d in enumerate(heard) if i == 0 or heard[i - 1] != d]
        same_once = [d for i, d in enumerate(clip.digits) if i == 0 or clip.digits[i - 1] != d]
        assert ordered == same_once


def test_exported_names_and_keys_are_the_published_ones(model: Gemma4UnifiedModel) -> None:
    fixtures = Path(__file__).parents[2] / "fixtures" / "gemma4" / "configs"
    published = json.loads((fixtures / "google__gemma-4-12B-it" / "config.json").read_text())
    ours = config_json(twin_config(VOCABULARY))
    for section in ("text_config", "vision_config", "audio_config"):
        # What transformers writes of every config, whatever the model.
        general = {"_name_or_path", "architectures", "chunk_size_feed_forward", "dtype"}
        general |= {"id2label", "label2id", "is_encoder_decoder", "output_attentions"}
        general |= {"output_hidden_states", "problem_type", "return_dict"}
        assert published[section].keys() - general <= ours[section].keys()
    assert published_name("embed_vision.multimodal_embedder.embedding_projection.weight") == (
        "model.embed_vision.embedding_projection.weight"
    )
    assert "model.vision_embedder.pos_embedding" in tensors(model.state_dict())


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_two_steps_make_a_checkpoint_that_g4_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the stock of voices to answers, and to answers of the causal copy."""
    monkeypatch.setattr(torch._dynamo.config, "disable", True)
    (tmp_path / TOKENIZER).parent.mkdir()
    (tmp_path / TOKENIZER).write_bytes((BUILTIN / "tokenizer.json").read_bytes())
    for held_out in (False, True):
        digits.save(stock_of_tones(), tmp_path, held_out=held_out)
    train.train(tmp_path, steps=2)
    folder, copy = tmp_path / "exported", tmp_path / "causal"
    export(tmp_path, folder)
    # Who may read the config may read the weights.
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    copy.mkdir()
    causal_copy(folder, copy)
    loaded, causal = gemma4cli.load(str(folder)), gemma4cli.load(str(copy))
    assert loaded.network.config.unified
    assert loaded.network.config.text.vision_blocks
    assert not causal.network.config.text.vision_blocks
    cases = [next(scene_cases("objects", 1)), next(digit_cases(stock_of_tones(), 1))]
    for case in cases:
        assert isinstance(answer_of(loaded, case), str)


def test_both_masks_stand_side_by_side() -> None:
    vision = {
        "plain: red": Row(wrong=1, total=4, whole=3, cases=4),
        "digits: one": Row(wrong=2, total=9, whole=3, cases=5),
    }
    causal = {"plain: red": Row(wrong=3, total=4, whole=1, cases=4)}
    assert compared(vision, causal).splitlines()[2:] == [
        "| digits: one | 3 of 5 (2 of 9 wrong) |  |",
        "| plain: red | 3 of 4 | 1 of 4 |",
    ]


def test_loss_can_be_taken_back(model: Gemma4UnifiedModel, given: list[Example]) -> None:
    batch = collate(given)
    outputs = run(model, batch, middle=2)
    nn.functional.cross_entropy(outputs.logits, batch.targets).backward()  # type: ignore[no-untyped-call]
    assert model.embed_audio.embedding_projection.weight.grad is not None
    assert model.embed_vision.patch_dense.weight.grad is not None
