"""Answers that may call functions: whatever the model prefers, its calls fit the functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from support.scripted import ids_of

from gemma4cli.engine import value_grammar
from gemma4cli.engine.call_constraint import CallConstraint
from gemma4cli.engine.channels import ChannelSplitter
from gemma4cli.engine.model import LoadedModel
from gemma4cli.errors import OptionError
from gemma4cli.options import GenerateOptions, ToolChoice

MOST = 1500
PLACES = {
    "type": "object",
    "properties": {
        "units": {"enum": ["c", "f", None]},
        "city": {"type": "string", "maxLength": 12},
        "Days": {"type": "integer", "minimum": 1, "maximum": 14},
        "at": {
            "type": "object",
            "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
            "required": ["x", "y"],
        },
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        "odd key:": {"type": ["null", "boolean"]},
    },
    "required": ["city", "tags"],
}
TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}},
    "required": ["root"],
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z]{1,4}$"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1},
            },
            "required": ["name"],
        }
    },
}


def tool(name: str, parameters: object = None, **fields: object) -> dict[str, Any]:
    function = {"name": name, "description": "", **fields}
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def constraint(
    model: LoadedModel,
    *tools: dict[str, Any],
    choice: ToolChoice = "auto",
    parallel: bool = True,
    prompt: Sequence[int] = (),
    schema: str | None = None,
    think: bool = True,
) -> CallConstraint:
    options = GenerateOptions(
        tools=json.dumps(tools),
        tool_choice=choice,
        parallel_calls=parallel,
        schema=schema,
        think=think and schema is None,
    )
    return CallConstraint(
        options,
        model.tokenizer,
        vocab_size=2048,
        stop_ids=frozenset({model.tokenizer.control_id("<turn|>")}),
        prompt_ids=prompt,
    )


def sampled(model: LoadedModel, rule: CallConstraint, seed: int) -> list[int]:
    """Ids that a model without any sense would choose, which prefers to end things."""
    random = np.random.default_rng(seed)
    tokenizer = model.tokenizer
    weights = random.exponential(size=2048) ** 3
    names = ("<turn|>", "<tool_call|>", "<channel|>", '<|"|>')
    ends = [tokenizer.control_id(name) for name in names]
    ends += [tokenizer.encode(text)[0] for text in (",", "]", "}")]
    weights[ends] = 1
    ids: list[int] = []
    while len(ids) < MOST:
        allowed = np.array(rule.allowed().mask())
        chances = np.where(allowed, weights * random.exponential(size=2048), 0)
        chances[ends] *= 10 + len(ids) ** 1.5
        token = int(chances.argmax())
        assert rule.push(token) == token
        if token == ends[0]:
            return ids
        ids.append(token)
    raise AssertionError("the answer does not end")


def split(model: LoadedModel, ids: Iterable[int], prompt: Sequence[int] = ()) -> ChannelSplitter:
    splitter = ChannelSplitter(model.tokenizer, prompt, reads_calls=True)
    for token in ids:
        list(splitter.push(token))
    list(splitter.finish())
    return splitter


def fits(value: Any, schema: Any, root: Any) -> bool:
    """Whether a value fits a schema, as far as these tests use them."""
    if "$ref" in schema:
        return fits(value, root["$defs"]["node"], root)
    if "enum" in schema:
        return value in schema["enum"]
    if isinstance(schema.get("type"), list):
        return any(fits(value, {"type": each}, root) for each in schema["type"])
    match schema.get("type"):
        case "string":
            return isinstance(value, str) and len(value) <= schema.get("maxLength", 1e9)
        case "integer":
            return type(value) is int and schema["minimum"] <= value <= schema["maximum"]
        case "number":
            return type(value) in (int, float)
        case "boolean":
            return type(value) is bool
        case "null":
            return value is None
        case "array":
            return schema.get("minItems", 0) <= len(value) <= schema["maxItems"] and all(
                fits(each, schema["items"], root) for each in value
            )
    known = schema["properties"]
    return set(schema["required"]) <= value.keys() <= known.keys() and all(
        fits(each, known[key], root) for key, each in value.items()
    )


@pytest.mark.parametrize("seed", range(4))
def test_required_calls_fit_their_schemas_whatever_the_model_prefers(
    tiny: LoadedModel, seed: int
) -> None:
    tools = [tool("get_weather", PLACES), tool("plant", TREE, strict=True), tool("now")]
    found = split(tiny, sampled(tiny, constraint(tiny, *tools, choice="required"), seed))
    assert found.calls
    assert found.text == ""
    schemas = {"get_weather": PLACES, "plant": TREE, "now": {"properties": {}, "required": []}}
    for each in found.calls:
        schema = schemas[each.name]
        assert fits(each.arguments, schema, schema), each


def accepts(model: LoadedModel, rule: CallConstraint, *parts: str | tuple[str, Any]) -> bool:
    """Whether the rule takes texts, control tokens by name, and calls, to the end."""
    tokenizer = model.tokenizer
    for token in ids_of(tokenizer, parts):
        pushed = rule.trial().push(token)
        assert pushed is bool(rule.allowed().mask()[token].item())
        if not pushed:
            return False
        rule.push(token)
    return rule.is_complete


CALL = ("f", {"a": 'x"}\n<|"|>', "B": [1, {"c": None}]})
LOOSE = tool("f", {"type": "object"})
THOUGHT = ("<|channel>", "thought\nhm", "<channel|>")


@pytest.mark.parametrize(
    ("choice", "parallel", "parts", "expected"),
    [
        ("auto", True, (), True),
        ("auto", True, ("hello {there}",), True),
        ("auto", True, (*THOUGHT, "hello", CALL, CALL), True),
        ("auto", True, (CALL, "hello"), False),
        ("auto", True, (("g", {}),), False),
        ("auto", False, (CALL,), True),
        ("auto", False, (CALL, CALL), False),
        ("required", True, (), False),
        ("required", True, ("hello",), False),
        ("required", True, (*THOUGHT, CALL, CALL), True),
        ("required", False, (CALL, CALL), False),
        ("none", True, (CALL,), False),
        ("none", True, (*THOUGHT, "hello", *THOUGHT), True),
    ],
)
def test_a_choice_says_whether_an_answer_has_calls(
    tiny: LoadedModel,
    choice: ToolChoice,
    parallel: bool,
    parts: tuple[str | tuple[str, Any], ...],
    expected: bool,
) -> None:
    rule = constraint(tiny, LOOSE, choice=choice, parallel=parallel)
    assert accepts(tiny, rule, *parts) is expected


def test_a_thought_that_the_prompt_began_goes_on(tiny: LoadedModel) -> None:
    prompt = ids_of(tiny.tokenizer, ["<|channel>", "thought\n"])
    for parts, expected in [
        (("hm", "<channel|>", CALL), True),
        ((CALL,), False),
        (("hm",), False),
    ]:
        rule = constraint(tiny, LOOSE, choice="required", prompt=prompt)
        assert accepts(tiny, rule, *parts) is expected


@pytest.mark.parametrize(
    ("choice", "parts", "expected"),
    [
        ("auto", ('{"a":1}',), True),
        ("auto", (CALL, CALL), True),
        ("auto", (*THOUGHT, '{"a":1}'), False),
        ("auto", (), False),
        ("auto", ("hello",), False),
        ("auto", ('{"a":"x"}',), False),
        ("none", ('{"a":1}',), True),
        ("none", (CALL,), False),
        ("required", ('{"a":1}',), False),
        ("required", (CALL,), True),
    ],
)
def test_with_a_schema_an_answer_without_calls_matches_it(
    tiny: LoadedModel,
    choice: ToolChoice,
    parts: tuple[str | tuple[str, Any], ...],
    expected: bool,
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    rule = constraint(tiny, LOOSE, choice=choice, schema=json.dumps(schema))
    assert accepts(tiny, rule, *parts) is expected


def test_without_thinking_a_required_call_comes_at_once(tiny: LoadedModel) -> None:
    for think, expected in [(True, True), (False, False)]:
        rule = constraint(tiny, LOOSE, choice="required", think=think)
        assert accepts(tiny, rule, *THOUGHT, CALL) is expected
    assert accepts(tiny, constraint(tiny, LOOSE, choice="required", think=False), CALL)


S, N = {"type": "string"}, {"type": "number"}
FITTING = [
    (None, {}, {"a": 1}),
    ({"properties": {}}, {}, {"a": 1}),
    ({"properties": {"a": True}}, {"a": [None, {"b": 1.5}]}, {"b": 1}),
    ({"properties": {"b": S, "A": S}, "required": ["b"]}, {"b": "", "A": "x"}, {"A": "x"}),
    ({"properties": {"a": S}, "additionalProperties": N}, {"a": "x", "z z": 1}, {"z": "x"}),
    ({"properties": {"a": {"const": 'q"<'}}}, {"a": 'q"<'}, {"a": "q"}),
    ({"properties": {"a": {"enum": ['x<|"|>y', 3]}}}, {"a": 'x<|"|>y'}, {"a": "x"}),
    ({"properties": {"a": {"type": "integer", "minimum": 5}}}, {"a": 7}, {"a": 4}),
    ({"properties": {"a": {**S, "pattern": "^[a-c]*$", "maxLength": 0}}}, {"a": ""}, {"a": "b"}),
    ({"properties": {"a": {"anyOf": [S, {"type": "null"}]}}}, {"a": None}, {"a": 1}),
    ({"properties": {"a": {"type": "integer", "nullable": True}}}, {"a": None}, {"a": 0.5}),
    ({"properties": {"a": {"type": "INTEGER", "maximum": -3}}}, {"a": -3}, {"a": 3}),
    ({"properties": {"a": {"type": "number", "multipleOf": 0.5}}}, {"a": 1.5}, {"a": 1.2}),
    ({"properties": {"a": {**S, "minLength": 2}}}, {"a": "\n}"}, {"a": "x"}),
    ({"properties": {"a": {**S, "maxLength": 0}}}, {"a": ""}, {"a": "x"}),
    ({"properties": {"a": {**S, "pattern": "b/[0-9]"}}}, {"a": "ab/2c"}, {"a": "ab/c"}),
    ({"properties": {"a": {**S, "pattern": "^(x|y)*$"}}}, {"a": ""}, {"a": "z"}),
    ({"properties": {"a": {"items": S}}}, {"a": []}, {"a": [1]}),
    ({"properties": {"a": {"items": S, "minItems": 2}}}, {"a": ["", "x", ""]}, {"a": [""]}),
    ({"properties": {"a": {"prefixItems": [S, N], "items": False}}}, {"a": ["", 1]}, {"a": [1]}),
    ({"properties": {"a": {"prefixItems": [S], "maxItems": 2}}}, {"a": ["", 1]}, {"a": [""] * 3}),
    (
        {"allOf": [{"properties": {"a": S}}, {"properties": {"b": N}, "required": ["b"]}]},
        {"a": "", "b": 1},
        {"a": ""},
    ),
    ({"$ref": "#/$defs/p", "$defs": {"p": {"properties": {"a": S}}}}, {"a": ""}, {"a": 1}),
]


@pytest.mark.parametrize(("schema", "right", "wrong"), FITTING)
def test_arguments_must_fit_the_parameters(
    tiny: LoadedModel, schema: object, right: dict[str, Any], wrong: dict[str, Any]
) -> None:
    for arguments, expected in [(right, True), (wrong, False)]:
        rule = constraint(tiny, tool("f", schema, strict=True))
        assert accepts(tiny, rule, ("f", arguments)) is expected, arguments


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"not": S}}},
        {"properties": {"a": False}},
        {"properties": {"a": {"type": "date"}}},
        {"properties": {"a": {"$ref": "#/$defs/none"}}},
        {"properties": {"a": {"$ref": "https://example.com/a"}}},
        {"properties": {"a": {**S, "pattern": "(?=x)y"}}},
        {"properties": {"a": {**S, "pattern": "^a|b$"}}},
        {"properties": {"a": {**S, "pattern": "("}}},
        {"properties": {"a": {**N, "minimum": 3, "maximum": 2}}},
        {"properties": {"a": {**N, "multipleOf": 5, "minimum": 1, "maximum": 4}}},
        {"properties": {"a": {**S, "pattern": "^$", "minLength": 1}}},
        {"properties": {"a": {"$ref": "#/$defs/r"}}, "$defs": {"r": {"$ref": "#/$defs/r"}}},
        {"required": ["a"], "properties": {}},
    ],
)
def test_what_a_grammar_cannot_demand_is_an_error_only_for_strict_functions(
    tiny: LoadedModel, schema: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match=r"^f cannot be strict: .* cannot be enforced$"):
        constraint(tiny, tool("f", schema, strict=True))
    assert accepts(tiny, constraint(tiny, tool("f", schema)), "hello")


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ("{", "JSON list"),
        ("{}", "JSON list"),
        ("[1]", "a tool must be"),
        ('[{"function": {"name": "a b"}}]', "name must be letters"),
        ('[{"function": {"name": "f", "parameters": 3}}]', "must be a JSON object"),
        ('[{"function": {"name": "f"}}, {"function": {"name": "f"}}]', "declared twice"),
        ("[]", "no functions"),
    ],
)
def test_tools_that_are_not_valid_are_an_error(tiny: LoadedModel, tools: str, message: str) -> None:
    options = GenerateOptions(tools=tools, tool_choice="required")
    with pytest.raises(OptionError, match=message):
        CallConstraint(options, tiny.tokenizer, vocab_size=2048, stop_ids=frozenset({1}))


def nested_lists(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


LARGE: list[dict[str, Any]] = [
    {"properties": {f"p{i}": S for i in range(3000)}},
    {"properties": {f"p{i}": S for i in range(300)}, "required": ["p0"]},
    {"properties": {f"p{i}": S for i in range(60)}},
    {"properties": {"a": {"enum": [f"value {i}" for i in range(3000)]}}},
    {"properties": {"a": {"enum": [[i] for i in range(3000)]}}},
    {"properties": {"a": {"anyOf": [{"const": [i]} for i in range(3000)]}}},
    {"properties": {"a": nested_lists(40)}},
    {"properties": {"a": {"type": "string", "pattern": "([ab]{3}|cd){300}", "maxLength": 9000}}},
    {
        "properties": {"a": {"$ref": "#/$defs/d0"}},
        "$defs": {
            f"d{i}": {"properties": {"a": {"$ref": f"#/$defs/d{(i + 1) % 300}"}}}
            for i in range(300)
        },
    },
]


@pytest.mark.slow
@pytest.mark.parametrize("schema", LARGE)
def test_large_schemas_are_enforced_as_far_as_it_is_possible(
    tiny: LoadedModel, schema: dict[str, Any]
) -> None:
    """The library follows rules inside each other by recursion, and few alternatives at once."""
    begin = ids_of(tiny.tokenizer, ["<|tool_call>", "call:f{"])
    rule = constraint(tiny, tool("f", schema))
    for token in begin:
        rule.push(token)
        assert rule.allowed().mask().any()
    assert accepts(tiny, constraint(tiny, tool("f", schema)), "hello")


def test_a_grammar_beyond_the_librarys_limits_still_has_the_form_of_calls(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_grammar.ValueWriter, "value", lambda *_: "missing")
    rule = constraint(tiny, tool("f", {"properties": {"a": S}}))
    assert accepts(tiny, rule, ("f", {"b": 1}))
    with pytest.raises(OptionError, match="not supported"):
        constraint(tiny, tool("f", {"properties": {"c": S}}, strict=True))
