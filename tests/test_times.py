"""Each format of a time, at the values where rounding and carries show."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gemma4cli.times import clock, file_time, minutes_label, subtitle_time

CASES: list[tuple[Callable[[float], str], dict[float, str]]] = [
    (
        minutes_label,
        {
            0: "00:00",
            0.999: "00:00",
            59.99: "00:59",
            60: "01:00",
            3599.9: "59:59",
            3725.9: "62:05",
            6000: "100:00",
        },
    ),
    (clock, {0: "0:00", 59.6: "1:00", 123: "2:03", 3599.6: "1:00:00", 3723: "1:02:03"}),
    (
        lambda seconds: subtitle_time(seconds, ","),
        {
            -1: "00:00:00,000",
            0.0004: "00:00:00,000",
            59.9996: "00:01:00,000",
            359_999.999: "99:59:59,999",
            360_000: "100:00:00,000",
        },
    ),
    (file_time, {0: "00m00.000s", 184.5: "03m04.500s", 59.9996: "01m00.000s", 7200: "120m00.000s"}),
]


@pytest.mark.parametrize(
    ("write", "expected"), CASES, ids=["minutes", "clock", "subtitles", "file names"]
)
def test_times_are_written(write: Callable[[float], str], expected: dict[float, str]) -> None:
    assert {seconds: write(seconds) for seconds in expected} == expected
