"""JSON from outside is read within limits, or refused with the place of the cause."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.json_values import JSON_VALUES

from gemma4cli.bounded import read_bounded
from gemma4cli.checked_json import (
    MAX_DEPTH,
    JsonError,
    check,
    number,
    parse,
    read_object,
    whole,
)


@pytest.mark.parametrize(
    ("content", "path", "problem"),
    [
        (b'{"a": [1, {"b": NaN}]}', "a[1].b", "must be a finite number"),
        (b'{"a": -Infinity}', "a", "must be a finite number"),
        (b'{"a": 1e999}', "a", "must be a finite number"),
        (b"[%s]" % (b"9" * 400), "[0]", "must be a finite number"),
        (b"[%s]" % (b"9" * 5000), "[0]", "must be a finite number"),
        (b'{"x": [{"a": 1, "a": 2}]}', "x[0]", "the key 'a' occurs twice"),
        (b"[" * 101 + b"]" * 101, "", "more than 100 deep"),
        (b"[" * 10**6, "", "more than 100 deep"),
        (b'{"a":' * 10**5, "", "more than 100 deep"),
        (b'{"a": "\xff"}', "", "is not UTF-8 text (byte 7)"),
        ('{"a": 1}'.encode("utf-16"), "", "is not UTF-8 text"),
        (b"", "", "line 1 column 1"),
        (b'{"a": 1,}', "", "line 1 column 9"),
    ],
)
def test_what_is_refused_says_where(content: bytes, path: str, problem: str) -> None:
    with pytest.raises(JsonError) as caught:
        parse(content)
    assert caught.value.path == path
    assert problem in caught.value.problem
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_depth_is_found_without_naming_every_place() -> None:
    """The paths of all levels together would be as long as the square of their number."""
    value: dict[str, object] = {}
    for _ in range(20_000):
        value = {"a" * 100: value}
    with pytest.raises(JsonError, match="more than 100 deep") as caught:
        check(value)
    assert caught.value.path == ""


def test_a_byte_order_mark_does_not_matter() -> None:
    assert parse(b'\xef\xbb\xbf{"a": 1}') == parse('\ufeff{"a": 1}') == {"a": 1}


def test_a_value_as_deep_as_is_allowed_is_read() -> None:
    assert parse("[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1))


@given(content=st.binary(max_size=60) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_content_is_read_or_refused(content: bytes) -> None:
    try:
        value = parse(content)
    except JsonError:
        return
    assert parse(json.dumps(value)) == value


def test_only_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"x" * 100)
    assert read_bounded(path, 100) == b"x" * 100
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(OSError, match="it is larger than 64 MB"):
        read_object(path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(OSError, match="it is no regular file"):
            read_object(path)
    with pytest.raises(IsADirectoryError):
        read_object(tmp_path)
    with pytest.raises(OSError, match="no file has such a name"):
        read_object(tmp_path / "a\0b")


@given(value=JSON_VALUES)
def test_numbers_are_within_their_range_or_refused(value: object) -> None:
    for checked in (
        lambda: whole(value, "a.b", least=0, most=9),
        lambda: number(value, "a.b", most=9),
    ):
        try:
            assert 0 <= checked() <= 9
        except JsonError as error:
            assert error.path == "a.b" and len(str(error)) < 200


def test_a_small_file_takes_little_memory_however_large_it_might_be(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(10))
    (tmp_path / "large").write_bytes(bytes(3 << 20))
    tracemalloc.start()
    try:
        assert len(read_bounded(tmp_path / "small", 1 << 30)) == 10
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert read_bounded(tmp_path / "large", 3 << 20) == bytes(3 << 20)
    with pytest.raises(OSError, match="larger than 2 MB"):
        read_bounded(tmp_path / "large", 2 << 20)
