"""Every point that implementations get wrong is one that the parity goldens notice.

Each mistake breaks one point of the models on purpose; the logits of a parity case must then be
off by far more than the parity test tolerates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType

import pytest
import sight_mistakes
import sound_mistakes
import text_mistakes
from mistakes import MISTAKES, Mistake
from support.goldens import TOLERANCE, golden_error

from gemma4cli.engine.model import FeatureCache, LoadedModel

CLEARLY = 25 * TOLERANCE
MODULES = (text_mistakes, sight_mistakes, sound_mistakes)


@pytest.fixture
def fresh(parity_model: Callable[[str], LoadedModel]) -> Callable[[str], LoadedModel]:
    """A parity model that has encoded nothing yet."""
    return lambda arch: dataclasses.replace(parity_model(arch), soft_tokens=FeatureCache())


@pytest.mark.parametrize("entry", MISTAKES, ids=lambda entry: f"{entry.name}[{entry.arch}]")
def test_mistake_shows(
    entry: Mistake, fresh: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(entry.arch)
    entry.make(monkeypatch, model.network)
    try:
        error = golden_error(model, entry.arch, entry.case)
    except (ValueError, TypeError) as exc:
        pytest.fail(f"the mistake breaks the run instead of the logits: {exc}")
    assert error > CLEARLY


@pytest.mark.parametrize(("arch", "case"), sorted({(entry.arch, entry.case) for entry in MISTAKES}))
def test_without_a_mistake_all_is_well(
    arch: str, case: str, fresh: Callable[[str], LoadedModel]
) -> None:
    """The cases above fail by the mistake, not by anything else; nothing is left behind."""
    assert golden_error(fresh(arch), arch, case) < TOLERANCE


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_mistake_is_in_the_table(module: ModuleType) -> None:
    made = {entry.make.__module__ for entry in MISTAKES}
    assert module.__name__ in made
