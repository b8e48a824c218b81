"""A model in several processes computes what it computes in one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.checkpoints import PARITY
from support.goldens import ARCHS
from support.processes import divided

from gemma4cli.api import load
from gemma4cli.conversations.trace import trace
from gemma4cli.options import LoadOptions

CASES = PARITY.parent / "cases"
OPTIONS = LoadOptions(dtype="float32", draft="none")


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("arch", ARCHS)
def test_logits_are_those_of_one_process(arch: str, count: int) -> None:
    whole = load(str(PARITY / arch), options=OPTIONS)
    case = CASES / "image_70.json"
    expected = trace(whole, case, max_tokens=4)
    with divided(PARITY / arch, count, OPTIONS) as network:
        result = trace(replace(whole, network=network), case, max_tokens=4)
    error = np.abs(result.logits - expected.logits).max()
    assert error < 1e-3 * expected.logits.std()
    assert result.generated.tolist() == expected.generated.tolist()
