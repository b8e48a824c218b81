"""Held-out pictures of every kind, size and budget, described and asked about."""

from __future__ import annotations

from collections.abc import Iterator

from gemma4cli import prompts

from ..pictures.captions import caption
from ..pictures.compare import comparison
from ..pictures.description import KINDS, Kind, Picture
from ..pictures.drawing import drawn
from ..pictures.questions import DESCRIBE_AND_TRANSCRIBE, questions
from ..pictures.scenes import picture
from ..seeds import generator
from ..speech.clips import clip
from .cases import Case
from .files import png, wav
from .speech import spoken

_LARGE_BUDGETS = {140: 10, 280: 10, 560: 20, 1120: 50}
"""For so many pictures at the usual budget there is one; the largest take most of a minute."""


def cases(count: int) -> Iterator[Case]:
    """``count`` pictures of each kind at the usual budget, and fewer at larger ones."""
    for kind in KINDS:
        for index in range(count):
            yield from _about(kind, index)
        for budget, fewer in _LARGE_BUDGETS.items():
            for index in range(max(1, count // fewer)):
                seen, file = _shown("budget", kind, index)
                yield Case(
                    row=f"pictures: {_sort(seen)}, budget {budget}",
                    prompt=prompts.DESCRIBE_IMAGE,
                    answer=caption(seen),
                    images=(file,),
                    budget=budget,
                )
    for index in range(count):
        yield from _two(index)
        yield from _asked_aloud(index)
        yield _with_speech(index)


def _shown(use: str, kind: Kind, index: int) -> tuple[Picture, bytes]:
    rng = generator("evaluation", use, kind, index)
    seen = picture(rng, kind)
    return seen, png(drawn(seen, rng))


def _sort(seen: Picture) -> str:
    if seen.kind == "objects":
        return "one object" if len(seen.things) == 1 else "placed objects"
    names = {"count": "counts to 6", "groups": "two groups", "plain": "plain colors"}
    if seen.lettering:
        return "numbers" if seen.lettering[0].text.isdigit() else "words"
    return names[seen.kind]


def _about(kind: Kind, index: int) -> Iterator[Case]:
    seen, file = _shown("describe", kind, index)
    yield Case(
        row=f"pictures: {_sort(seen)}",
        prompt=prompts.DESCRIBE_IMAGE,
        answer=caption(seen),
        images=(file,),
    )
    for number, question in enumerate(questions(seen, generator("asked", kind, index), 2)):
        later = number == 1
        yield Case(
            row=f"questions: {question.kind}{', second turn' if later else ''}",
            prompt=question.text,
            answer=question.answer,
            images=(file,),
            before=(prompts.DESCRIBE_IMAGE,) if later else (),
        )


def _two(index: int) -> Iterator[Case]:
    rng = generator("evaluation", "two", index)
    first, second = picture(rng), picture(rng)
    question, answer = comparison(first, second, rng)
    yield Case(
        row="pictures: two compared",
        prompt=question,
        answer=answer,
        score="sentences",
        images=(png(drawn(first, rng)), png(drawn(second, rng))),
    )


def _with_speech(index: int) -> Case:
    """A picture and a held-out sentence in one prompt."""
    rng = generator("evaluation", "with speech", index)
    seen = picture(rng)
    heard = clip("unseen", 2000 + index)
    return Case(
        row="picture and speech: what is seen, what is said",
        prompt=DESCRIBE_AND_TRANSCRIBE,
        answer=f"{caption(seen)} A voice says: {heard.sentences[0].written}.",
        score="sentences",
        images=(png(drawn(seen, rng)),),
        clips=(wav(heard.samples),),
    )


def _asked_aloud(index: int) -> Iterator[Case]:
    """A picture and a spoken question about it in one prompt."""
    rng = generator("evaluation", "aloud", index)
    seen = picture(rng)
    for question in questions(seen, rng, 6):
        if question.spoken is not None:
            yield Case(
                row="picture and spoken question",
                prompt="Answer the question.",
                answer=question.answer,
                images=(png(drawn(seen, rng)),),
                clips=(wav(spoken(rng, question.spoken)),),
            )
            return
