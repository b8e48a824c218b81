"""The channels of a recording to one, without losing speech that only some of them carry.

Channels are averaged. Two things make speech disappear in an average, and both are prevented:
surround sound, whose speech is in the center, and channels with opposite phase, which cancel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ...decoded import Samples

WINDOW_SECONDS = 0.2
"""How often is decided whether the channels cancel."""
_CANCELED, _WHOLE = 0.15, 1.0
"""The energy of the average, relative to that of channels that have nothing in common: below the
first, the signs of channels are changed; above the second, they are as they were recorded. Equal
channels have 2, a single one 1, opposite ones 0."""
_MEMORY = 0.5
"""The weight of the windows before, per window."""
_SPEECH_HERTZ = 150.0, 3500.0
"""Where energy is compared: neither hum nor hiss shall hide that speech cancels."""
_COMPARED_RATE = 8_000
"""Channels are compared at about this rate, which takes less time."""
_FADE_SECONDS = 0.01
"""Length of the transition when signs change."""

_LOW = frozenset({"LFE", "LFE2"})
_FRONT = frozenset({"FL", "FR", "FLC", "FRC", "WL", "WR"})
_CENTER = "FC"


def weights_of(names: Sequence[str]) -> Samples:
    """The share of each channel, ``[channels]``, which add up to 1; by libav's names.

    Bass channels have none. If there is a center, which carries the speech of films, it counts
    twice as much as a front channel and four times as much as the others. Of ambisonic sound, the
    channel without direction counts.
    """
    shares = [1.0] * len(names)
    for index, name in enumerate(names):
        if name in _LOW or (name.startswith("AMBI") and name != "AMBI0"):
            shares[index] = 0.0
        elif _CENTER in names and name != _CENTER:
            shares[index] = 0.5 if name in _FRONT else 0.25
    if not any(shares):
        shares = [1.0] * len(names)
    weights: Samples = np.array(shares, np.float32) / np.float32(sum(shares))
    return weights


class Mixer:
    """Mixes blocks of one layout at one rate; the result does not depend on their sizes.

    ``names`` are libav's names of the channels. Samples that the next decision covers are held
    back, less than ``WINDOW_SECONDS``.
    """

    def __init__(self, names: Sequence[str], rate: int) -> None:
        self._shares = weights_of(names)
        self._equal = bool(np.ptp(self._shares) == 0)
        self._window = max(1, round(rate * WINDOW_SECONDS))
        self._fade = max(1, round(rate * _FADE_SECONDS))
        self._held = np.zeros((len(names), 0), np.float32)
        self._rate = rate
        self._begun = False
        self._products: npt.NDArray[np.float64] = np.zeros((len(names), len(names)))
        self._signs: Samples = np.ones(len(names), np.float32)

    def add(self, samples: Samples) -> Iterator[Samples]:
        """Mix ``[channels, n]`` to blocks ``[n]``."""
        if len(samples) == 1:
            yield samples[0]
            return
        self._held = np.concatenate([self._held, samples], axis=1)
        whole = self._held.shape[1] - self._held.shape[1] % self._window
        if whole:
            ready, self._held = self._held[:, :whole], self._held[:, whole:].copy()
            yield np.concatenate(
                [
                    self._mixed(ready[:, at : at + self._window])
                    for at in range(0, whole, self._window)
                ]
            )

    def finish(self) -> Iterator[Samples]:
        """What is still held back."""
        if self._held.shape[1]:
            yield self._mixed(self._held)
            self._held = self._held[:, :0]

    def _mixed(self, window: Samples) -> Samples:
        if not window.any():  # and no reason for other signs than before
            self._products *= _MEMORY
            self._begun = True
            return np.zeros(window.shape[1], np.float32)
        signs = self._signs
        self._signs = self._decide(window)
        mixed = self._sum(window, self._signs)
        if not np.array_equal(signs, self._signs) and self._begun:
            count = min(self._fade, window.shape[1])
            new = np.linspace(0, 1, count, dtype=np.float32)
            old = self._sum(window[:, :count], signs)
            mixed[:count] = old * (1 - new) + mixed[:count] * new
        self._begun = True
        return mixed

    def _sum(self, window: Samples, signs: Samples) -> Samples:
        if self._equal and (signs > 0).all():
            average: Samples = window.mean(axis=0, dtype=np.float32)
            return average
        weighted: Samples = (self._shares * signs).astype(np.float32) @ window
        return weighted

    def _decide(self, window: Samples) -> Samples:
        """The sign of each channel, by the energy of speech.

        ``_products`` has the energy of each channel and those that each two have in common.
        """
        step = max(1, self._rate // _COMPARED_RATE)
        count = window.shape[1] // step
        coarse = window[:, : count * step].reshape(len(window), count, step).mean(axis=2)
        spectrum = np.fft.rfft(np.nan_to_num(coarse).clip(-2, 2) * self._shares[:, None])
        low, high = (round(hertz * step * count / self._rate) for hertz in _SPEECH_HERTZ)
        band = spectrum[:, low : high + 1]
        self._products = self._products * _MEMORY + (band @ band.conj().T).real
        energies = np.diag(self._products)
        apart = float(energies.sum())
        if apart <= 0:
            return self._signs
        whole = float(self._products.sum()) / apart
        if whole > _WHOLE:
            return np.ones_like(self._signs)
        if whole >= _CANCELED:
            return self._signs
        loudest = int(energies.argmax())
        return np.where(self._products[loudest] < 0, -1, 1).astype(np.float32)
