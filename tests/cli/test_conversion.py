"""Values that do not go through Typer's conversion are what it would make of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.cli.output.conversion import convert_without_typer


def half(text: str | float) -> float:
    return float(text) / 2


def command(
    words: Annotated[list[str], typer.Argument()],
    repeated: Annotated[list[str] | None, typer.Option()] = None,
    text: str | None = None,
    choice: Annotated[Literal["auto", "never"], typer.Option(case_sensitive=False)] = "auto",
    whole: int | None = None,
    limited: Annotated[int | None, typer.Option(min=1, max=2**64 - 1)] = None,
    number: Annotated[float | None, typer.Option(min=0, max=1000)] = None,
    parsed: Annotated[float, typer.Option(parser=half)] = 0,
    flag: bool = False,
) -> None:
    """One parameter of each kind."""


def made() -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return typer.main.get_command(app)


TYPERS, OURS = made().params, made().params
convert_without_typer(OURS)
CONTEXT = typer.Context(made())


def outcome(parameter: Any, value: object) -> tuple[type, object]:
    """The value and its type, or the error and its message."""
    try:
        result = parameter.process_value(CONTEXT, value)
    except typer.BadParameter as error:
        return type(error), error.message
    return type(result), result


ODD = ["", " 5 ", "5.0", "5_0", "٥", "05", "-0", "+5", "1e3", ".5", "5.", "inf", "nan", "1001"]  # noqa: RUF001
ODD += ["AUTO", "auto ", "auto", "a\udcff", "\x00", str(2**64), str(2**64 - 1), "0", "0.25", "-1"]
VALUES = (
    st.sampled_from(ODD)
    | st.text()
    | st.integers().map(str)
    | st.floats().map(str)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.none()
)


@given(value=VALUES, several=st.lists(VALUES, max_size=2).map(tuple))
def test_a_value_is_what_typer_makes_of_it(value: object, several: tuple[object, ...]) -> None:
    for typers, ours in zip(TYPERS, OURS, strict=True):
        given_value = several if typers.multiple or typers.nargs != 1 else value
        assert outcome(ours, given_value) == outcome(typers, given_value), typers.name


def test_parameters_that_are_parsed_again_are_not_converted_twice() -> None:
    parameters = made().params
    convert_without_typer(parameters)
    before = [each.get_runtime_param for each in parameters]
    convert_without_typer(parameters)
    assert [each.get_runtime_param for each in parameters] == before
    assert not [each for each in before if each().__class__.__module__.startswith("typer")]
