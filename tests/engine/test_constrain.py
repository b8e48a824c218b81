"""Answers that fit a schema, even those of a model that says anything."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import mlx.core as mx
import numpy as np
import pytest

from gemma4cli.engine.constrain import Constraint
from gemma4cli.engine.decode import decode_tokens
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.sampling import make_sampler
from gemma4cli.errors import OptionError

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


def constraint(model: LoadedModel, schema: str) -> Constraint:
    return Constraint(
        schema,
        model.processor.tokenizer,
        vocab_size=model.network.config.text.vocab_size,
        stop_ids=model.generation.stop_ids,
    )


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(next(iter(schema.values()))))
def test_any_walk_over_open_tokens_is_valid(tiny: LoadedModel, schema: dict[str, Any]) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        walk = constraint(tiny, json.dumps(schema))
        ids: list[int] = []
        while True:
            token = int(rng.choice(np.flatnonzero(np.array(walk.bias()) == 0)))
            if token in tiny.generation.stop_ids:
                break
            ids.append(token)
            walk.push(token)
        text = tiny.processor.tokenizer.decode(ids)
        jsonschema.validate(json.loads(text), schema)


def test_the_model_chooses_among_open_tokens(tiny: LoadedModel) -> None:
    """The walk is the model's own: the likeliest open token comes first."""
    text = tiny.network.config.text
    logits = mx.zeros((text.vocab_size,))
    rule = constraint(tiny, '{"enum": ["circle", "square"]}')
    open_ids = np.flatnonzero(np.array(rule.bias()) == 0)
    wanted = int(open_ids[-1])
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


def test_control_tokens_are_closed(tiny: LoadedModel) -> None:
    rule = constraint(tiny, '{"type": "string"}')
    stops = tiny.generation.stop_ids
    for token in ('"', "a", "b"):
        bias = np.array(rule.bias())
        assert all(bias[i] == -np.inf for i in tiny.processor.tokenizer.control_ids - stops)
        assert all(bias[i] == -np.inf for i in stops)
        (token_id,) = tiny.processor.tokenizer.encode(token)
        rule.push(token_id)


def test_no_white_space_between(tiny: LoadedModel) -> None:
    rule = constraint(tiny, '{"type": "array", "items": {"type": "integer"}}')
    rule.push(tiny.processor.tokenizer.encode("[")[0])
    assert np.array(rule.bias())[tiny.processor.tokenizer.encode(" ")[0]] == -np.inf


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ("[", "is no JSON object"),
        ('"x"', "is no JSON object"),
        ('{"type": "nonsense"}', "Invalid type"),
        ('{"$ref": "http://localhost/schema"}', "cannot be followed"),
    ],
)
def test_what_is_no_schema(tiny: LoadedModel, schema: str, problem: str) -> None:
    with pytest.raises(OptionError, match=problem):
        constraint(tiny, schema)
