"""Clips to train and to test on: what is said, by whom, and what is heard with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gemma4cli.decoded import SAMPLE_RATE
from training.seeds import generator
from training.words.sentence import Sentence, is_held_out, numbers, random_words, sentence

from .espeak import espeak
from .noise import KINDS, band_limited, leveled, mixed, noise
from .voices import Voice, voice

FloatArray = npt.NDArray[np.float32]

SHARES = {
    "sentence": 0.33,
    "sentences": 0.14,
    "random words": 0.32,
    "numbers": 0.07,
    "german": 0.09,
    "german sentences": 0.03,
    "no words": 0.02,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How the clips of a set differ from those of training."""

    name: str
    kinds: tuple[str, ...] = tuple(SHARES)
    held_out_voices: bool = False
    noisy: float = 0.5
    decibels: tuple[float, float] = (5.0, 30.0)

    @property
    def held_out(self) -> bool:
        """Only training takes the sentences that are not held out."""
        return self.name != TRAIN


TRAIN = "train"
SETS = {
    recipe.name: recipe
    for recipe in (
        Recipe(name=TRAIN),
        Recipe(name="unseen", kinds=("sentence",), noisy=0.0),
        Recipe(
            name="noisy",
            kinds=("sentence",),
            held_out_voices=True,
            noisy=1.0,
            decibels=(10.0, 10.0),
        ),
        Recipe(name="random", kinds=("random words",), noisy=0.0),
        Recipe(name="german", kinds=("german",), noisy=0.0),
        Recipe(name="sentences", kinds=("sentences",), noisy=0.0),
        Recipe(name="no words", kinds=("no words",)),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """``samples`` float32 ``[N]`` at 16 kHz; ``voice`` and ``phonemes`` are empty without words."""

    samples: FloatArray
    sentences: tuple[Sentence, ...]
    language: str
    voice: str
    phonemes: str
    kind: str


def clip(set_name: str, index: int) -> Clip:
    """Clip ``index`` of a set; only espeak-ng's flutter is not a function of the two."""
    recipe = SETS[set_name]
    rng = generator("speech", set_name, index)
    shares = np.array([SHARES[kind] for kind in recipe.kinds])
    kind = recipe.kinds[int(rng.choice(len(shares), p=shares / shares.sum()))]
    language = "de" if kind.startswith("german") else "en"
    if kind == "no words":
        return Clip(
            samples=_without_words(rng),
            sentences=(),
            language=language,
            voice="",
            phonemes="",
            kind=kind,
        )
    sentences = tuple(
        _said(rng, kind, language, recipe.held_out) for _ in range(_how_many(rng, kind))
    )
    who = voice(rng, language, held_out=recipe.held_out_voices)
    texts = [" ".join(s.spoken) for s in sentences]
    samples = _with_pauses(rng, [espeak().samples(text, who) for text in texts])
    if rng.random() < 0.25:
        samples = band_limited(rng, samples)
    samples = leveled(samples, float(rng.uniform(1, 20)))
    if rng.random() < recipe.noisy:
        samples = _in_noise(rng, samples, recipe, who)
    return Clip(
        samples=np.clip(samples, -1.0, 1.0),
        sentences=sentences,
        language=language,
        voice=who.name,
        phonemes=" ".join(espeak().phonemes(text, who) for text in texts),
        kind=kind,
    )


def _how_many(rng: np.random.Generator, kind: str) -> int:
    if kind == "sentences":
        return int(rng.choice([2, 3], p=[0.65, 0.35]))
    return 2 if kind == "german sentences" else 1


def _said(rng: np.random.Generator, kind: str, language: str, held_out: bool) -> Sentence:
    while True:
        if kind == "random words":
            said = random_words(rng, language, int(rng.integers(3, 13)))
        elif kind == "numbers":
            said = numbers(rng, language, int(rng.integers(2, 10)))
        else:
            said = sentence(rng, language)
        if is_held_out(said) == held_out:
            return said


def _with_pauses(rng: np.random.Generator, spoken: list[FloatArray]) -> FloatArray:
    """The sentences one after the other, silence before, between and after them."""
    pieces = [_silence(float(rng.uniform(0.02, 0.4)))]
    for samples in spoken:
        pieces += [samples, _silence(float(rng.uniform(0.2, 0.8)))]
    return np.concatenate(pieces)


def _in_noise(
    rng: np.random.Generator, samples: FloatArray, recipe: Recipe, who: Voice
) -> FloatArray:
    kind = KINDS[int(rng.integers(len(KINDS)))]
    others = []
    if kind == "babble":
        language = "de" if who.name.startswith("de") else "en"
        for _ in range(5):
            text = " ".join(random_words(rng, language, 8).spoken)
            others.append(espeak().samples(text, voice(rng, language)))
    # A single clear voice behind the speaker would be words, too: babble stays low.
    low, high = recipe.decibels
    decibels = float(rng.uniform(max(low, 10.0) if kind == "babble" else low, high))
    return mixed(samples, noise(rng, kind, len(samples), others), decibels)


def _without_words(rng: np.random.Generator) -> FloatArray:
    length = int(rng.uniform(0.5, 6.0) * SAMPLE_RATE)
    if rng.random() < 0.3:
        return np.zeros(length, np.float32)
    kind = KINDS[int(rng.integers(len(KINDS) - 1))]
    return leveled(noise(rng, kind, length), float(rng.uniform(3, 50)))


def _silence(seconds: float) -> FloatArray:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)
