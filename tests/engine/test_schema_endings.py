"""An answer by a schema is always a valid document, whatever the model would write.

The models here are as bad as can be: each picks, from the tokens that are allowed, those that make
the document longer. No network runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema
import mlx.core as mx
import numpy as np
import pytest

from gemma4cli.api import generate, stream_generate
from gemma4cli.engine.byte_document import ByteDocument
from gemma4cli.engine.constrain import SchemaConstraint
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.shortest_ending import shortest_ending
from gemma4cli.errors import AnswerCutError, OptionError
from gemma4cli.events import Finished
from gemma4cli.options import GenerateOptions

Schema = dict[str, Any]
Pick = Callable[[list[int], list[str], np.random.Generator], int]
"""Picks one of the allowed ids; their texts are given too."""
Check = Callable[[str, Pick, int], None]
"""Takes the name of a schema, the model that writes, and tokens beyond the shortest document's."""

NODE: Schema = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
    "required": ["value", "children"],
    "additionalProperties": False,
}
POINT: Schema = {
    "type": "object",
    "properties": {"x": {"type": "number"}, "y": {"type": "string", "minLength": 3}},
    "required": ["x", "y"],
    "additionalProperties": False,
}


def record(required: list[str] | None = None, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
    }


SCHEMAS: dict[str, Schema] = {
    "anything": {},
    "caption": record(caption={"type": "string"}),
    "color and count": record(color={"enum": ["red", "green", "blue"]}, n={"type": "integer"}),
    "numbers": {"type": "array", "items": {"type": "number"}},
    "many numbers": {"type": "array", "items": {"type": "integer"}, "minItems": 25},
    "between": {"type": "array", "items": {"enum": ["alpha", "b"]}, "minItems": 3, "maxItems": 9},
    "bounds": {"type": "integer", "minimum": 1000, "maximum": 123456},
    "above": {"type": "number", "exclusiveMinimum": 0.25},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 50},
    "pattern": {"type": "string", "pattern": "^[a-z]{3}-[0-9]+$"},
    "ends in y": {"type": "string", "pattern": "^[^y]*y$"},
    "long": {"type": "string", "minLength": 60},
    "length": {"type": "string", "minLength": 2, "maxLength": 8},
    "date": {"type": "string", "format": "date-time"},
    "nested": record(a=record(b=record(c={"type": "string"}, d={"type": "boolean"})), e={}),
    "points": {"type": "array", "items": POINT, "minItems": 2},
    "tree": {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
    "any of": {"anyOf": [{"type": "null"}, POINT, {"type": "array", "items": POINT}]},
    "one of": {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    "all of": {"allOf": [{"type": "integer"}, {"minimum": 10}]},
    "const": {"const": {"a": [1, 2, {"b": "größer"}]}},
    "free keys": {"type": "object", "additionalProperties": {"type": "integer"}},
    "no other keys": record([], a={"type": "string"}) | {"additionalProperties": False},
    "optional": record(["b"], a=POINT, b={"type": "boolean"}, c={"type": "string"}),
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}, POINT], "minItems": 2},
    "types": {"type": ["object", "array", "string", "integer", "boolean", "null"]},
    "twenty strings": record(**{f"p{i}": {"type": "string"} for i in range(20)}),
}

CLOSING = frozenset('"]}')


def anything(ids: list[int], _: list[str], rng: np.random.Generator) -> int:
    return int(rng.choice(ids))


def nothing_that_closes(ids: list[int], texts: list[str], rng: np.random.Generator) -> int:
    open_ = [i for i, text in zip(ids, texts, strict=True) if text and not CLOSING & set(text)]
    return int(rng.choice(open_ or ids))


def brackets(ids: list[int], texts: list[str], rng: np.random.Generator) -> int:
    opening = [i for i, text in zip(ids, texts, strict=True) if text.startswith(("[", "{", ","))]
    return int(rng.choice(opening)) if opening else nothing_that_closes(ids, texts, rng)


def digits(ids: list[int], texts: list[str], rng: np.random.Generator) -> int:
    numbers = [i for i, text in zip(ids, texts, strict=True) if text.isdigit()]
    return int(rng.choice(numbers)) if numbers else nothing_that_closes(ids, texts, rng)


def the_same(ids: list[int], texts: list[str], _: np.random.Generator) -> int:
    open_ = [i for i, text in zip(ids, texts, strict=True) if text and not CLOSING & set(text)]
    return (open_ or ids)[-1]


PICKS = (anything, nothing_that_closes, brackets, digits, the_same)


def constraint(model: LoadedModel, schema: Schema, max_tokens: int) -> SchemaConstraint:
    return SchemaConstraint(
        json.dumps(schema),
        model.tokenizer,
        vocab_size=model.network.config.text.vocab_size,
        stop_ids=model.generation.stop_ids,
        max_tokens=max_tokens,
    )


def shortest(model: LoadedModel, schema: Schema) -> int:
    """Tokens of the shortest document."""
    with pytest.raises(AnswerCutError) as caught:
        constraint(model, schema, 0)
    assert caught.value.shortest is not None
    return caught.value.shortest


def begun(schema: Schema, content: str = "") -> ByteDocument:
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_json_schema(
        json.dumps(schema), overrides={"whitespace_flexible": False}
    )
    document = ByteDocument.begin(grammar)
    assert document.push(content.encode())
    return document


@pytest.fixture(scope="module")
def texts(tiny: LoadedModel) -> list[str]:
    size = tiny.network.config.text.vocab_size
    return [tiny.tokenizer.decode([i]) for i in range(size)]


def write(
    model: LoadedModel, rule: SchemaConstraint, texts: list[str], pick: Pick, seed: int, most: int
) -> list[int]:
    """The tokens of an answer whose model is ``pick``, without the stop token."""
    rng = np.random.default_rng(seed)
    ids: list[int] = []
    while len(ids) < most:
        allowed = [int(i) for i in np.flatnonzero(rule.allowed().mask())]
        token = rule.push(pick(allowed, [texts[i] for i in allowed], rng))
        if token in model.generation.stop_ids:
            break
        ids.append(token)
    return ids


@pytest.fixture(scope="module")
def check(tiny: LoadedModel, texts: list[str]) -> Check:
    """Checks one document with some more tokens than the shortest takes."""
    shortest_of = cache(lambda name: shortest(tiny, SCHEMAS[name]))

    def check(name: str, pick: Pick, room: int) -> None:
        schema = SCHEMAS[name]
        most = shortest_of(name) + room
        rule = constraint(tiny, schema, most)
        ids = write(tiny, rule, texts, pick, room, most)
        text = tiny.tokenizer.decode(ids)
        assert rule.is_complete, text
        assert len(ids) <= most
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))

    return check


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_document_is_complete_and_valid_at_any_length(name: str, check: Check) -> None:
    for pick, room in ((nothing_that_closes, 0), (the_same, 9)):
        check(name, pick, room)


@pytest.mark.slow
@pytest.mark.parametrize("pick", PICKS, ids=lambda pick: pick.__name__)
@pytest.mark.parametrize("name", SCHEMAS)
def test_a_document_is_complete_and_valid_whatever_the_model_does(
    name: str, pick: Pick, check: Check
) -> None:
    for room in (0, 1, 2, 7, 40, *([250] if pick is nothing_that_closes else [])):
        check(name, pick, room)


def test_a_string_that_repeats_itself_is_ended_and_the_rest_is_still_written(
    tiny: LoadedModel, texts: list[str]
) -> None:
    schema = record(caption={"type": "string"}, color={"enum": ["red", "blue"]})
    rule = constraint(tiny, schema, 2000)

    def blue(ids: list[int], texts_: list[str], rng: np.random.Generator) -> int:
        chosen = [i for i in ids if texts[i] in ("b", "bl", "blu", "blue")]
        return chosen[-1] if chosen else the_same(ids, texts_, rng)

    ids = write(tiny, rule, texts, blue, 0, 2000)
    assert len(ids) < 400
    value = json.loads(tiny.tokenizer.decode(ids))
    assert value["color"] == "blue" and len(value["caption"]) > 100
    assert rule.cut == "repetition"


def test_without_the_guard_a_string_may_repeat_itself_up_to_the_limit(tiny: LoadedModel) -> None:
    options = GenerateOptions(
        schema=json.dumps(SCHEMAS["caption"]), max_tokens=150, repetition_guard=False
    )
    (*_, last) = stream_generate(tiny, "Go on", options=options)
    assert isinstance(last, Finished)
    jsonschema.validate(json.loads(last.text), SCHEMAS["caption"])


@pytest.mark.parametrize("name", ["caption", "color and count"])
def test_the_built_in_model_ends_what_it_would_write_forever(name: str, tiny: LoadedModel) -> None:
    text = generate(tiny, "Hi", options=GenerateOptions(schema=json.dumps(SCHEMAS[name])))
    jsonschema.validate(json.loads(text), SCHEMAS[name])


def test_an_answer_that_is_cut_at_its_limit_says_so(tiny: LoadedModel) -> None:
    options = GenerateOptions(schema=json.dumps(SCHEMAS["caption"]), max_tokens=20)
    (*_, last) = stream_generate(tiny, "Hi", options=options)
    assert isinstance(last, Finished)
    assert last.reason == "length"
    assert last.usage.completion_tokens <= 20


def test_too_few_tokens_for_any_document_are_an_error_before_anything_is_computed(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tiny.network), "__call__", None)
    schema = json.dumps(SCHEMAS["color and count"])
    with pytest.raises(AnswerCutError, match=r"takes \d+ tokens, but the answer may have 5"):
        generate(tiny, "Hi", options=GenerateOptions(schema=schema, max_tokens=5))


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (
            {"$defs": {"n": record(n={"$ref": "#/$defs/n"})}, "$ref": "#/$defs/n"},
            "shortest documents are endless",
        ),
        ({"type": "object", "minProperties": 2}, "keys that it does not name"),
        (record(a={"items": {"type": "object", "minProperties": 2}}), "keys that it does not name"),
    ],
)
def test_a_schema_that_no_answer_can_be_made_to_match_is_an_error(
    schema: Schema, problem: str, tiny: LoadedModel
) -> None:
    with pytest.raises(OptionError, match=problem):
        constraint(tiny, schema, 100)


def test_named_keys_and_a_single_other_one_can_be_counted(
    tiny: LoadedModel, texts: list[str]
) -> None:
    schema = record(a={"type": "null"}) | {"minProperties": 2}
    rule = constraint(tiny, schema, 60)
    ids = write(tiny, rule, texts, brackets, 0, 60)
    jsonschema.validate(json.loads(tiny.tokenizer.decode(ids)), schema)


def test_the_ending_of_a_long_list_is_found_too(tiny: LoadedModel) -> None:
    assert shortest(tiny, {"type": "array", "items": POINT, "minItems": 120}) > 1000


def test_true_is_a_schema(tiny: LoadedModel) -> None:
    json.loads(generate(tiny, "Hi", options=GenerateOptions(schema=" true\n", max_tokens=30)))


@pytest.mark.parametrize(
    ("schema", "content", "ending"),
    [
        ({}, "", "0"),
        (SCHEMAS["caption"], '{"caption":"so', '"}'),
        (SCHEMAS["caption"], '{"caption":"so\\', '""}'),
        (SCHEMAS["color and count"], '{"color":"', 'red","n":0}'),
        (SCHEMAS["color and count"], '{"color":"b', 'lue","n":0}'),
        (SCHEMAS["between"], "[", '"b","b","b"]'),
        (SCHEMAS["tree"], '{"value":1,"children":[{', '"value":0,"children":[]}]}'),
        (SCHEMAS["any of"], "", "[]"),
        (SCHEMAS["optional"], "", '{"b":true}'),
        (SCHEMAS["bounds"], "9", "000"),
        (SCHEMAS["points"], "[", '{"x":0,"y":"   "},{"x":0,"y":"   "}]'),
    ],
)
def test_the_shortest_ending_of_a_document(schema: Schema, content: str, ending: str) -> None:
    document = begun(schema, content)
    assert shortest_ending(document) == ending.encode()
    assert document.ends_with(ending.encode())


BOOLEANS: Schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 150}
INTEGERS: Schema = {"type": "array", "items": {"type": "integer"}, "minItems": 400}


@pytest.mark.parametrize(
    ("schema", "content", "ending"),
    [
        (INTEGERS, "", "[" + "0," * 399 + "0]"),
        (INTEGERS, "[7,8", ",0" * 398 + "]"),
        (BOOLEANS, "", "[" + "true," * 149 + "true]"),
        (SCHEMAS["points"] | {"minItems": 40}, "[", ",".join(['{"x":0,"y":"   "}'] * 40) + "]"),
        ({"type": "string", "minLength": 4000}, "", '"' + " " * 4000 + '"'),
        ({"const": "abcdefg " * 500}, '"', "abcdefg " * 500 + '"'),
        (
            {"type": "array", "items": INTEGERS | {"minItems": 5}, "minItems": 30},
            "",
            "[" + "[0,0,0,0,0]," * 29 + "[0,0,0,0,0]]",
        ),
        ({"prefixItems": [{"type": "integer"}] * 20, "items": {"type": "null"}, "minItems": 40}
         | {"type": "array"}, "", "[" + "0," * 20 + "null," * 19 + "null]"),
        # An end in the middle of what repeats itself is not missed.
        ({"type": "string", "pattern": "^([ab]{90}c|[ab]{300})$"}, "", '"' + "a" * 90 + 'c"'),
        ({"anyOf": [INTEGERS | {"minItems": 90, "maxItems": 90}, INTEGERS]}, "",
         "[" + "0," * 89 + "0]"),
    ],
)  # fmt: skip
def test_what_repeats_itself_in_an_ending_takes_few_steps(
    schema: Schema, content: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices, steps = ByteDocument.choices, []

    def counting(self: ByteDocument) -> Any:
        steps.append(1)
        return choices(self)

    monkeypatch.setattr(ByteDocument, "choices", counting)
    document = begun(schema, content)
    nesting = document.nesting
    assert shortest_ending(document) == ending.encode()
    assert document.nesting == nesting
    assert len(steps) < 130


def test_the_rest_of_a_known_ending_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = record(["a", "b"], a={"enum": ["one", "two"]}, b=INTEGERS, c={"type": "string"})
    known = shortest_ending(begun(schema))
    assert known is not None and known.startswith(b'{"a":"one","b":[0,')
    rest = known.partition(b"one")[2]
    monkeypatch.setattr(ByteDocument, "push_repeated", None)
    assert shortest_ending(begun(schema, '{"a":"t'), known[7:]) == b"wo" + rest


def test_an_ending_is_searched_once_for_each_schema(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = record(only_here={"type": "integer"})
    constraint(tiny, schema, 100)
    monkeypatch.setattr("gemma4cli.engine.constrain.shortest_ending", None)
    again = constraint(tiny, schema, 100)
    assert again.allowed().ids(3) is not None


def test_a_document_takes_bytes_back() -> None:
    from llguidance import LLMatcher

    document = ByteDocument.begin(LLMatcher.grammar_from_json_schema("{}"))
    assert document.push(b'["a')
    before = document.nesting
    assert not document.push(b'"}')
    assert document.nesting == before
    assert document.push(b'", 12')
    document.pop(5, before)
    assert document.ends_with(b'"]')


def test_a_forced_token_is_the_one_that_the_network_reads_next(tiny: LoadedModel) -> None:
    """Decoding continues from what was written, not from what the model had chosen."""
    from gemma4cli.engine.decode import decode_tokens
    from gemma4cli.engine.sampling import make_sampler

    schema = record(a={"type": "string"}, b={"type": "string"})
    runs = []
    for lookahead in (False, True):
        least = shortest(tiny, schema)
        rule = constraint(tiny, schema, least + 5)
        tokens = decode_tokens(
            tiny.network,
            tiny.network.language_model.make_cache(),
            mx.zeros((tiny.network.config.text.vocab_size,)),
            make_sampler(temperature=0, top_p=1.0, top_k=0),
            constraint=rule,
            lookahead=lookahead,
        )
        ids = []
        for token in tokens:
            if token in tiny.generation.stop_ids or len(ids) == least + 5:
                break
            ids.append(token)
        runs.append(ids)
        jsonschema.validate(json.loads(tiny.tokenizer.decode(ids)), schema)
    assert runs[0] == runs[1]
