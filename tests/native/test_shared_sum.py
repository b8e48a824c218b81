"""Sums over processes through memory that they share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = """
import sys
import mlx.core as mx
from gemma4cli.native import _native

path, rank = sys.argv[1].encode(), int(sys.argv[2])
memory = _native.SharedMemory(path, rank, 3)
numbers = mx.arange(700_001, dtype=mx.float32)  # several parts, the last one short
for _ in range(3):
    assert mx.array_equal(memory.sum((rank + 1) * numbers), 6 * numbers)
assert memory.sum(mx.array([[rank - 5]])).tolist() == [[-12]]
assert memory.sum(mx.full((2,), rank, mx.uint32)).tolist() == [3, 3]
assert memory.sum(mx.array(0.5)).item() == 1.5
assert memory.gather(mx.array([rank, 7], mx.int8)).tolist() == [[0, 7], [1, 7], [2, 7]]
# In one graph, of what is not in rows.
columns = mx.arange(6.0).reshape(2, 3).T * (rank == 1)
chained = memory.sum(memory.sum(columns) * 0.5)
assert chained.tolist() == [[0, 4.5], [1.5, 6], [3, 7.5]]
# Sums are the same in all, to the last bit.
mx.random.seed(rank)
found = memory.sum(mx.random.normal((1000,)))
assert all(mx.array_equal(each, found) for each in memory.gather(found))
"""


def test_all_processes_have_the_sum(native: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "sums"
    path.write_bytes(bytes(native.SharedMemory.file_size(3)))
    found = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(path), str(rank)]) for rank in range(3)
    ]
    try:
        assert [each.wait(timeout=60) for each in found] == [0, 0, 0]
    finally:
        for each in found:
            each.kill()
            each.wait()


def test_what_does_not_fit_is_refused(native: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "sums"
    with pytest.raises(RuntimeError, match="No such file"):
        native.SharedMemory(bytes(path), 0, 2)
    path.write_bytes(bytes(100))
    with pytest.raises(ValueError, match="another size"):
        native.SharedMemory(bytes(path), 0, 2)
    with pytest.raises(ValueError, match="no such process"):
        native.SharedMemory(bytes(path), 2, 2)
