"""Each format of a time, at the values where rounding and carries show."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gemma4cli.times import clock, file_time, minutes_label, seconds_of, subtitle_time

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


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90.5", 90.5),
        (" 1e2 ", 100),
        ("-1", -1),
        ("1:30", 90),
        ("0:01:30.5", 90.5),
        ("00:01:30,250", 90.25),
        ("1:00:00", 3600),
        (":30", None),
        ("90s", 90),
        ("1m30s", 90),
        ("1M 30S", 90),
        ("1.5h", 5400),
        ("1h2m3s", 3723),
        ("5min", 300),
        ("", None),
        ("soon", None),
        ("1:2:3:4", None),
        ("1m2h", None),
    ],
)
def test_a_time_as_people_type_it(text: str, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(ValueError, match="such as 90, 1:30 or 1m30s"):
            seconds_of(text)
    else:
        assert seconds_of(text) == seconds
