"""g4 with an adapter against transformers with peft, on tiny checkpoints of all architectures.

fixtures/parity/record_adapters.py wrote the adapters with peft and recorded what the model gives
with them, and with their weights merged. Tolerances are those of ``test_parity``.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from support.goldens import ARCHS, FOLDER, goldens

from gemma4cli.api import load
from gemma4cli.conversations.trace import trace
from gemma4cli.engine.adapter_loading import with_adapter
from gemma4cli.hub.adapter_files import read_adapter
from gemma4cli.options import LoadOptions

LOGIT_TOLERANCE = 1e-3
CASES = [
    pytest.param(arch, *key.split("/")[:2], id=f"{arch}-{key.removesuffix('/logits')}")
    for arch in ARCHS
    for key in goldens(f"{arch}-adapters")
    if key.endswith("/logits")
]


@pytest.fixture(scope="module")
def model_of():
    """Loads each checkpoint once per module."""

    @cache
    def load_tiny(arch: str):
        options = LoadOptions(dtype="float32")
        return load(str(FOLDER / "checkpoints" / arch), options=options)

    return load_tiny


@pytest.mark.parametrize(("arch", "adapter", "case"), CASES)
def test_an_adapter_gives_the_logits_of_peft(arch: str, adapter: str, case: str, model_of) -> None:
    golden = goldens(f"{arch}-adapters")
    found = read_adapter(adapter, FOLDER / "adapters" / arch / adapter)
    model = with_adapter(model_of(arch), found)

    result = trace(model, FOLDER / "cases" / f"{case}.json", max_tokens=1)

    allowed = LOGIT_TOLERANCE * golden[f"{adapter}/{case}/spread"]
    columns = golden[f"{adapter}/{case}/columns"]
    error = np.abs(result.logits[:, columns] - golden[f"{adapter}/{case}/logits"])
    assert error.max() <= allowed
    last = golden[f"{adapter}/{case}/last"]
    assert np.abs(result.logits[-1] - last).max() <= allowed
    if case == "text" and f"{adapter}/merged" in golden:
        assert np.abs(result.logits[-1] - golden[f"{adapter}/merged"]).max() <= allowed


@pytest.mark.parametrize("arch", ARCHS)
def test_the_model_itself_stays_as_it_is(arch: str, model_of) -> None:
    model = model_of(arch)
    with_adapter(model, read_adapter("lora", FOLDER / "adapters" / arch / "lora"))
    golden = goldens(arch)

    result = trace(model, FOLDER / "cases" / "text.json", max_tokens=1)

    allowed = LOGIT_TOLERANCE * golden["text/spread"][1]
    assert np.abs(result.logits[-1] - golden["text/last"]).max() <= allowed
