"""Tensors that stay in their file equal those that MLX reads."""

from __future__ import annotations

import json
import mmap
import os
import re
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import numpy as np
import pytest
from support.models import logits_after

from gemma4cli.api import load

TENSORS = {
    "half": mx.arange(7).astype(mx.bfloat16),
    "packed": mx.arange(12, dtype=mx.uint32).reshape(3, 4),
    "flag": mx.array([True, False, True]),
    "scalar": mx.array(2.5),
    "empty": mx.zeros((0, 4)),
}


@pytest.fixture
def file(tmp_path: Path, native: ModuleType) -> Path:
    path = tmp_path / "model.safetensors"
    mx.save_safetensors(str(path), TENSORS)
    return path


def test_every_tensor_has_the_values_of_the_file_at_any_byte_address(file: Path) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    found = mapped_tensors(file)
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert mx.array_equal(found[name], value), name


def test_a_tensor_outlives_the_name_of_its_file_and_never_changes_it(file: Path) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    before = file.read_bytes()
    half = mapped_tensors(file)["half"]
    kept = file.rename(file.with_name("kept"))
    half[0] = 5
    # A cast to a type of the same size may reuse the memory of its input.
    cast = half.astype(mx.float16)
    del half
    assert cast.tolist() == [5, 1, 2, 3, 4, 5, 6]
    assert kept.read_bytes() == before


ENTRY: dict[str, object] = {"dtype": "BF16", "shape": [7], "data_offsets": [0, 14]}
WITHOUT = [{key: ENTRY[key] for key in ENTRY if key != lost} for lost in ENTRY]
CHANGES: dict[str, dict[str, object]] = {
    "a type that MLX lacks": {"dtype": "F64", "data_offsets": [0, 56]},
    "a type that nobody knows": {"dtype": "BF17"},
    "a type that is a number": {"dtype": 16},
    "a shape of another size": {"shape": [8]},
    "a negative shape": {"shape": [-7]},
    "a shape in text": {"shape": "7"},
    "a fraction as shape": {"shape": [7.5]},
    "more numbers than can be": {"shape": [2**31 - 1, 2**31 - 1, 2**31 - 1]},
    "a longer axis than MLX has": {"shape": [2**31, 0], "data_offsets": [0, 0]},
    "bytes after the end of the file": {"shape": [32], "data_offsets": [0, 64]},
    "bytes before the data": {"data_offsets": [-14, 0]},
    "an end before the start": {"data_offsets": [14, 0]},
    "one offset": {"data_offsets": [0]},
    "offsets in text": {"data_offsets": "01"},
    "a gap before it": {"data_offsets": [2, 16]},
}
HEADERS: dict[str, object] = {
    "a list": [],
    "null": None,
    "text": "half",
    "a tensor that is null": {"half": None},
    "a tensor that is an empty list": {"half": []},
    **{f"a tensor of {sorted(entry)} alone": {"half": entry} for entry in WITHOUT},
    **{kind: {"half": ENTRY | change} for kind, change in CHANGES.items()},
    "the same bytes twice": {"half": ENTRY, "other": ENTRY},
    "tensors that overlap": {"half": ENTRY, "other": ENTRY | {"data_offsets": [8, 22]}},
    "metadata that are numbers": {"__metadata__": {"format": 1}, "half": ENTRY},
}

SIZES = {
    "a type that MLX lacks": 56,
    "a longer axis than MLX has": 0,
    "a gap before it": 16,
    "tensors that overlap": 22,
}
"""Bytes of data, if not 14: those that the header says."""


def with_header(path: Path, header: bytes, data: bytes, length: int | None = None) -> Path:
    length = len(header) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + header + data)
    return path


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_that_does_not_fit_its_file_is_refused(
    tmp_path: Path, native: ModuleType, kind: str
) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    header = json.dumps(HEADERS[kind]).encode()
    path = with_header(tmp_path / "w.safetensors", header, bytes(SIZES.get(kind, 14)))
    with pytest.raises(ValueError):
        mapped_tensors(path)


@pytest.mark.parametrize("length", [0, 7, 1 << 40, (1 << 64) - 1])
def test_a_header_of_another_length_is_refused(
    tmp_path: Path, native: ModuleType, length: int
) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    header = json.dumps({"half": ENTRY}).encode()
    with pytest.raises(ValueError, match="header"):
        mapped_tensors(with_header(tmp_path / "w.safetensors", header, bytes(14), length))


@pytest.mark.parametrize("content", [b"", bytes(7), bytes(64), b"<!DOCTYPE html>" * 9])
def test_a_file_without_a_header_is_refused(
    tmp_path: Path, native: ModuleType, content: bytes
) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        mapped_tensors(path)


def test_headers_in_other_orders_and_forms_are_read(tmp_path: Path, native: ModuleType) -> None:
    """The order of the names is not that of the bytes; an entry may be a list of its values."""
    from gemma4cli.native.mapped import mapped_tensors

    header = {
        "last": ["U8", [2], [14, 16]],
        "__metadata__": {"format": "mlx"},
        "half": ENTRY,
    }
    path = tmp_path / os.fsdecode(b"w\xff.safetensors")
    found = mapped_tensors(with_header(path, json.dumps(header).encode(), bytes(14) + b"\1\2"))
    assert found["last"].tolist() == [1, 2]
    assert found["half"].tolist() == [0] * 7


def test_a_tensor_in_large_pages_has_the_same_values(file: Path, native: ModuleType) -> None:
    from gemma4cli.native.mapped import mapped_tensors

    found = mapped_tensors(file)
    moved = {name: native.in_large_pages(value) for name, value in found.items()}
    del found
    for name, value in TENSORS.items():
        assert mx.array_equal(moved[name], value), name
    other = mx.arange(3)
    mx.eval(other)
    assert native.in_large_pages(other).tolist() == [0, 1, 2]


def test_moving_the_weights_while_decoding_changes_nothing(
    native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemma4cli.models import native_text

    def logits(after: int) -> list[mx.array]:
        monkeypatch.setattr(native_text, "_MANY_STEPS", after)
        network = load("tiny").network
        cache = network.language_model.make_cache()
        return [logits_after(network, network.embed([9]), cache)[0, -1] for _ in range(16)]

    for one, other in zip(logits(2), logits(1000), strict=True):
        assert mx.array_equal(one, other)


def test_tensors_lie_side_by_side_in_large_pages(tmp_path: Path, native: ModuleType) -> None:
    """Those of other processes lie between them in the file, and take no memory here."""
    from gemma4cli.native.mapped import mapped_tensors

    path = tmp_path / "model.safetensors"
    mx.save_safetensors(str(path), {"all": mx.arange(3 << 20, dtype=mx.uint32).reshape(3, -1)})
    rows = mapped_tensors(path)["all"]
    first, last = rows[:1], rows[2:]
    mx.eval(first, last)
    moved = [native.in_large_pages(each) for each in (first, last)]
    mx.eval(moved)
    one, other = (np.asarray(each).__array_interface__["data"][0] for each in moved)
    if moved[0] is first:
        pytest.skip("the system has no large pages")
    assert abs(one - other) == first.nbytes
    assert mx.array_equal(mx.concatenate(moved), mx.concatenate([rows[:1], rows[2:]]))


def test_rows_of_other_processes_are_not_mapped_with_own_ones(
    tmp_path: Path, native: ModuleType
) -> None:
    """Linux maps a large page of a file at once: of many small parts, that would be all."""
    from gemma4cli.native.mapped import mapped_tensors

    path = tmp_path / "model.safetensors"
    numbers = mx.arange(12 << 20, dtype=mx.uint32).reshape(3, -1)
    mx.save_safetensors(str(path), {"all": numbers, "none": numbers})
    found = mapped_tensors(path, {"all": (1, 2)})
    assert found.keys() == {"all"}
    assert mx.array_equal(found["all"], numbers[1:2])
    held, name = 0, ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-", line):
            name = line
        elif line.startswith("Rss:") and name.endswith(str(path)):
            held += int(line.split()[1]) * 1024
    assert found["all"].nbytes <= held <= found["all"].nbytes + 2 * mmap.PAGESIZE
