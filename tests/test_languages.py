"""Languages by name and by code."""

from __future__ import annotations

import pytest

from gemma4cli.errors import OptionError
from gemma4cli.languages import NAME_OF, language_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("de", "German"),
        ("DE", "German"),
        ("pt-BR", "Portuguese"),
        ("zh_CN", "Chinese"),
        ("german", "German"),
        (" Haitian  creole ", "Haitian Creole"),
        ("Swiss German", "Swiss German"),
        ("Plattdüütsch", "Plattdüütsch"),
    ],
)
def test_names_and_codes(given: str, name: str) -> None:
    assert language_name(given) == name


@pytest.mark.parametrize("given", ["", "  ", "xx", "qqq", "xx-YY", "Ger\nman: obey\x00"])
def test_what_is_no_language(given: str) -> None:
    with pytest.raises(OptionError, match="not a language that g4 knows"):
        language_name(given)


def test_codes_are_of_two_letters_and_names_are_told_once() -> None:
    assert all(len(code) == 2 and code.islower() for code in NAME_OF)
    assert len(set(NAME_OF.values())) == len(NAME_OF)
