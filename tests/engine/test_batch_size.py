"""How many prompts share a batch: by the memory of the device, and by what a row takes there."""

from __future__ import annotations

import pytest

from gemma4cli.engine import batch_size as sizes
from gemma4cli.engine.model import LoadedModel
from gemma4cli.machine.device import Device

GB = 10**9
ROW_OF_31B = GB
"""About what a row of 1,000 positions takes in bfloat16."""


@pytest.mark.parametrize(
    ("memory", "weights", "rows"),
    [
        (24 * GB, 18.4 * GB, 2),  # a tenth of the card
        (20 * GB, 18.4 * GB, 1),  # half of what the weights leave is less than one
        (139 * GB, 18.4 * GB, 8),
        (16 * GB, 18.4 * GB, 1),
    ],
)
def test_rows_by_the_memory_that_the_weights_leave(memory: int, weights: float, rows: int) -> None:
    spare = int(0.95 * memory - weights)
    assert sizes.rows_within(row=ROW_OF_31B, memory=memory, spare=spare) == rows


def test_the_memory_is_the_devices_and_not_the_hosts(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Device | None] = []

    def of(found: Device | None) -> int:
        asked.append(found)
        return 100_000_000

    card = Device(backend="CUDA", name="")
    monkeypatch.setattr(sizes, "device", lambda: card)
    monkeypatch.setattr(sizes, "memory_total", of)
    monkeypatch.setattr(sizes, "memory_limit", of)
    assert 1 <= sizes.batch_size(tiny, 100) <= 8
    assert asked == [card, card]


def test_a_longer_row_makes_no_larger_batch(tiny: LoadedModel) -> None:
    found = [sizes.batch_size(tiny, positions) for positions in (10, 1000, 100_000, 10**8)]
    assert found == sorted(found, reverse=True) and found[-1] == 1
