"""How many tokens to guess at once, learned from what steps take and which guesses are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

_MOST = 8
"""The most tokens to guess at once."""
_FIRST = 2
_TRIED_STEPS = 4
"""Steps without guesses at the start of an answer, to know how long they take."""
_TRIED_ROUNDS = 10
"""Steps with guesses before they are judged."""
_WORTH = 1.05
"""How many times faster drafting must be."""
_LONGEST_PAUSE = 64
"""The most answers that go by before drafting is tried again."""
_FASTER, _SLOWER = 0.5, 0.1
"""The weight of a step that took less than usual, and of one that took more: other programs may
have delayed it."""
_NEWEST_GUESS = 0.05


@dataclass(slots=True)
class Pace:
    """How many tokens to guess, from how guessing went so far; 0 where it does not pay.

    A guess more costs little where reading the weights takes all of a step, and much where products
    do, so the time of steps is learned for each number of guesses. One is kept for all answers of a
    model. ``clock`` gives seconds.
    """

    clock: Callable[[], float] = perf_counter
    _seconds: dict[int, float] = field(default_factory=dict)
    _begun: set[int] = field(default_factory=set)
    _right: float = 0.7
    _plain: int = 0
    _drafted: int = 0
    _pause: int = 1
    _paused: int = 0

    def begin(self) -> bool:
        """Start an answer; returns whether to guess in it."""
        self._plain = self._drafted = 0
        self._paused = max(self._paused - 1, 0)
        return self._paused == 0

    def next(self) -> int:
        """The number of tokens to guess in the next step."""
        if self._plain < _TRIED_STEPS:
            return 0
        tried = max(self._seconds)
        if not tried:
            return _FIRST
        return max(range(1, min(tried + 1, _MOST) + 1), key=self._speed)

    def took(self, seconds: float, *, guessed: int, accepted: int) -> None:
        """Note a step."""
        before = self._seconds.get(guessed)
        if guessed not in self._begun:
            # The first step of its kind also prepares what later ones use again.
            self._begun.add(guessed)
        elif before is None or (not guessed and self._plain < 2):
            # The first steps of an answer also wait for what prefill left to do.
            self._seconds[guessed] = seconds
        else:
            weight = _FASTER if seconds < before else _SLOWER
            self._seconds[guessed] += weight * (seconds - before)
        if not guessed:
            self._plain += 1
            return
        self._drafted += 1
        for right in [True] * accepted + [False] * (accepted < guessed):
            self._right += _NEWEST_GUESS * (right - self._right)

    def pays(self) -> bool:
        """Whether guessing is faster than single steps, as far as is known."""
        if self._drafted < _TRIED_ROUNDS or self._speed(self.next()) >= _WORTH * self._speed(0):
            return True
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._paused = self._pause
        return False

    def _speed(self, guesses: int) -> float:
        """Tokens per second to expect with so many guesses."""
        tokens = sum(self._right**number for number in range(guesses + 1))
        return tokens / max(self._time(guesses), 1e-9)

    def _time(self, guesses: int) -> float:
        """Seconds of a step; between numbers of guesses that were tried, and beyond, by a line."""
        if guesses in self._seconds:
            return self._seconds[guesses]
        below = max((each for each in self._seconds if each < guesses), default=0)
        above = min((each for each in self._seconds if each > guesses), default=None)
        start, other = (below, above) if above is not None else (0, below)
        slope = (self._seconds[other] - self._seconds[start]) / (other - start)
        return self._seconds[below] + max(slope, 0.0) * (guesses - below)
