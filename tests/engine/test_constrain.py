"""Constrained answers match their schema, whatever the model would generate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any

import jsonschema
import mlx.core as mx
import numpy as np
import pytest

from gemma4cli.engine.answer_rules import make_constraint, prepare_constraints
from gemma4cli.engine.constrain import SchemaConstraint
from gemma4cli.engine.decode import decode_tokens
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.sampling import make_sampler
from gemma4cli.engine.schema_depth import check_depth
from gemma4cli.engine.vocabulary import Allowed
from gemma4cli.errors import CheckpointError, OptionError
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.tokenizer import Tokenizer

SCHEMAS: tuple[dict[str, Any], ...] = (
    {
        "type": "object",
        "properties": {
            "shape": {"enum": ["circle", "square"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 12},
        },
        "required": ["shape", "count"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"type": "string", "maxLength": 12},
    {"enum": ["yes", "no", "größer als 3", None, 1.5]},
    {
        "anyOf": [
            {"type": "null"},
            {
                "type": "object",
                "properties": {"name": {"type": "string", "pattern": "^[a-z]{1,5}$"}},
                "required": ["name"],
                "additionalProperties": False,
            },
        ]
    },
)


def constraint(
    model: LoadedModel, schema: str, kind: type[SchemaConstraint] = SchemaConstraint
) -> SchemaConstraint:
    return kind(
        schema,
        model.tokenizer,
        vocab_size=model.network.config.text.vocab_size,
        stop_ids=model.generation.stop_ids,
    )


def decoding(
    model: LoadedModel, rule: SchemaConstraint, temperature: float, lookahead: bool
) -> Iterator[int]:
    """Tokens without a prompt, from a sampler with a fixed key."""
    return decode_tokens(
        model.network,
        model.network.language_model.make_cache(),
        mx.zeros((model.network.config.text.vocab_size,)),
        make_sampler(temperature=temperature, top_p=1.0, top_k=0, key=mx.random.key(3)),
        constraint=rule,
        lookahead=lookahead,
    )


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(next(iter(schema.values()))))
def test_tokens_that_were_tried_leave_nothing_behind(
    tiny: LoadedModel, schema: dict[str, Any]
) -> None:
    """Before each token of a document, one to six others that the grammar allows were tried."""
    rule, other = (constraint(tiny, json.dumps(schema)) for _ in range(2))
    stops = tiny.generation.stop_ids
    for tried, token in enumerate(islice(decoding(tiny, rule, 1.0, False), 40)):
        trial = other.trial()
        for _ in range(1 + tried % 6):
            those = trial.allowed()
            assert those is not None
            allowed = np.flatnonzero(np.array(those.mask()))
            chosen = int(allowed[(7 * tried) % len(allowed)])
            if chosen in stops:
                break
            assert trial.push(chosen)
        assert np.array(other.allowed().mask())[token]
        assert other.push(token) == token
        assert other.is_complete == rule.is_complete
        if token in stops:
            break


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(next(iter(schema.values()))))
def test_any_sequence_of_allowed_tokens_is_a_valid_document(
    tiny: LoadedModel, schema: dict[str, Any]
) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rule = constraint(tiny, json.dumps(schema))
        ids: list[int] = []
        while True:
            token = int(rng.choice(np.flatnonzero(rule.allowed().mask())))
            if token in tiny.generation.stop_ids:
                break
            ids.append(token)
            rule.push(token)
        text = tiny.tokenizer.decode(ids)
        jsonschema.validate(json.loads(text), schema)


def test_the_likeliest_allowed_token_is_chosen(tiny: LoadedModel) -> None:
    text = tiny.network.config.text
    logits = mx.zeros((text.vocab_size,))
    rule = constraint(tiny, '{"enum": ["circle", "square"]}')
    allowed_ids = np.flatnonzero(rule.allowed().mask())
    wanted = int(allowed_ids[-1])
    logits[wanted] = 1.0
    logits[int(next(iter(tiny.generation.stop_ids)))] = 9.0
    tokens = decode_tokens(
        tiny.network,
        tiny.network.language_model.make_cache(),
        logits,
        make_sampler(temperature=0, top_p=1.0, top_k=0),
        constraint=rule,
        lookahead=True,
    )
    assert next(tokens) == wanted


def test_control_and_stop_tokens_are_not_allowed_inside_a_document(tiny: LoadedModel) -> None:
    rule = constraint(tiny, '{"type": "string"}')
    stops = tiny.generation.stop_ids
    for token in ('"', "a", "b"):
        allowed_ids = set(np.flatnonzero(rule.allowed().mask()).tolist())
        assert not allowed_ids & tiny.tokenizer.control_ids
        assert not allowed_ids & stops
        (token_id,) = tiny.tokenizer.encode(token)
        rule.push(token_id)


def test_whitespace_between_values_is_not_allowed(tiny: LoadedModel) -> None:
    rule = constraint(tiny, '{"type": "array", "items": {"type": "integer"}}')
    rule.push(tiny.tokenizer.encode("[")[0])
    assert not rule.allowed().mask()[tiny.tokenizer.encode(" ")[0]]


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ("[", "is not a JSON object"),
        ('"x"', "is not a JSON object"),
        ('{"type": "nonsense"}', "Invalid type"),
        ('{"$ref": "http://localhost/schema"}', "is not supported"),
    ],
)
def test_an_invalid_or_unsupported_schema_is_an_error(
    tiny: LoadedModel, schema: str, problem: str
) -> None:
    with pytest.raises(OptionError, match=problem):
        constraint(tiny, schema)


LONG = "word " * 40_000
TAKES_MINUTES = (
    ({"type": "string", "minLength": 10**9}, "minLength is 1,000,000,000; the limit is 10,000"),
    ({"type": "string", "minLength": 1e18}, "minLength is 1e.18; the limit is 10,000"),
    ({"type": "array", "minItems": 10_001}, "minItems is 10,001; the limit"),
    ({"anyOf": [{"type": "null"}, {"const": LONG}]}, "const has 200,002 characters; the limit"),
    ({"const": list(range(2000))}, "const has 10,890 characters"),
    ({"enum": ["a", LONG]}, "a value of enum has 200,002 characters; the limit is 4,096"),
    (
        {"type": "object", "properties": {LONG: {}}, "required": [LONG]},
        "a key has 200,000 characters",
    ),
    ({"type": "string", "pattern": f"^{LONG}$"}, "pattern has 200,002 characters"),
    ({"type": "integer", "multipleOf": 1_000_003}, "multipleOf has more than 4 digits"),
    ({"type": "number", "multipleOf": 0.000_012_345_6}, "multipleOf has more than 4 digits"),
)


@pytest.mark.parametrize(("schema", "problem"), TAKES_MINUTES)
def test_values_that_would_take_minutes_are_refused_before_a_grammar_is_built(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, schema: dict[str, Any], problem: str
) -> None:
    import llguidance

    monkeypatch.setattr(llguidance, "LLMatcher", None)
    with pytest.raises(OptionError, match=f"the schema is not supported: {problem}"):
        constraint(tiny, json.dumps(schema))


def test_large_limits_that_cost_nothing_are_allowed(tiny: LoadedModel) -> None:
    for schema in (
        {"type": "string", "maxLength": 2**31 - 1, "description": LONG},
        {"type": "array", "maxItems": 2**31 - 1, "items": {"type": "integer", "multipleOf": 60}},
        {"enum": [f"one of {number} values" for number in range(3000)]},
        {"type": "number", "multipleOf": 0.01},
    ):
        constraint(tiny, json.dumps(schema))


def link(kind: str, target: str) -> dict[str, object]:
    ref = {"$ref": target}
    links: dict[str, dict[str, object]] = {
        "ref": ref,
        "property": {"type": "object", "properties": {"a": ref}, "required": ["a"]},
        "items": {"type": "array", "items": ref},
        "any": {"anyOf": [ref, {"type": "null"}]},
    }
    return links[kind]


@pytest.mark.parametrize("kind", ["ref", "property", "items", "any"])
@pytest.mark.parametrize("anchors", [False, True])
def test_references_that_lead_too_deep_are_refused(
    tiny: LoadedModel, kind: str, anchors: bool
) -> None:
    """The library follows them by recursion; beyond some thousand the process would end."""
    count = 5_000
    steps = {
        f"d{i}": {"$anchor": f"a{i}"} | link(kind, f"#a{i + 1}" if anchors else f"#/$defs/d{i + 1}")
        for i in range(count)
    }
    end = {f"d{count}": {"$anchor": f"a{count}", "type": "integer"}}
    schema = {"$ref": "#/$defs/d0", "$defs": steps | end}
    with pytest.raises(OptionError, match="references have more than 1,000 levels"):
        constraint(tiny, json.dumps(schema))


def test_a_vocabulary_that_cannot_be_constrained_is_an_error_of_the_tokenizer(
    tiny: LoadedModel,
) -> None:
    """Two tokens with one id: the library that decodes keeps either of them."""
    content = json.loads(tiny.tokenizer.serialized())
    vocabulary = content["model"]["vocab"]
    for token in [each for each in vocabulary if len(each) == 2][:50]:
        vocabulary[token] = 1000
    tokenizer = Tokenizer.from_bytes(json.dumps(content).encode(), "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"tokenizer.json: cannot be used with a schema \("):
        SchemaConstraint("{}", tokenizer, vocab_size=2048, stop_ids=frozenset({1}))


@pytest.mark.parametrize("ref", ["#", "#/$defs/a~1b", "#/%24defs/a~1b", "#/prefixItems/0"])
def test_many_definitions_are_no_depth(ref: str) -> None:
    """Also where one refers to itself, by any way to write it."""
    check_depth(
        {
            "prefixItems": [{"type": "null"}],
            "$defs": {"a/b": {"type": "array", "items": {"$ref": ref}}}
            | {f"d{i}": {"type": "array", "items": {"type": "integer"}} for i in range(4000)},
        }
    )


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_lookahead_does_not_change_answers(tiny: LoadedModel, temperature: float) -> None:
    for schema in SCHEMAS:
        first, second = (
            list(takewhile(lambda token: token not in tiny.generation.stop_ids, islice(tokens, 12)))
            for tokens in (
                decoding(tiny, constraint(tiny, json.dumps(schema)), temperature, lookahead)
                for lookahead in (False, True)
            )
        )
        assert first == second
        assert len(first) > 0


@pytest.mark.parametrize("lookahead", [False, True])
def test_the_device_computes_a_step_while_the_host_determines_the_allowed_tokens(
    tiny: LoadedModel, lookahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    submit = mx.async_eval

    class Noting(SchemaConstraint):
        def allowed(self) -> Allowed:
            order.append("look")
            return super().allowed()

        def push(self, token: int) -> int:
            order.append("push")
            return super().push(token)

    def submitting(*arrays: mx.array) -> None:
        order.extend(["step"] * any(array.ndim == 1 for array in arrays))
        submit(*arrays)

    monkeypatch.setattr(mx, "async_eval", submitting)
    rule = constraint(tiny, '{"type": "array", "items": {"type": "boolean"}}', Noting)
    list(islice(decoding(tiny, rule, 0, lookahead), 3))
    assert order == ["look", "push", "step"] * 2 + ["look", "push"] + ["step"] * lookahead


def test_the_vocabulary_is_read_before_anybody_asks_with_a_schema_or_functions(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_constraints(tiny)
    monkeypatch.setattr(Tokenizer, "serialized", None)
    for options in (GenerateOptions(schema='{"const": 1}'), GenerateOptions(tools="[]")):
        assert make_constraint(tiny, options) is not None
