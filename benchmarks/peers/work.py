"""The work that every engine does, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

QUESTION = (
    "Write a short story about a lighthouse keeper who finds a letter in a bottle, reads it by "
    "the light of the lamp, and sails out into the storm to find the woman who wrote it."
)
"""39 tokens; with the turn around it, 48."""

OPENING = {"E2B": "", "12B": "<|channel>thought\n<channel|>"}
"""What the answer's turn begins with by shape: larger models are told that there is no thought."""
OPENING_TOKENS = {"E2B": 0, "12B": 4}

PICTURE_QUESTION = "What is this?"
FOLLOW_UP = "And why is that?"
ANSWER = 4
"""Tokens out of every whole run."""
SLACK = 12
"""Tokens by which prompts about a picture or a clip may differ: the programs' templates do."""

Kind = Literal["text", "picture", "clip", "turn", "decode", "prefill"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One kind of work.

    Attributes:
        name: What ``--cases`` calls it.
        kind: What sort of work it is.
        label: What the table calls it.
        tokens: Tokens of the prompt, soft tokens included; those in the cache when decoding.
        soft: Soft tokens among them.
        out: Tokens to generate.
    """

    name: str
    kind: Kind
    label: str
    tokens: int
    soft: int = 0
    out: int = 0

    @property
    def is_rate(self) -> bool:
        """Whether the result is in tokens/s, and not in seconds."""
        return self.kind in ("decode", "prefill")

    @property
    def unit(self) -> str:
        return "tokens/s" if self.is_rate else "s"

    @property
    def slack(self) -> int:
        return SLACK if self.kind in ("picture", "clip", "turn") else 0


def prefill(tokens: int) -> Case:
    return Case(
        name=f"prefill-{tokens}", kind="prefill", label=f"prefill {tokens:,}", tokens=tokens
    )


def decode(context: int) -> Case:
    label = f"decode at {context:,} tokens of context"
    return Case(name=f"decode-{context}", kind="decode", label=label, tokens=context, out=32)


E2B_CASES = (
    Case(name="text", kind="text", label="text", tokens=48, out=ANSWER),
    Case(name="picture", kind="picture", label="picture", tokens=295, soft=280, out=ANSWER),
    Case(name="clip", kind="clip", label="clip of 30 s", tokens=765, soft=750, out=ANSWER),
    Case(name="turn", kind="turn", label="second turn about a picture", tokens=17),
    decode(32),
    decode(2000),
    prefill(128),
    prefill(512),
    prefill(2048),
)


def cases(shape: str) -> tuple[Case, ...]:
    """The cases, with as many tokens as the prompts of a shape's template have."""
    more = OPENING_TOKENS[shape]
    return tuple(
        case if case.is_rate or case.kind == "turn" else replace(case, tokens=case.tokens + more)
        for case in E2B_CASES
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one run of one case gave.

    Attributes:
        value: Seconds of the whole process, seconds to the first token, or tokens/s.
        peak: Bytes that the process had resident at most, mapped files included.
        tower: Seconds in the tower, where the program says.
        shortened: What the value was measured on, if that is less than the case's work.
        seconds: What the whole process took.
    """

    value: float
    peak: int
    tower: float | None = None
    shortened: str = ""
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenUp:
    """A case that was stopped, or that a program cannot do.

    Attributes:
        reason: What the table says instead of a number.
    """

    reason: str


class WrongWorkError(Exception):
    """A program did other work than the case's: the comparison would mean nothing."""


def check(case: Case, engine: str, *, tokens: int, out: int | None = None) -> None:
    """Raise WrongWorkError unless a program's counts are the case's."""
    if abs(tokens - case.tokens) > case.slack:
        raise WrongWorkError(f"{engine}, {case.name}: {tokens} tokens in, not {case.tokens}")
    if out is not None and out != case.out:
        raise WrongWorkError(f"{engine}, {case.name}: {out} tokens out, not {case.out}")
