"""A model that one thread loaded answers in others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from support.samples import sample

from gemma4cli.api import change_adapter, load
from gemma4cli.conversations.chat import Chat
from gemma4cli.engine.local import LocalModel
from gemma4cli.events import Finished
from gemma4cli.messages import content_of
from gemma4cli.options import GenerateOptions, LoadOptions

PARITY = Path(__file__).parents[2] / "fixtures" / "parity"
GREEDY = GenerateOptions(temperature=0, max_tokens=6)
PICTURE, SOUND = sample("image00.png"), sample("speech00.wav")

T = TypeVar("T")


def here(work: Callable[[], T]) -> T:
    return work()


def elsewhere(work: Callable[[], T]) -> T:
    """In a thread of its own, which ends then."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


Run = Callable[[Callable[[], list[int]]], list[int]]


def answers(model: LocalModel, run: Run, *, hears: bool) -> list[list[int]]:
    """The tokens of a conversation's answers; each is computed by ``run``."""
    chat = Chat(model)

    def turn(images: list[str], audio: list[str]) -> list[int]:
        *_, last = chat.send(content_of("Hello", images=images, audio=audio), GREEDY)
        assert isinstance(last, Finished)
        return list(last.token_ids)

    media: list[tuple[list[str], list[str]]] = [([], []), ([PICTURE], []), ([], [])]
    if hears:
        media.append(([], [SOUND]))
    return [run(lambda each=each: turn(*each)) for each in media]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("arch", ["tiny", "e2b", "26b"])
def test_a_model_answers_in_threads_that_did_not_load_it(
    arch: str, native: bool, request: pytest.FixtureRequest
) -> None:
    if not native:
        request.getfixturevalue("without_native")
    name = arch if arch == "tiny" else str(PARITY / "checkpoints" / arch)

    def loaded() -> LocalModel:
        return load(name, options=LoadOptions(dtype="float32", draft="none"))

    hears = arch != "26b"
    expected = answers(loaded(), here, hears=hears)
    model = elsewhere(loaded)
    assert answers(model, elsewhere, hears=hears) == expected
    assert answers(model, here, hears=hears) == expected


@pytest.mark.parametrize("native", [True, False])
def test_a_model_with_adapter_and_drafter_answers_in_threads_that_did_not_load_it(
    native: bool, request: pytest.FixtureRequest
) -> None:
    if not native:
        request.getfixturevalue("without_native")

    def loaded() -> LocalModel:
        plain = load(
            str(PARITY / "checkpoints" / "e2b"),
            options=LoadOptions(dtype="float32", draft=str(PARITY / "drafters" / "e2b")),
        )
        assert plain.drafter is not None
        found = change_adapter(plain, str(PARITY / "adapters" / "e2b" / "dora"))
        assert isinstance(found, LocalModel)
        return found

    expected = answers(loaded(), here, hears=True)
    model = elsewhere(loaded)
    assert answers(model, elsewhere, hears=True) == expected
