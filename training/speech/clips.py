"""Clips to train and to test on: what is said, by whom, and what is heard with it.

Long recordings reach the model in pieces: several sentences with whatever stands in the pauses, and
speech cut within a word. So there are clips of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gemma4cli.decoded import SAMPLE_RATE
from training.seeds import generator
from training.words.sentence import Sentence, is_held_out, numbers, random_words, sentence

from .espeak import Utterance, espeak
from .noise import KINDS, WORDLESS, band_limited, leveled, mixed, noise
from .voices import Voice, voice

FloatArray = npt.NDArray[np.float32]

SHARES = {
    "sentence": 0.26,
    "sentences": 0.15,
    "cut": 0.07,
    "random words": 0.30,
    "numbers": 0.06,
    "german": 0.09,
    "german sentences": 0.04,
    "no words": 0.03,
}
MOST_TOKENS = 250
"""Of 40 ms: what the built-in models hear at once."""
LONGEST_CLIP = 0.04 * MOST_TOKENS
"""The same in seconds."""
_SHORTEST_SOUND = 800
"""Samples."""
_SHORTEST_CUT = 2.0
_CUT_TOLERANCE = 0.03
"""Seconds that may be missing of a word that counts as heard."""


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
        Recipe(name="cut", kinds=("cut",), noisy=0.0),
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
    who = voice(rng, language, held_out=recipe.held_out_voices)
    if kind == "cut":
        sentences, samples = _cut(rng, who, recipe.held_out)
    else:
        said = [_said(rng, kind, language, recipe.held_out) for _ in range(_how_many(rng, kind))]
        sentences, samples = _with_pauses(rng, said, [_utterance(each, who) for each in said])
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
        phonemes=" ".join(espeak().phonemes(" ".join(s.spoken), who) for s in sentences),
        kind=kind,
    )


def _how_many(rng: np.random.Generator, kind: str) -> int:
    if kind == "sentences":
        return int(rng.choice([2, 3, 4, 5], p=[0.4, 0.3, 0.2, 0.1]))
    if kind == "german sentences":
        return int(rng.choice([2, 3]))
    return 1


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


def _utterance(said: Sentence, who: Voice) -> Utterance:
    return espeak().utterance(" ".join(said.spoken), who)


def _with_pauses(
    rng: np.random.Generator, said: list[Sentence], spoken: list[Utterance]
) -> tuple[tuple[Sentence, ...], FloatArray]:
    """The sentences one after the other, as many as fit, and pauses before, between and after.

    In the pauses of some clips there is a sound.
    """
    power = max(float(np.sqrt(np.mean(each.samples**2))) for each in spoken)
    kind = WORDLESS[int(rng.integers(len(WORDLESS)))] if rng.random() < 0.2 else ""
    loud = power * 10 ** (-float(rng.uniform(0, 30)) / 20)
    longest = 2.0 if rng.random() < 0.4 else 0.8
    pieces = [_pause(rng, float(rng.uniform(0.02, 0.4)), kind, loud)]
    length = len(pieces[0])
    told: list[Sentence] = []
    for sentence_, each in zip(said, spoken, strict=True):
        if told and length + len(each.samples) > (LONGEST_CLIP - 0.5) * SAMPLE_RATE:
            break
        told.append(sentence_)
        pieces += [each.samples, _pause(rng, float(rng.uniform(0.15, longest)), kind, loud)]
        length += len(pieces[-2]) + len(pieces[-1])
    whole = np.concatenate(pieces)[: int(LONGEST_CLIP * SAMPLE_RATE)]
    return tuple(told), whole


def _pause(rng: np.random.Generator, seconds: float, kind: str, loud: float) -> FloatArray:
    length = int(seconds * SAMPLE_RATE)
    if not kind or length < _SHORTEST_SOUND:
        return np.zeros(length, np.float32)
    return noise(rng, kind, length) * np.float32(loud)


def _cut(
    rng: np.random.Generator, who: Voice, held_out: bool
) -> tuple[tuple[Sentence, ...], FloatArray]:
    """A window of unbroken speech; words of which a part is missing are not told."""
    words: list[tuple[str, int, int]] = []
    parts: list[FloatArray] = []
    length = 0
    for _ in range(int(rng.integers(3, 7))):
        said = _said(rng, "sentence", "en", held_out)
        while said.written != " ".join(said.spoken):
            said = _said(rng, "sentence", "en", held_out)
        heard = _utterance(said, who)
        bounds = (*heard.words, len(heard.samples))
        words += [
            # Words that are joined end together.
            (word, length + begin, length + min(b for b in bounds if b > begin))
            for word, begin in zip(said.spoken, heard.words, strict=True)
        ]
        gap = np.zeros(int(float(rng.uniform(0, 0.15)) * SAMPLE_RATE), np.float32)
        parts += [heard.samples, gap]
        length += len(heard.samples) + len(gap)
    whole = np.concatenate(parts)
    window = min(length, int(float(rng.uniform(_SHORTEST_CUT, LONGEST_CLIP)) * SAMPLE_RATE))
    begin = int(rng.integers(0, length - window + 1)) if rng.random() < 0.75 else 0
    end = begin + window
    slack = int(_CUT_TOLERANCE * SAMPLE_RATE)
    told = tuple(w for w, start, stop in words if start >= begin - slack and stop <= end + slack)
    text = " ".join(told)
    one = Sentence(spoken=told, written=text, language="en", english=text)
    return ((one,) if told else ()), whole[begin:end]


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
    length = int(rng.uniform(0.5, 8.0) * SAMPLE_RATE)
    if rng.random() < 0.3:
        return np.zeros(length, np.float32)
    kind = WORDLESS[int(rng.integers(len(WORDLESS)))]
    return leveled(noise(rng, kind, length), float(rng.uniform(3, 50)))
