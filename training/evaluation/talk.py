"""What the model says about itself, and about what it does not know."""

from __future__ import annotations

from collections.abc import Iterator

from ..language import small_talk
from ..seeds import generator
from .cases import Case


def cases(count: int) -> Iterator[Case]:
    """Up to ``count`` questions about itself, trained on as they stand, and as many beyond it."""
    rng = generator("evaluation", "talk")
    known = [
        (question, topic.answer) for topic in small_talk.TOPICS for question in topic.questions
    ]
    for index in rng.permutation(len(known))[:count]:
        question, answer = known[index]
        yield Case(row="talk: about itself", prompt=question, answer=answer)
    for _ in range(count):
        question, answer = small_talk.anything_else(rng)
        yield Case(row="talk: beyond it", prompt=question, answer=answer)
