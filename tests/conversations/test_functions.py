"""Python functions as tools: what the model is told of them, and what it is told they gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, TypedDict

import pytest

from gemma4cli.conversations.functions import function_of, functions_in, run_call
from gemma4cli.errors import FunctionsError
from gemma4cli.messages import ToolCall


class Place(TypedDict):
    x: float
    y: float


def plan(
    city: str,
    days: int = 3,
    units: Literal["c", "f"] = "c",
    at: Place | None = None,
    tags: list[str] | None = None,
    sizes: Mapping[str, float] = {},
    pair: tuple[int, bool] = (1, True),
    level: int | str = 1,
    note: Annotated[str, "A remark."] = "",
    old: Optional[str] = None,  # noqa: UP045 - as users write it
    *rest: str,
    loud: bool = False,
    anything: Any = None,
    **more: int,
) -> str:
    """Plan a trip,
    day by day.

    It takes a while.

    Args:
        city: Where to go,
            in English.
        days (int): How many days.
        loud: Not: quiet.

    Returns:
        city: the plan.
    """
    return f"{city}{days}{units}{at}{tags}{sizes}{pair}{level}{note}{old}{rest}{loud}{more}"


def test_types_and_docstring_say_what_a_function_takes() -> None:
    declared = function_of(plan).declaration["function"]
    assert declared["name"] == "plan"
    assert declared["description"] == "Plan a trip, day by day."
    parameters = declared["parameters"]
    assert parameters["required"] == ["city"]
    place = {
        "type": "object",
        "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
        "required": ["x", "y"],
        "nullable": True,
    }
    assert parameters["properties"] == {
        "city": {"type": "string", "description": "Where to go, in English."},
        "days": {"type": "integer", "description": "How many days.", "default": 3},
        "units": {"type": "string", "enum": ["c", "f"], "default": "c"},
        "at": place,
        "tags": {"type": "array", "items": {"type": "string"}, "nullable": True},
        "sizes": {"type": "object", "additionalProperties": {"type": "number"}},
        "pair": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "boolean"}],
            "items": False,
            "minItems": 2,
        },
        "level": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 1},
        "note": {"type": "string", "description": "A remark.", "default": ""},
        "old": {"type": "string", "nullable": True},
        "loud": {"type": "boolean", "description": "Not: quiet.", "default": False},
        "anything": {},
    }


def test_a_function_without_types_or_docstring_takes_anything() -> None:
    def plain(a, b=None):  # type: ignore[no-untyped-def]
        pass

    assert function_of(plain).declaration["function"] == {
        "name": "plain",
        "description": "",
        "parameters": {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]},
    }


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(a: bytes): ...", "f: a has the type bytes, which the model cannot write"),
        ("def f(a: list[complex]): ...", "f: a has the type complex"),
        ("def f(a, /): ...", "f: a cannot be passed by name"),
        ("def f(a: 'Missing'): ...", "f: its parameters cannot be read"),
        ("x = 1\ndef f(:", "line 2: SyntaxError"),
        ("x = 1\n\n1 / 0", "line 3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('no')", "line 2: SystemExit: no"),
        ("_x = 1\ndef _f(): ...\nfrom json import loads", "defines no functions"),
    ],
)
def test_a_file_that_offers_no_functions_is_an_error(
    tmp_path: Path, code: str, message: str
) -> None:
    file = tmp_path / "tools.py"
    file.write_text(code)
    with pytest.raises(FunctionsError, match=message.replace("(", r"\(")):
        functions_in(file)
    with pytest.raises(FunctionsError, match="no such file"):
        functions_in(tmp_path / "missing.py")


def test_a_file_offers_the_functions_that_it_defines(tmp_path: Path) -> None:
    file = tmp_path / "tools.py"
    file.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from json import loads\n"
        "@dataclass\n"
        "class Box: x: int = 1\n"
        "def b(n: int) -> int: return _double(n)\n"
        "def a() -> Box: return Box()\n"
        "def _double(n): return 2 * n\n"
    )
    found = functions_in(file)
    assert [each.name for each in found] == ["b", "a"]
    assert run_call(found[0], ToolCall(name="b", arguments={"n": 4})).text == "8"


RESULTS: Sequence[tuple[object, str]] = [
    ("text", "text"),
    (None, "null"),
    ({"é": [1, True]}, '{"é": [1, true]}'),
    (Path("a"), '"a"'),
    ({1}, '"{1}"'),
]


@pytest.mark.parametrize(("value", "text"), RESULTS)
def test_a_result_is_text_or_json(value: object, text: str) -> None:
    given = function_of(lambda: value, "f")
    result = run_call(given, ToolCall(name="f", arguments={}))
    assert (result.text, result.failed) == (text, False)


def test_a_result_that_would_fill_the_context_is_cut() -> None:
    given = function_of(lambda: "x" * 60_000, "f")
    text = run_call(given, ToolCall(name="f", arguments={})).text
    assert text.endswith("x\n(cut; 10,000 more characters)")


def test_what_a_function_raises_is_told_to_the_model() -> None:
    def fails(a: int) -> None:
        raise SystemExit("no")

    given = function_of(fails)
    for arguments, text in [({"a": 1}, "error: SystemExit: no"), ({"b": 1}, "error: ")]:
        result = run_call(given, ToolCall(name="fails", arguments=arguments))
        assert result.failed
        assert result.text.startswith(text)
