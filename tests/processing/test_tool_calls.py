"""Calls are read back from the ids that the model writes, as they come."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma4cli.processing.prompt_tokens import Control, Text, merged
from gemma4cli.processing.tokenizer import Tokenizer
from gemma4cli.processing.tool_calls import CallParser, CallSyntaxError
from gemma4cli.processing.tools import call

QUOTE = '<|"|>'

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["", "}", '"', "\\", "line\nline", f"a {QUOTE} b{{c:1}}<tool_call|>"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def ids_of(tokenizer: Tokenizer, written: str) -> list[int]:
    """The ids of a call's text, in which quote tokens are written by name."""
    ids: list[int] = []
    for number, part in enumerate(written.split(QUOTE)):
        ids += ([tokenizer.control_id(QUOTE)] if number else []) + tokenizer.encode(part)
    return ids


def read(tokenizer: Tokenizer, ids: Iterable[int]) -> tuple[str, Any]:
    parser = CallParser(tokenizer)
    deltas = [parser.push(each) for each in ids]
    arguments = parser.finish()
    assert json.loads("".join(deltas)) == arguments
    return parser.name, arguments


@given(name=NAMES, arguments=st.dictionaries(KEYS, VALUES, max_size=4))
@settings(max_examples=25)
def test_a_call_as_the_template_writes_it_is_read_back(
    tiny: Tokenizer, name: str, arguments: dict[str, Any]
) -> None:
    ids: list[int] = []
    for part in list(merged(call(name, arguments)))[1:-1]:
        match part:
            case Text(text):
                ids += tiny.encode(text)
            case Control(control):
                ids.append(tiny.control_id(control))
    assert read(tiny, ids) == (name, arguments)


CLEAR = {
    "call:f{}": {},
    " call: f { } \n": {},
    'call:f{ a : <|"|> b <|"|> , c : 1 }': {"a": " b ", "c": 1},
    "call:f{a:Paris,b:[New York, 2]}": {"a": "Paris", "b": ["New York", 2]},
    'call:f{"a":"x\\n\\"y\\"",<|"|>b<|"|>:1}': {"a": 'x\n"y"', "b": 1},
    "call:f{a:True,b:None,c:false,d:[],e:{}}": {"a": True, "b": None, "c": False, "d": [], "e": {}},
    "call:f{a:1.,b:.5,c:+3,d:-0.5e-2,e:007}": {"a": 1, "b": 0.5, "c": 3, "d": -0.005, "e": "007"},
    "call:f{a:[1,2,],b:2,}": {"a": [1, 2], "b": 2},
    'call:f{a:{b:[{c:<|"|>}]<|"|>}]}}': {"a": {"b": [{"c": "}]"}]}},
    'call:f{a:<|"|><|"|>}': {"a": ""},
    "call:f{a:1,a:2}": {"a": 2},
}


@pytest.mark.parametrize("written", CLEAR)
def test_what_models_write_by_mistake_is_read_if_it_is_clear(tiny: Tokenizer, written: str) -> None:
    assert read(tiny, ids_of(tiny, written)) == ("f", CLEAR[written])


BROKEN = {
    "": "call:NAME",
    "f{}": "call:NAME",
    "call:{}": "call:NAME",
    "call:a b{}": "call:NAME",
    "call:f": "call:NAME",
    "call:f{": "not complete",
    "call:f{a}": "colon",
    "call:f{a:}": "missing",
    "call:f{:1}": "missing",
    "call:f{a:1": "not complete",
    'call:f{a:<|"|>b}': "not complete",
    'call:f{a:<|"|>b<|"|>c}': "comma",
    'call:f{a:b<|"|>c}': "not complete",
    "call:f{a:[1}}": "comma",
    "call:f{} and more": "end after",
    "call:f{a:1e999}": "finite",
    'call:f{a:"\\x"}': "escape",
    "call:f{a:" + "[" * 200: "deep",
    "call:" + "f" * 1000: "call:NAME",
}


@pytest.mark.parametrize("written", BROKEN)
def test_a_call_that_is_not_clear_is_an_error_and_its_text_is_kept(
    tiny: Tokenizer, written: str
) -> None:
    parser = CallParser(tiny)
    for each in ids_of(tiny, written):
        parser.push(each)
    with pytest.raises(CallSyntaxError, match=BROKEN[written]):
        parser.finish()
    assert parser.cut_off() == f"<|tool_call>{written}<tool_call|>"


def test_arguments_come_as_json_while_they_are_written(tiny: Tokenizer) -> None:
    parser = CallParser(tiny)
    seen = []
    for each in ids_of(tiny, 'call:f{days:3,city:<|"|>a "b"\n<|"|>}'):
        parser.push(each)
        seen.append((parser.name, parser.arguments))
    assert seen[0] == ("", "")
    assert ("f", '{"days":3,"city":"a') in seen
    assert seen[-1] == ("f", '{"days":3,"city":"a \\"b\\"\\n"}')


def test_a_call_that_is_cut_off_keeps_its_text(tiny: Tokenizer) -> None:
    parser = CallParser(tiny)
    for each in ids_of(tiny, 'call:f{a:<|"|>b'):
        parser.push(each)
    assert parser.cut_off() == '<|tool_call>call:f{a:<|"|>b'
