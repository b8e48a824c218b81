"""Held-out clips: sentences, voices and noise that training has not had."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gemma4cli import prompts

from ..speech.clips import FloatArray, clip
from ..speech.espeak import espeak
from ..speech.voices import voice
from .cases import Case
from .files import wav

NAMES = {
    "unseen": "speech: unseen sentences",
    "noisy": "speech: unseen voices, noise at 10 dB",
    "random": "speech: words in random order",
    "sentences": "speech: several sentences, up to 10 s",
    "cut": "speech: cut out of unbroken speech",
    "german": "speech: German sentences",
    "no words": "speech: silence or noise",
}


def cases(count: int) -> Iterator[Case]:
    """``count`` clips of each set, by the prompts of ``g4 transcribe``."""
    for name, row in NAMES.items():
        for index in range(count):
            heard = clip(name, index)
            written = " ".join(sentence.written for sentence in heard.sentences)
            language = None if index % 2 else ("German" if heard.language == "de" else "English")
            file = wav(heard.samples)
            yield Case(
                row=row,
                prompt=prompts.transcription(language),
                answer=written,
                score="words" if written else "exact",
                clips=(file,),
            )
            if name == "german":
                english = " ".join(sentence.english for sentence in heard.sentences)
                yield Case(
                    row="speech: German to English",
                    prompt=prompts.translation("German" if index % 2 else None, "English"),
                    answer=f"{written}\nEnglish: {english}",
                    score="words",
                    clips=(file,),
                )


def spoken(rng: np.random.Generator, text: str) -> FloatArray:
    """An English text in a voice of training, float32 ``[N]`` at 16 kHz."""
    return espeak().samples(text, voice(rng, "en"))
