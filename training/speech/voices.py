"""Who speaks: accents, variants of the voice, tempo and pitch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..choosing import one

ACCENTS = {
    "en": ("en-us", "en-us", "en-us", "gmw/en", "gmw/en", "en-gb-scotland", "en-gb-x-rp", "en-029"),
    "de": ("de",),
}
"""The accents of training; one that is named more often is heard more often."""
VARIANTS = (
    *("m1", "m2", "m3", "m4", "m6", "m7", "m8", "f1", "f2", "f3", "f5"),
    *("Alex", "Annie", "Andy", "Lee", "Michael", "steph", "edward", "linda", "adam", "max"),
)
HELD_OUT_ACCENTS = {"en": ("en-gb-x-gbclan",), "de": ("de",)}
HELD_OUT_VARIANTS = ("m5", "f4")


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """``name`` as espeak-ng has it; pitch and range 0-99, gap in 10 ms, amplitude 100 is usual."""

    name: str
    words_per_minute: int
    pitch: int
    pitch_range: int
    word_gap: int
    amplitude: int


def voice(rng: np.random.Generator, language: str, *, held_out: bool = False) -> Voice:
    """A voice of training, or one whose variant (and English accent) training never has."""
    accents = (HELD_OUT_ACCENTS if held_out else ACCENTS)[language]
    variants = HELD_OUT_VARIANTS if held_out else VARIANTS
    return Voice(
        name=f"{one(rng, accents)}+{one(rng, variants)}",
        words_per_minute=int(rng.integers(130, 201)),
        pitch=int(rng.integers(25, 76)),
        pitch_range=int(rng.integers(25, 76)),
        word_gap=int(rng.choice([0, 0, 0, 1, 3])),
        amplitude=100,
    )
