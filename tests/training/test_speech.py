"""Clips: espeak-ng as a library, noise, what a clip holds; and the tower's training helpers."""

from __future__ import annotations

import ctypes
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from training.seeds import generator
from training.speech.noise import KINDS, leveled, mixed, noise
from training.speech.voices import (
    ACCENTS,
    HELD_OUT_ACCENTS,
    HELD_OUT_VARIANTS,
    VARIANTS,
    voice,
)

pytest.importorskip("soxr")


def _has_espeak() -> bool:
    try:
        ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        return False
    return True


needs_espeak = pytest.mark.skipif(not _has_espeak(), reason="libespeak-ng.so.1 is not installed")


@needs_espeak
def test_espeak_speaks_without_silence_around_the_words() -> None:
    from training.speech.espeak import espeak

    who = voice(generator("test"), "en")
    samples = espeak().samples("the cat is in the kitchen", who)
    assert samples.dtype == np.float32
    assert 0.8 * 16_000 < len(samples) < 4 * 16_000
    assert abs(samples[0]) > 1e-3
    phonemes = espeak().phonemes("tiger", who)
    assert phonemes.startswith("t")
    assert "ɡ" in phonemes  # noqa: RUF001


@needs_espeak
def test_words_begin_where_espeak_says_them() -> None:
    from training.speech.espeak import espeak

    who = voice(generator("test"), "en")
    spoken = espeak().utterance("the cat is in the kitchen tonight", who)
    assert spoken.words[0] == 0
    assert list(spoken.words) == sorted(spoken.words)
    # "tonight" takes about as long within the sentence as it does alone.
    alone = len(espeak().samples("tonight", who))
    assert len(spoken.samples) - spoken.words[-1] == pytest.approx(alone, rel=0.4)


@needs_espeak
def test_a_cut_clip_tells_whole_words_only() -> None:
    from training.speech import clips

    told = 0
    for index in range(12):
        cut = clips.clip("cut", index)
        assert len(cut.samples) <= clips.LONGEST_CLIP * 16_000
        words = [word for said in cut.sentences for word in said.spoken]
        told += len(words)
        # Nobody speaks faster than this, so no word comes from outside the window.
        assert len(words) <= len(cut.samples) / 16_000 * 6
    assert told > 60


@needs_espeak
def test_unbroken_clips_are_long_and_hold_nothing_that_is_held_out(monkeypatch) -> None:
    from training.speech import clips
    from training.words.sentence import is_held_out

    said = []
    real = clips._in_one_go

    def in_one_go(spoken):
        said.extend(spoken)
        return real(spoken)

    monkeypatch.setattr(clips, "_in_one_go", in_one_go)
    made = [clips.clip(clips.UNBROKEN, index) for index in range(12)]
    assert len(said) >= 12 * 5
    assert not any(is_held_out(each.said) for each in said)
    seconds = [len(clip.samples) / 16_000 for clip in made]
    assert max(seconds) <= clips.LONGEST_CLIP and np.mean(seconds) > 7
    assert {clip.kind for clip in made} == {"cut"}


@needs_espeak
def test_sentences_said_in_one_go_have_their_words_where_they_are_heard() -> None:
    from training.speech import clips

    who = voice(generator("test"), "en")
    rng = generator("in one go")
    sentences = [clips._said(rng, "sentence", "en", held_out=False) for _ in range(5)]
    timed, samples = clips._in_one_go([clips._Spoken(said=said, who=who) for said in sentences])
    assert [tuple(word for word, _, _ in words) for words in timed] == [
        said.spoken for said in sentences
    ]
    every = [word for words in timed for word in words]
    assert every[0][1] == 0 and every[-1][2] == len(samples)
    assert all(begin < end for _, begin, end in every)
    # Nothing stands between two words, nor between two sentences.
    assert all(after[1] in before[1:] for before, after in pairwise(every))
    one_by_one, alone = clips._one_by_one(
        generator("one by one"), [clips._Spoken(said=said, who=who) for said in sentences]
    )
    assert [word for words in one_by_one for word, _, _ in words] == [word for word, _, _ in every]
    assert len(samples) == pytest.approx(len(alone), rel=0.25)


@needs_espeak
def test_no_clip_is_longer_than_the_model_hears() -> None:
    from training.speech import clips

    lengths = [len(clips.clip("sentences", index).samples) / 16_000 for index in range(20)]
    assert max(lengths) <= clips.LONGEST_CLIP
    assert max(lengths) > 6


@needs_espeak
def test_an_unknown_voice_is_an_error() -> None:
    from dataclasses import replace

    from training.speech.espeak import EspeakError, espeak

    with pytest.raises(EspeakError, match="nobody"):
        espeak().samples("hello", replace(voice(generator("test"), "en"), name="nobody"))


@needs_espeak
@pytest.mark.parametrize("language", ["en", "de"])
def test_every_voice_is_known(language: str) -> None:
    from training.speech.espeak import espeak

    for index in range(60):
        who = voice(generator("test", index), language, held_out=index % 2 == 0)
        assert len(espeak().samples("tiger", who)) > 1000


def test_held_out_voices_are_not_in_training() -> None:
    assert not set(HELD_OUT_VARIANTS) & set(VARIANTS)
    assert not set(HELD_OUT_ACCENTS["en"]) & set(ACCENTS["en"])


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_unit_power_and_the_asked_ratio(kind: str) -> None:
    rng = generator("test", kind)
    speech = np.sin(np.arange(16_000) / 5).astype(np.float32)
    unit = noise(rng, kind, len(speech), [speech[:9000], speech[100:]])
    assert np.sqrt(np.mean(unit**2)) == pytest.approx(1, abs=1e-3)
    added = mixed(speech, unit, 10.0) - speech
    ratio = np.mean(speech**2) / np.mean(added**2)
    assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.1)


def test_levels_are_below_full_scale() -> None:
    assert np.max(leveled(np.array([0.1, -0.3], np.float32), 6.0)) < 0.51


@needs_espeak
def test_a_clip_says_what_it_says_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.speech import clips
    from training.words.sentence import Sentence, is_held_out

    said: list[Sentence] = []
    choose = clips._said

    def noted(*arguments: object) -> Sentence:
        said.append(choose(*arguments))
        return said[-1]

    monkeypatch.setattr(clips, "_said", noted)
    for index in range(20):
        said.clear()
        made = clips.clip("train", index)
        # A cut clip tells what is left of its sentences.
        assert not any(is_held_out(each) for each in said)
        assert made.kind == "cut" or set(made.sentences) <= set(said)
        assert made.sentences == clips.clip("train", index).sentences
        assert np.abs(made.samples).max() <= 1.0
        assert (made.kind == "no words") == (not made.sentences)


@needs_espeak
def test_questions_about_pictures_are_made_of_words_that_can_be_heard() -> None:
    from training.speech.clips import ASKED, clip
    from training.words.sentence import is_held_out, spoken_words

    asked = [clip(ASKED, index).sentences for index in range(12)]
    assert all(len(sentences) == 1 for sentences in asked)
    for (question,) in asked:
        assert set(question.spoken) <= set(spoken_words("en"))
        assert not is_held_out(question)


@needs_espeak
def test_held_out_sets_have_held_out_sentences() -> None:
    from training.speech.clips import clip
    from training.words.sentence import is_held_out

    made = clip("noisy", 3)
    assert all(is_held_out(said) for said in made.sentences)
    assert made.voice.endswith(HELD_OUT_VARIANTS)


@needs_espeak
def test_a_shard_gives_back_its_clips(tmp_path: Path) -> None:
    from training.speech.shards import read_shard, write_shard

    write_shard(tmp_path, "unseen", 0, count=4)
    clips = read_shard(tmp_path, "unseen", 0)
    assert len(clips) == 4
    for each in clips:
        assert each.mel.dtype == np.float16
        assert each.mel.shape[1] == 128
        assert len(each.words) == len(each.text.spoken.split())
        assert len(each.phonemes) > len(each.words)
    assert not list(tmp_path.rglob("*.partial"))


def test_batches_hold_every_clip_once_and_are_of_like_length() -> None:
    pytest.importorskip("torch")
    from training.speech.batches import FRAMES_PER_BATCH, by_length

    lengths = [int(n) for n in generator("test").integers(50, 1200, 200)]
    batches = by_length(lengths)
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    for batch in batches:
        assert len(batch) * max(lengths[i] for i in batch) <= FRAMES_PER_BATCH


def test_the_fast_subsampling_is_the_reference() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers.models.gemma4.modeling_gemma4 import Gemma4AudioModel

    from training.architecture import audio_config
    from training.speech.channels_last import use_channels_last
    from training.speech.initial_audio import initialise_audio_tower

    reference, fast = Gemma4AudioModel(audio_config()), Gemma4AudioModel(audio_config())
    initialise_audio_tower(reference, torch.Generator().manual_seed(1))
    fast.load_state_dict(reference.state_dict())
    use_channels_last(fast)
    features = torch.randn(2, 75, 128, generator=torch.Generator().manual_seed(2)) - 4
    mask = torch.arange(75)[None] < torch.tensor([[75], [50]])
    with torch.no_grad():
        expected = reference.subsample_conv_projection(features, mask)
        got = fast.subsample_conv_projection(features, mask)
    assert torch.equal(got[1], expected[1])
    torch.testing.assert_close(got[0], expected[0], rtol=1e-5, atol=1e-5)


def test_features_are_kept_with_their_texts(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from training.speech.audio_features import Heard, features_path, load, write_features

    clips = [
        Heard(
            tokens=np.full((count, 128), count, np.float16),
            spelled=((0, "guten"), (2, "morgen")),
            written="guten morgen",
            english="good morning",
            language="de",
            kind="german",
        )
        for count in (3, 5)
    ]
    write_features(features_path(tmp_path, "train", 0), clips)
    kept = load(tmp_path)
    assert [len(each.tokens) for each in kept] == [3, 5]
    assert np.array_equal(kept[1].tokens, clips[1].tokens)
    assert kept[0].english == "good morning"
    assert kept[0].spelled == clips[0].spelled


def test_first_tokens_start_a_word() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from training.speech.audio_tower import first_tokens

    path = torch.tensor([0, 3, 3, 0, 3, 4, 4, 0])
    scores = torch.nn.functional.one_hot(path, 6).float()
    assert first_tokens(scores, 8).tolist() == [1, 4, 5]
    assert first_tokens(scores, 5).tolist() == [1, 4]


@pytest.mark.parametrize(
    ("heard", "said", "count"),
    [([1, 2, 3], [1, 2, 3], 0), ([1, 3], [1, 2, 3], 1), ([], [1, 2], 2), ([4, 5], [], 2)],
)
def test_word_errors(heard: list[int], said: list[int], count: int) -> None:
    from training.word_errors import word_errors

    assert word_errors(heard, said) == count


def test_no_words_in_the_tower_loss_keep_it_finite() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from training.speech.audio_tower import loss_of, new_speller
    from training.speech.batches import collated
    from training.speech.shards import ClipText, StoredClip

    text = ClipText(kind="", language="en", voice="", spoken="", written="", english="")
    rng = generator("test")
    clips = [
        StoredClip(
            mel=(rng.standard_normal((frames, 128)) - 4).astype(np.float16),
            words=np.array(words, np.int16),
            phonemes=np.array(words, np.int16),
            text=text,
        )
        for frames, words in ((60, [1, 2]), (40, []))
    ]
    batch = collated(clips)
    loss, _ = loss_of(new_speller()(batch.features, batch.mask), batch, progress=0.5)
    assert torch.isfinite(loss)


@needs_espeak
def test_the_kept_heads_read_what_the_tower_that_ships_hears() -> None:
    pytest.importorskip("torch")
    from training.speech.audio_tower import HEADS, errors_in, new_speller
    from training.speech.clips import clip
    from training.speech.shards import stored
    from training.start import heads_from, start_from

    root = Path(__file__).parents[2]
    speller = new_speller()
    start_from(speller.tower, root / "gemma4cli" / "builtin" / "tiny", "model.audio_tower.")
    heads_from(
        {name: speller.get_submodule(name) for name in HEADS},
        root / "training" / "tiny_heads.safetensors",
        "audio_tower",
    )
    wrong, said, _ = errors_in(speller, [stored(clip("unseen", index)) for index in range(8)])
    assert said > 30
    assert wrong <= 0.05 * said
