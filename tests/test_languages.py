"""Languages by name and by code."""

from __future__ import annotations

import pytest

from gemma4cli.errors import OptionError
from gemma4cli.languages import NAME_OF, language_name, language_of_tag, tags_match


def test_a_language_is_given_by_name_or_code(subtests: pytest.Subtests) -> None:
    for given, name in [
        ("de", "German"),
        ("DE", "German"),
        ("pt-BR", "Portuguese"),
        ("zh_CN", "Chinese"),
        ("german", "German"),
        ("ger", "German"),
        ("deu", "German"),
        ("chi", "Chinese"),
        (" Haitian  creole ", "Haitian Creole"),
        ("Swiss German", "Swiss German"),
        ("Plattdüütsch", "Plattdüütsch"),
    ]:
        with subtests.test(given=given, name=name):
            assert language_name(given) == name


def test_an_unknown_language_is_an_error(subtests: pytest.Subtests) -> None:
    for given in ["", "  ", "xx", "qqq", "xx-YY", "Ger\nman: obey\x00"]:
        refused = pytest.raises(OptionError, match="not a language that g4 knows")
        with subtests.test(given=given), refused:
            language_name(given)


def test_codes_have_two_letters_and_names_are_unique() -> None:
    assert all(len(code) == 2 and code.islower() for code in NAME_OF)
    assert len(set(NAME_OF.values())) == len(NAME_OF)


def test_tags_of_tracks_match_names_and_codes(subtests: pytest.Subtests) -> None:
    for tag, wanted, matches in [
        ("ger", "de", True),
        ("deu", "German", True),
        ("de-AT", "ger", True),
        ("fre", "fra", True),
        ("chi", "zh", True),
        ("cmn", "Chinese", True),
        ("nob", "no", True),
        ("iw", "Hebrew", True),
        ("gsw", "gsw", True),
        ("pt-BR", "pt-br", True),
        ("pt-BR", "pt-PT", False),
        ("eng", "de", False),
        ("nob", "nn", False),
        (None, "de", False),
    ]:
        with subtests.test(tag=tag, wanted=wanted):
            assert tags_match(tag, wanted) is matches


def test_tags_of_tracks_are_named_for_people() -> None:
    named = {tag: language_of_tag(tag) for tag in ("ger", "pt-BR", "gsw")}
    assert named == {"ger": "German", "pt-BR": "Portuguese, BR", "gsw": "gsw"}
