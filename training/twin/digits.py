"""Spoken digits: a stock of voices that have said each of them, and clips put together from it.

    python -m training.twin.digits WORK --voices 800

A clip is a row of digits of one voice with pauses between them, or one that was spoken in one go.
Of the first it is known which frame belongs to which digit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gemma4cli.decoded import SAMPLE_RATE

from ..amounts import RECIPE
from ..choosing import one
from ..pictures.labels import IGNORED
from ..seeds import generator
from ..speech.espeak import espeak
from ..speech.noise import COLORS, leveled, mixed, noise
from ..speech.voices import voice
from ..words.numbers import UNITS_EN
from .architecture import SAMPLES_PER_TOKEN

FloatArray = npt.NDArray[np.float32]

FILE = "twin_digits.npz"
DIGITS = 10
ROWS_OF_A_VOICE = 8
LONGEST_ROW = 6
_QUIET = 0
"""The class of a frame in which nothing is said; digit d has the class d + 1."""
FRAME_CLASSES = 1 + DIGITS
_KNOWN_FROM = 0.45
"""The part of a digit after which a listener may know it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """``samples`` float32 ``[N]`` at 16 kHz, what is said, and a class for each frame."""

    samples: FloatArray
    digits: tuple[int, ...]
    labels: npt.NDArray[np.int64]

    @property
    def written(self) -> str:
        return " ".join(map(str, self.digits))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stock:
    """Int16 samples of all utterances on end; ``starts`` int64 ``[U + 1]``.

    Every voice has said the ten digits and then ``ROWS_OF_A_VOICE`` rows, whose digits are
    ``rows`` int8 ``[voices, ROWS_OF_A_VOICE, LONGEST_ROW]``, filled up with -1.
    """

    samples: npt.NDArray[np.int16]
    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int8]

    @property
    def voices(self) -> int:
        return len(self.rows)

    def spoken(self, who: int, number: int) -> FloatArray:
        """What voice ``who`` said as its utterance ``number``."""
        index = who * (DIGITS + ROWS_OF_A_VOICE) + number
        part = self.samples[self.starts[index] : self.starts[index + 1]]
        return part.astype(np.float32) / 32768


def record(voices: int, *, held_out: bool) -> Stock:
    """Let ``voices`` random voices speak."""
    utterances: list[npt.NDArray[np.int16]] = []
    rows = np.full((voices, ROWS_OF_A_VOICE, LONGEST_ROW), -1, np.int8)
    for who in range(voices):
        rng = generator("twin", "digits", held_out, who)
        speaker = voice(rng, "en", held_out=held_out)
        said = [(digit,) for digit in range(DIGITS)]
        for row in range(ROWS_OF_A_VOICE):
            digits = rng.integers(0, DIGITS, int(rng.integers(2, LONGEST_ROW + 1)))
            rows[who, row, : len(digits)] = digits
            said.append(tuple(int(digit) for digit in digits))
        for digits in said:
            samples = espeak().samples(" ".join(UNITS_EN[digit] for digit in digits), speaker)
            utterances.append((np.clip(samples, -1, 1) * 32767).astype(np.int16))
    starts = np.cumsum([0, *map(len, utterances)])
    return Stock(samples=np.concatenate(utterances), starts=starts, rows=rows)


def clip(rng: np.random.Generator, stock: Stock, *, most: int, fluent: float) -> Clip:
    """One to ``most`` digits; a part ``fluent`` of the clips was spoken in one go."""
    who = int(rng.integers(stock.voices))
    if rng.random() < fluent:
        row = int(rng.integers(ROWS_OF_A_VOICE))
        digits = tuple(int(digit) for digit in stock.rows[who, row] if digit >= 0)
        pieces, classes = [stock.spoken(who, DIGITS + row)], [IGNORED]
    else:
        digits = tuple(int(d) for d in rng.integers(0, DIGITS, int(rng.integers(1, most + 1))))
        pieces, classes = [], []
        for digit in digits:
            if pieces:
                pieces.append(_pause(rng, 0.0, 0.4))
                classes.append(_QUIET)
            pieces.append(stock.spoken(who, digit))
            classes.append(digit + 1)
    pieces = [_pause(rng, 0.02, 0.3), *pieces, _pause(rng, 0.1, 0.4)]
    classes = [_QUIET, *classes, _QUIET]
    samples = leveled(np.concatenate(pieces), float(rng.uniform(1, 20)))
    if rng.random() < 0.5:
        color = one(rng, list(COLORS))
        unit = noise(rng, color, len(samples))
        samples = mixed(samples, unit, float(rng.uniform(10, 40)))
    return Clip(
        samples=np.clip(samples, -1.0, 1.0),
        digits=digits,
        labels=_labels([len(piece) for piece in pieces], classes),
    )


def _pause(rng: np.random.Generator, low: float, high: float) -> FloatArray:
    return np.zeros(int(rng.uniform(low, high) * SAMPLE_RATE), np.float32)


def _labels(lengths: Sequence[int], classes: Sequence[int]) -> npt.NDArray[np.int64]:
    """The class of each frame, by what its last sample belongs to."""
    labels = np.full(sum(lengths), IGNORED)
    start = 0
    for length, label in zip(lengths, classes, strict=True):
        known = start if label == _QUIET else start + int(_KNOWN_FROM * length)
        labels[known : start + length] = label
        start += length
    ends = np.arange(SAMPLES_PER_TOKEN, start + SAMPLES_PER_TOKEN, SAMPLES_PER_TOKEN) - 1
    return labels[np.minimum(ends, start - 1)]


def load(folder: Path, *, held_out: bool) -> Stock:
    with np.load(_file(folder, held_out=held_out)) as arrays:
        return Stock(samples=arrays["samples"], starts=arrays["starts"], rows=arrays["rows"])


def save(stock: Stock, folder: Path, *, held_out: bool) -> None:
    np.savez(
        _file(folder, held_out=held_out),
        samples=stock.samples,
        starts=stock.starts,
        rows=stock.rows,
    )


def _file(folder: Path, *, held_out: bool) -> Path:
    return folder / f"{'held_out_' if held_out else ''}{FILE}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--voices", type=int, default=RECIPE.voices)
    arguments = parser.parse_args()
    save(record(arguments.voices, held_out=False), arguments.work, held_out=False)
    save(record(arguments.voices // 10, held_out=True), arguments.work, held_out=True)


if __name__ == "__main__":
    main()
