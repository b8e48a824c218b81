"""Clips to train and to test on: what is said, by whom, and what is heard with it.

Long recordings reach the model in pieces: several sentences with whatever stands in the pauses, and
speech cut within a word. So there are clips of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt

from gemma4cli.decoded import SAMPLE_RATE
from training.choosing import choice, one
from training.pictures.questions import questions
from training.pictures.scenes import picture
from training.seeds import generator
from training.words.sentence import (
    Sentence,
    english_words,
    is_held_out,
    numbers,
    random_words,
    sentence,
)

from .espeak import Utterance, espeak
from .noise import KINDS, WORDLESS, band_limited, leveled, mixed, noise
from .voices import Voice, voice

FloatArray = npt.NDArray[np.float32]
_Timed = tuple[str, int, int]
"""A word, and the samples at which it begins and ends."""

SHARES = {
    "sentence": 0.16,
    "sentences": 0.16,
    "cut": 0.28,
    "random words": 0.2,
    "numbers": 0.05,
    "german": 0.07,
    "german sentences": 0.04,
    "no words": 0.04,
}
MOST_TOKENS = 250
"""Of 40 ms: what the built-in models hear at once."""
LONGEST_CLIP = 0.04 * MOST_TOKENS
"""The same in seconds."""
_SHORTEST_SOUND = 800
"""Samples."""
_SHORTEST_CUT = 2.0
_SHORTEST_UNBROKEN = 6.0
_CUT_TOLERANCE = 0.03
"""Seconds that may be missing of a word that counts as heard."""
_TIGHT = 0.5
"""How often the sentences of a cut clip follow each other without any gap: the first word of one
then runs into the last of the other."""
_LONGEST_GAP = 0.15
"""Seconds, in the other cut clips."""
_IN_ONE_GO = 0.6
"""How often a single voice says the sentences of a cut clip as if they were one."""
_SEVERAL_VOICES = {"sentences": 0.3, "german sentences": 0.3, "cut": 0.5}
"""How often each sentence of a clip has a voice, and a loudness, of its own."""
_SOUND_IN_PAUSES = 0.4
_SOUND_DECIBELS = -10.0, 30.0
"""How much fainter than the voice it is: between sentences, music may well be louder."""
_TUNES = 0.4
"""How often a sound without words has to be a tune; otherwise it is any kind, a tune included."""
_LONGEST_PAUSES = {0.8: 0.55, 2.0: 0.3, 5.0: 0.15}
"""Seconds, and how often."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spoken:
    """A sentence, or what is left of one, and who says it."""

    said: Sentence
    who: Voice


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How the clips of a set differ from those of training."""

    name: str
    kinds: tuple[str, ...] = tuple(SHARES)
    held_out_voices: bool = False
    unbroken: bool = False
    """Cut clips are long, and said by one voice in one go."""
    noisy: float = 0.5
    decibels: tuple[float, float] = (5.0, 30.0)

    @property
    def held_out(self) -> bool:
        """Only training takes the sentences that are not held out."""
        return self.name not in LEARNT_FROM


TRAIN = "train"
ASKED = "asked"
"""Questions about pictures, for the language model alone: it has to meet each of them often."""
UNBROKEN = "unbroken"
"""One voice that goes on without a pause, for the language model alone: in clips as long as what it
hears at once it loses its place, and joined ones do not sound like them."""
LEARNT_FROM = (TRAIN, ASKED, UNBROKEN)
SETS = {
    recipe.name: recipe
    for recipe in (
        Recipe(name=TRAIN),
        Recipe(name=ASKED, kinds=("question",)),
        Recipe(name=UNBROKEN, kinds=("cut",), unbroken=True),
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
    kind = choice(rng, {kind: SHARES.get(kind, 1.0) for kind in recipe.kinds})
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
    count = _how_many(rng, kind, recipe)
    voices = _voices(rng, kind, language, count, recipe)
    if kind == "cut":
        told, samples = _cut(rng, voices, recipe)
    else:
        spoken = [
            _Spoken(said=_said(rng, kind, language, recipe.held_out), who=who) for who in voices
        ]
        told, samples = _with_pauses(rng, spoken)
    if rng.random() < 0.25:
        samples = band_limited(rng, samples)
    samples = leveled(samples, float(rng.uniform(1, 20)))
    if rng.random() < recipe.noisy:
        samples = _in_noise(rng, samples, recipe, language)
    return Clip(
        samples=np.clip(samples, -1.0, 1.0),
        sentences=tuple(each.said for each in told),
        language=language,
        voice=voices[0].name,
        phonemes=" ".join(espeak().phonemes(" ".join(each.said.spoken), each.who) for each in told),
        kind=kind,
    )


def _voices(
    rng: np.random.Generator, kind: str, language: str, count: int, recipe: Recipe
) -> list[Voice]:
    """One for each sentence of a clip."""
    held_out = recipe.held_out_voices
    if not recipe.unbroken and rng.random() < _SEVERAL_VOICES.get(kind, 0.0):
        return [voice(rng, language, held_out=held_out) for _ in range(count)]
    return [voice(rng, language, held_out=held_out)] * count


def _how_many(rng: np.random.Generator, kind: str, recipe: Recipe) -> int:
    """Sentences of a clip."""
    if recipe.unbroken:
        return int(rng.integers(5, 8))
    if kind == "cut":
        return int(rng.integers(3, 7))
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
        elif kind == "question":
            said = _question(rng)
        else:
            said = sentence(rng, language)
        if is_held_out(said) == held_out:
            return said


def _question(rng: np.random.Generator) -> Sentence:
    """What somebody may ask aloud about a picture."""
    while True:
        for asked in questions(picture(rng), rng, 1):
            if asked.spoken is not None:
                return english_words(asked.spoken.split())


def _is_one_voice(spoken: list[_Spoken]) -> bool:
    return all(each.who is spoken[0].who for each in spoken)


def _utterances(rng: np.random.Generator, spoken: list[_Spoken]) -> list[Utterance]:
    """Different voices are of different loudness, too."""
    heard = [espeak().utterance(" ".join(each.said.spoken), each.who) for each in spoken]
    if _is_one_voice(spoken):
        return heard
    return [
        replace(each, samples=leveled(each.samples, float(rng.uniform(1, 14)))) for each in heard
    ]


def _wordless(rng: np.random.Generator) -> str:
    if rng.random() < _TUNES:
        return "tune"
    return one(rng, WORDLESS)


def _with_pauses(
    rng: np.random.Generator, spoken: list[_Spoken]
) -> tuple[list[_Spoken], FloatArray]:
    """The sentences one after the other, as many as fit, and pauses before, between and after.

    In the pauses of some clips there is a sound.
    """
    heard = _utterances(rng, spoken)
    power = max(float(np.sqrt(np.mean(each.samples**2))) for each in heard)
    kind = _wordless(rng) if rng.random() < _SOUND_IN_PAUSES else ""
    loud = power * 10 ** (-float(rng.uniform(*_SOUND_DECIBELS)) / 20)
    longest = choice(rng, _LONGEST_PAUSES)
    pieces = [_pause(rng, float(rng.uniform(0.02, min(1.0, longest))), kind, loud)]
    length = len(pieces[0])
    told: list[_Spoken] = []
    for each, utterance in zip(spoken, heard, strict=True):
        if told and length + len(utterance.samples) > (LONGEST_CLIP - 0.5) * SAMPLE_RATE:
            break
        told.append(each)
        pieces += [utterance.samples, _pause(rng, float(rng.uniform(0.15, longest)), kind, loud)]
        length += len(pieces[-2]) + len(pieces[-1])
    whole = np.concatenate(pieces)[: int(LONGEST_CLIP * SAMPLE_RATE)]
    return told, whole


def _pause(rng: np.random.Generator, seconds: float, kind: str, loud: float) -> FloatArray:
    length = int(seconds * SAMPLE_RATE)
    if not kind or length < _SHORTEST_SOUND:
        return np.zeros(length, np.float32)
    return noise(rng, kind, length) * np.float32(loud)


def _cut(
    rng: np.random.Generator, voices: list[Voice], recipe: Recipe
) -> tuple[list[_Spoken], FloatArray]:
    """A window of unbroken speech; words of which a part is missing are not told."""
    said = [_said(rng, "sentence", "en", recipe.held_out) for _ in voices]
    spoken = [_Spoken(said=each, who=who) for each, who in zip(said, voices, strict=True)]
    if recipe.unbroken or (_is_one_voice(spoken) and rng.random() < _IN_ONE_GO):
        timed, samples = _in_one_go(spoken)
    else:
        timed, samples = _one_by_one(rng, spoken)
    shortest = _SHORTEST_UNBROKEN if recipe.unbroken else _SHORTEST_CUT
    window = min(len(samples), int(float(rng.uniform(shortest, LONGEST_CLIP)) * SAMPLE_RATE))
    begin = int(rng.integers(0, len(samples) - window + 1)) if rng.random() < 0.75 else 0
    end = begin + window
    slack = int(_CUT_TOLERANCE * SAMPLE_RATE)
    told: list[_Spoken] = []
    for each, words in zip(spoken, timed, strict=True):
        whole = tuple(w for w, b, e in words if b >= begin - slack and e <= end + slack)
        if whole:
            told.append(replace(each, said=english_words(whole)))
    return told, samples[begin:end]


def _timed(words: Sequence[str], heard: Utterance, at: int = 0) -> list[_Timed]:
    """Each word of an utterance that begins at sample ``at``; joined words end together."""
    bounds = (*heard.words, len(heard.samples))
    return [
        (word, at + begin, at + min(bound for bound in bounds if bound > begin))
        for word, begin in zip(words, heard.words, strict=True)
    ]


def _in_one_go(spoken: list[_Spoken]) -> tuple[list[list[_Timed]], FloatArray]:
    """What the first one's voice makes of all the sentences as if they were one; words of each."""
    words = [word for each in spoken for word in each.said.spoken]
    heard = espeak().utterance(" ".join(words), spoken[0].who)
    timed = iter(_timed(words, heard))
    return [list(islice(timed, len(each.said.spoken))) for each in spoken], heard.samples


def _one_by_one(
    rng: np.random.Generator, spoken: list[_Spoken]
) -> tuple[list[list[_Timed]], FloatArray]:
    """Sentences that follow each other with short gaps, or with none; words of each."""
    longest_gap = 0.0 if rng.random() < _TIGHT else _LONGEST_GAP
    timed: list[list[_Timed]] = []
    parts: list[FloatArray] = []
    length = 0
    for each, heard in zip(spoken, _utterances(rng, spoken), strict=True):
        timed.append(_timed(each.said.spoken, heard, length))
        gap = np.zeros(int(longest_gap * float(rng.random()) * SAMPLE_RATE), np.float32)
        parts += [heard.samples, gap]
        length += len(heard.samples) + len(gap)
    return timed, np.concatenate(parts)


def _in_noise(
    rng: np.random.Generator, samples: FloatArray, recipe: Recipe, language: str
) -> FloatArray:
    kind = one(rng, KINDS)
    others = []
    if kind == "babble":
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
    return leveled(noise(rng, _wordless(rng), length), float(rng.uniform(3, 50)))
