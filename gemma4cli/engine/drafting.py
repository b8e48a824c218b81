"""Decode several tokens at a time: a drafter guesses them and the model checks all at once.

A token is always the one that the sampler chooses from the model's own logits. A guess only decides
whether the logits after it were computed already, so answers are the same as without a drafter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import mlx.core as mx

from ..errors import NonFiniteError
from ..models.caches import newest_keys_values, rewind
from ..models.drafter import Drafter
from ..models.gemma4 import Gemma4
from ..models.language import RowCache
from ..models.masks import make_masks
from .decode import STEPS_UNTIL_CLEARED
from .freed_buffers import release_buffers
from .sampling import Sampler, are_finite

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


@dataclass(slots=True)
class DraftCounts:
    """Tokens guessed in an answer, and those of them that the model chose too."""

    guessed: int = 0
    accepted: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Draft:
    """A drafter at work on one answer.

    ``stop_ids`` end the answer, and ``most`` tokens; nothing after them is kept in the cache.
    """

    network: Gemma4
    drafter: Drafter
    cache: Sequence[RowCache]
    sampler: Sampler
    bias: mx.array | None
    stop_ids: Collection[int]
    most: int
    pace: Pace
    counts: DraftCounts

    def tokens(self, hidden: mx.array) -> Generator[int, None, int]:
        """Yield token ids while guessing pays, up to a stop id or ``most``.

        ``hidden`` ``[1, 1, D]`` is the normalized hidden state of the last prompt position. When
        the generator ends or is closed, the cache holds what was yielded but for the last token,
        which it returns. Raises NonFiniteError.
        """
        (token,), finite = self._choose(hidden)
        _require_finite(finite)
        given = 1
        yield token
        while given < self.most and token not in self.stop_ids and self.pace.pays():
            started = self.pace.clock()
            count = min(self.pace.next(), self.most - given - 1)
            guessed = self._guess(token, hidden, count)
            chosen, hidden = self._check(token, guessed)
            accepted = len(chosen) - 1
            self.pace.took(self.pace.clock() - started, guessed=count, accepted=accepted)
            self.counts.guessed += count
            self.counts.accepted += accepted
            if given % STEPS_UNTIL_CLEARED < len(chosen):
                release_buffers()
            for number, token in enumerate(chosen):
                given += 1
                try:
                    yield token
                except GeneratorExit:
                    rewind(self.cache, len(chosen) - 1 - number)
                    raise
        return token

    def _guess(self, token: int, hidden: mx.array, count: int) -> list[mx.array]:
        """The likeliest ``count`` tokens after ``token``, one after the other."""
        types = self.network.config.text.layer_types
        keys_values = newest_keys_values(self.cache, types)
        position = self.cache[0].offset
        newest = mx.array(token)
        guesses: list[mx.array] = []
        for _ in range(count):
            embedding = self.network.language_model.model.embed(newest.reshape(1, 1))
            guess = self.drafter(embedding, hidden, keys_values, position)
            newest, hidden = guess.token, guess.hidden
            guesses.append(newest)
        return guesses

    def _check(self, token: int, guesses: Sequence[mx.array]) -> tuple[list[int], mx.array]:
        """The tokens after ``token`` as the model chooses them, as far as the guesses are right.

        Returns at least one token, and the hidden state ``[1, 1, D]`` before the last of them.
        """
        network, length = self.network, len(guesses) + 1
        ids = mx.stack([mx.array(token), *(each.astype(mx.int32) for each in guesses)])
        masks = make_masks(
            length=length,
            offset=self.cache[0].offset,
            window=network.config.text.sliding_window,
        )
        states = network.hidden(*network.embed(ids), self.cache, masks)
        chosen, finite = self._choose(states, ids[1:])
        _require_finite(finite)
        right = self._agreed(chosen, cast("list[int]", ids[1:].tolist()))
        rewind(self.cache, length - 1 - right)
        self.sampler.put_back(length - 1 - right)
        return chosen[: right + 1], states[:, right : right + 1]

    def _agreed(self, chosen: Sequence[int], guesses: Sequence[int]) -> int:
        """How many guesses were chosen, up to one that ends the answer."""
        for number, (one, other) in enumerate(zip(chosen, guesses, strict=False)):
            if one != other or one in self.stop_ids:
                return number
        return len(guesses)

    def _choose(self, states: mx.array, *needed: mx.array) -> tuple[list[int], bool]:
        """The sampler's choice after each of ``states`` ``[1, n, D]``, and whether all are finite.

        Evaluates what is ``needed`` in the same go.
        """
        logits = self.network.logits(states)[0]
        finite = are_finite(logits).all()
        biased = logits if self.bias is None else logits + self.bias
        chosen = Sampler.sample_rows([self.sampler] * len(biased), biased)
        mx.eval(chosen, finite, *needed)
        return cast("list[int]", chosen.tolist()), cast(bool, finite.item())


def _require_finite(finite: bool) -> None:
    if not finite:
        raise NonFiniteError("decoding")
