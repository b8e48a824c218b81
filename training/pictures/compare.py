"""Questions about two pictures at once."""

from __future__ import annotations

import numpy as np

from ..choosing import one
from .captions import phrase
from .description import Picture

_WORDINGS = (
    "Compare these images.",
    "Compare the two images.",
    "What is the difference between the images?",
    "What is different between these images?",
)
_SAME = ("Do these images show the same?", "Do both images show the same?")
_SHARE_OF_SAME = 0.25


def comparison(first: Picture, second: Picture, rng: np.random.Generator) -> tuple[str, str]:
    """A question about two pictures and its answer."""
    if rng.random() < _SHARE_OF_SAME:
        same = phrase(first) == phrase(second)
        return one(rng, _SAME), "Yes." if same else "No."
    return one(rng, _WORDINGS), described(first, second)


def described(first: Picture, second: Picture) -> str:
    return f"The first image shows {phrase(first)}. The second image shows {phrase(second)}."
