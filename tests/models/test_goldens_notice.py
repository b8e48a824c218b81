"""Each known implementation mistake is noticed by the parity goldens.

A mistake breaks one detail of a network on purpose. The logits of a parity case must then be off by
far more than the parity test tolerates.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType

import pytest
import sight_mistakes
import sound_mistakes
import text_mistakes
from mistakes import MISTAKES, Mistake
from support.goldens import TOLERANCE, golden_error
from support.models import fresh

from gemma4cli.engine.model import LoadedModel

CLEARLY = 25 * TOLERANCE
MODULES = (text_mistakes, sight_mistakes, sound_mistakes)


@pytest.mark.slow
@pytest.mark.parametrize("entry", MISTAKES, ids=lambda entry: f"{entry.name}[{entry.arch}]")
def test_a_mistake_changes_the_logits(
    entry: Mistake, parity_model: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fresh(parity_model(entry.arch))
    entry.make(monkeypatch, model.network)
    try:
        error = golden_error(model, entry.arch, entry.case)
    except (ValueError, TypeError) as exc:
        pytest.fail(f"the mistake breaks the run instead of the logits: {exc}")
    assert error > CLEARLY


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "case"), sorted({(entry.arch, entry.case) for entry in MISTAKES}))
def test_the_same_case_is_right_without_a_mistake(
    arch: str, case: str, parity_model: Callable[[str], LoadedModel]
) -> None:
    """It fails because of the mistake and nothing else, and no mistake outlives its test."""
    assert golden_error(fresh(parity_model(arch)), arch, case) < TOLERANCE


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_mistake_that_is_defined_is_in_the_table(module: ModuleType) -> None:
    defined = {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and list(inspect.signature(function).parameters) == ["patch", "network"]
    }
    tested = [entry.name for entry in MISTAKES if entry.make.__module__ == module.__name__]
    assert sorted(tested) == sorted(defined)
    assert tested
