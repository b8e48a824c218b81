"""Decode several tokens at a time: a drafter guesses them and the model checks all at once.

A token is always the one that the sampler chooses from the model's own logits, among those that a
schema allows. A guess only decides whether the logits after it were computed already, so answers
are the same as without a drafter.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from typing import cast

import mlx.core as mx

from ..errors import NonFiniteError
from ..models.drafter import Drafter
from ..models.gemma4 import Gemma4
from ..models.masks import make_masks
from ..models.mlx_lm_parts import RowCache
from .cache_room import make_room
from .constrain import Constraint, Trial
from .decode import STEPS_UNTIL_CLEARED, only, run_tokens
from .freed_buffers import release_buffers
from .pace import Pace
from .sampling import Sampler, are_finite

_FEW = 4096
"""Tokens that a schema allows of which the drafter considers all."""


@dataclass(slots=True)
class DraftCounts:
    """Tokens guessed in an answer, and those of them that the model chose too."""

    guessed: int = 0
    accepted: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Draft:
    """A drafter at work on one answer.

    ``stop_ids`` end the answer, and ``most`` tokens; nothing after them is kept in the cache, nor
    pushed to the ``constraint``.
    """

    network: Gemma4
    drafter: Drafter
    cache: Sequence[RowCache]
    sampler: Sampler
    bias: mx.array | None
    constraint: Constraint | None
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
        logits = self.network.language_model.logits(hidden)[0]
        finite = are_finite(logits)
        logits = logits if self.bias is None else logits + self.bias
        allowed = [] if self.constraint is None else [self.constraint.allowed().mask()]
        chosen = self._chosen(logits, finite, allowed, ())
        if chosen is None:
            raise NonFiniteError("decoding")
        (token,) = chosen
        given = 1
        yield token
        while given < self.most and token not in self.stop_ids and self.pace.pays():
            chosen, hidden = self.step(token, hidden, given)
            for number, token in enumerate(chosen):
                given += 1
                try:
                    yield token
                except GeneratorExit:
                    self.network.language_model.rewind(self.cache, len(chosen) - 1 - number)
                    raise
        return token

    def step(self, token: int, hidden: mx.array, given: int) -> tuple[list[int], mx.array]:
        """The tokens after ``token``, which is the newest of ``given`` and not in the cache.

        Returns at least one token, and the hidden state ``[1, 1, D]`` before the last of them; the
        cache then holds all but the last. Raises NonFiniteError.
        """
        started = self.pace.clock()
        count = min(self.pace.next(), self.most - given - 1)
        trial = None if self.constraint is None else self.constraint.trial()
        guesses, allowed = self._guess(token, hidden, count, trial)
        chosen, hidden = self._check(token, guesses, allowed, trial)
        accepted = len(chosen) - 1
        # A draft that the schema ends early counts as one with a wrong guess.
        self.pace.took(self.pace.clock() - started, guessed=count, accepted=accepted)
        self.counts.guessed += len(guesses)
        self.counts.accepted += accepted
        if given % STEPS_UNTIL_CLEARED < len(chosen):
            release_buffers()
        return chosen, hidden

    def _guess(
        self, token: int, hidden: mx.array, count: int, trial: Trial | None
    ) -> tuple[list[mx.array], list[mx.array]]:
        """The likeliest ``count`` tokens after ``token``, one after the other.

        With a ``trial`` they end before one that it forbids or that ends the answer. It has
        advanced by them; what it allows in place of each token so far, ``[V]``, comes with them.
        """
        keys_values = self.network.language_model.newest_keys_values(self.cache)
        position = self.cache[0].offset
        embed = self.network.language_model.model.embed
        newest = mx.array(token)
        guesses: list[mx.array] = []
        allowed: list[mx.array] = []
        for _ in range(count):
            those = None if trial is None else trial.allowed()
            if trial is not None and those is None:
                break
            among = None if those is None else those.ids(_FEW)
            embedding = embed(newest.reshape(1, 1))
            guess = self.drafter(embedding, hidden, keys_values, position, among)
            if trial is None or those is None:
                newest = guess.token()
            else:
                allowed.append(those.mask())
                newest = guess.token(allowed[-1] if among is None else None)
                if newest.item() in self.stop_ids or not trial.push(cast(int, newest.item())):
                    break
            hidden = guess.hidden
            guesses.append(newest)
        return guesses, allowed

    def _check(
        self,
        token: int,
        guesses: Sequence[mx.array],
        allowed: Sequence[mx.array],
        trial: Trial | None,
        *,
        again: bool = False,
    ) -> tuple[list[int], mx.array]:
        """The tokens after ``token`` as the model chooses them, as far as the guesses are right.

        Returns at least one token, and the hidden state ``[1, 1, D]`` before the last of them.
        ``again``: with other guesses some numbers were not finite.
        """
        length = len(guesses) + 1
        make_room(self.cache, length)
        ids = mx.stack([mx.array(token), *(each.astype(mx.int32) for each in guesses)])
        masks = make_masks(
            length=length,
            offset=self.cache[0].offset,
            window=self.network.config.text.sliding_window,
        )
        hidden, logits, finite = run_tokens(self.network, self.cache, ids, self.bias, masks)
        if self.constraint is not None and trial is not None and len(allowed) < length:
            # The device computes while the host determines the allowed tokens.
            mx.async_eval(logits)
            last = trial.allowed() if guesses else self.constraint.allowed()
            allowed = allowed if last is None else [*allowed, last.mask()]
        chosen = self._chosen(logits[0], finite, allowed, guesses)
        if chosen is None:
            if not guesses or again:
                raise NonFiniteError("decoding")
            # Attention spreads what is not finite, and a wrong guess may have brought it. A single
            # token does not fit sliding caches that were rewound by a whole step.
            self.network.language_model.rewind(self.cache, length)
            return self._check(token, [mx.array(token)], allowed[:1], None, again=True)
        right = len(chosen) - 1
        self.network.language_model.rewind(self.cache, length - 1 - right)
        return chosen, hidden[:, right : right + 1]

    def _chosen(
        self,
        logits: mx.array,
        finite: mx.array,
        allowed: Sequence[mx.array],
        guesses: Sequence[mx.array],
    ) -> list[int] | None:
        """The answer's next tokens: those that were guessed, and the one that follows them.

        None if any numbers are not finite.

        ``logits`` ``[n, V]``, with what a schema allows of each, and n - 1 ``guesses``. Where it is
        not known what is ``allowed`` after the last guess, that one is not used.
        """
        if allowed:
            logits = only(mx.stack(list(allowed)), logits[: len(allowed)])
        chosen = Sampler.sample_rows([self.sampler] * len(logits), logits)
        mx.eval(chosen, finite, *guesses)
        if not finite.all().item():
            self.sampler.put_back(len(logits))
            return None
        expected = [each.item() for each in guesses]
        tokens: list[int] = []
        for token in cast("list[int]", chosen.tolist()):
            tokens.append(token if self.constraint is None else self.constraint.push(token))
            if tokens != expected[: len(tokens)] or tokens[-1] in self.stop_ids:
                break
        self.sampler.put_back(len(logits) - len(tokens))
        return tokens
