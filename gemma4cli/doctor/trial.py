"""The built-in model end to end: load it, and ask about text, a picture, a sound and a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .. import api
from ..errors import (
    Gemma4Error,
    ModelTooLargeError,
    OutOfMemoryError,
    PromptTooLargeError,
    is_out_of_memory,
)
from ..options import GenerateOptions
from ..prompts import DESCRIBE_IMAGE, DESCRIBE_VIDEO, transcription
from .findings import Finding

if TYPE_CHECKING:
    from ..engine.local import LocalModel

MODEL = "tiny"
_SLOW_SECONDS = 10.0
"""If an answer of the built-in model takes longer, one of a real model takes minutes."""
_GREEDY = GenerateOptions(max_tokens=24, temperature=0.0)
_LISTEN = transcription()


def trial() -> Iterator[Finding]:
    """Load the model and ask about every kind of input; a failure to load ends the trial."""
    started = perf_counter()
    try:
        model = api.load(MODEL)
    except Exception as exc:  # noqa: BLE001 - whatever goes wrong is what the report is for
        yield _failed("load", exc)
        return
    yield Finding(name="load", value=MODEL, seconds=perf_counter() - started)
    for name, ask in _questions(model).items():
        yield _answered(name, ask)


def _questions(model: LocalModel) -> dict[str, Callable[[], str]]:
    def about(prompt: str, kind: str, make: str) -> Callable[[], str]:
        def ask() -> str:
            from . import samples

            media: dict[str, Any] = {kind: [getattr(samples, make)()]}
            return api.generate(model, prompt, options=_GREEDY, **media)

        return ask

    return {
        "text": partial(api.generate, model, "Hello!", options=_GREEDY),
        "picture": about(DESCRIBE_IMAGE, "images", "picture"),
        "sound": about(_LISTEN, "audio", "sound"),
        "video": about(DESCRIBE_VIDEO, "videos", "clip"),
    }


def _answered(name: str, ask: Callable[[], str]) -> Finding:
    started = perf_counter()
    try:
        answer = ask()
    except Exception as exc:  # noqa: BLE001 - one kind of input that fails does not end the trial
        return _failed(name, exc)
    seconds = perf_counter() - started
    if not answer.strip():
        advice = "the built-in model should always answer: reinstall g4"
        return Finding(name=name, value="no answer", state="problem", advice=advice)
    if seconds > _SLOW_SECONDS:
        advice = "slow: see the notes on the backend above; is the machine busy?"
        return Finding(name=name, value=answer, state="note", advice=advice, seconds=seconds)
    return Finding(name=name, value=answer, seconds=seconds)


def _failed(name: str, error: Exception) -> Finding:
    advice = "reinstall g4; if that does not help, report it with the output of g4 doctor --debug"
    what = error
    if is_out_of_memory(error):
        what = OutOfMemoryError()
    if isinstance(what, OutOfMemoryError | ModelTooLargeError | PromptTooLargeError):
        advice = "close other programs, or raise ulimit -v"
    kind = "" if isinstance(what, Gemma4Error) else f"{type(what).__name__}: "
    value = " ".join(f"{kind}{what}".split())
    return Finding(name=name, value=value, state="problem", advice=advice, fault=error)
