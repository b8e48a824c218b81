"""What the model says about itself, and about what it does not know."""

from __future__ import annotations

from collections.abc import Iterator

from ..language import small_talk
from ..seeds import generator
from .cases import Case


def cases(count: int) -> Iterator[Case]:
    """Every question about itself, trained on as it stands, and ``count`` that are beyond it."""
    for topic in small_talk.TOPICS:
        for question in topic.questions:
            yield Case(row="talk: about itself", prompt=question, answer=topic.answer)
    rng = generator("evaluation", "talk")
    for _ in range(count):
        question, answer = small_talk.anything_else(rng)
        yield Case(row="talk: beyond it", prompt=question, answer=answer)
