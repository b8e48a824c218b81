"""A grammar of templates with slots; every phrase stands beside its English translation.

``{animal}`` in a template is replaced by one of the phrases of the slot ``animal``, which may have
slots of their own. A number after the name, ``{animal.2}``, tells two slots of a kind apart. In the
translation a slot has the name it has in the phrase.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..choosing import one

_SLOT = re.compile(r"\{([a-z_]+)(?:\.\d)?\}")


@dataclass(frozen=True, slots=True)
class Phrase:
    """``spoken`` and the English for it, both possibly with slots."""

    spoken: str
    english: str


Draw = Callable[[np.random.Generator], Phrase]
"""A slot whose phrases are too many to list, such as numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """``drawn_words`` are all words that the ``drawn`` slots can say."""

    templates: tuple[Phrase, ...]
    slots: Mapping[str, tuple[Phrase, ...]]
    drawn: Mapping[str, Draw]
    drawn_words: tuple[str, ...]

    def phrase(self, rng: np.random.Generator) -> Phrase:
        """A sentence without slots."""
        return self._filled(one(rng, self.templates), rng)

    def words(self) -> tuple[str, ...]:
        """Every word that can be spoken, in alphabetical order."""
        words = set(self.drawn_words)
        for phrase in (*self.templates, *(p for phrases in self.slots.values() for p in phrases)):
            words.update(_SLOT.sub(" ", phrase.spoken).split())
        return tuple(sorted(words))

    def _filled(self, phrase: Phrase, rng: np.random.Generator) -> Phrase:
        spoken, english = phrase.spoken, phrase.english
        for slot in list(_SLOT.finditer(phrase.spoken)):
            chosen = self._chosen(slot.group(1), rng)
            spoken = spoken.replace(slot.group(), chosen.spoken, 1)
            english = english.replace(slot.group(), chosen.english, 1)
        return Phrase(spoken, english)

    def _chosen(self, name: str, rng: np.random.Generator) -> Phrase:
        if name in self.drawn:
            return self.drawn[name](rng)
        phrases = self.slots[name]
        return self._filled(one(rng, phrases), rng)
