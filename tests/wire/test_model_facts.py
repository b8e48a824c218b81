"""What a client learns of a model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gemma4cli.checked_json import JsonError
from gemma4cli.engine.model import LoadedModel
from gemma4cli.processing.config import ProcessorConfig, RawAudioConfig
from gemma4cli.wire.model_facts import (
    ModelFacts,
    Offer,
    facts_body,
    facts_of,
    read_facts,
    read_protocol,
)


@pytest.fixture(scope="module")
def facts(tiny: LoadedModel) -> ModelFacts:
    return facts_of(
        tiny.processor,
        tiny.tokenizer.controls,
        tiny.identity,
        names=("tiny",),
        offers=(
            Offer(names=("brief",), has_adapter=True),
            Offer(names=("tiny",), has_adapter=False),
        ),
        context_length=tiny.context_length,
        slots=4,
        most_body=1 << 20,
        vocabulary=tiny.tokenizer.rows,
    )


def test_facts_come_back_as_they_were(facts: ModelFacts, tiny: LoadedModel) -> None:
    read = read_facts(facts_body(facts))
    assert read == facts
    assert read.processor_config == replace(tiny.processor.config, assumed=())
    assert read_protocol(facts_body(facts)) == 1


def test_facts_of_a_model_that_takes_sound_raw_come_back(facts: ModelFacts) -> None:
    raw = replace(facts, mel=None, raw=RawAudioConfig(samples_per_token=320))
    read = read_facts(facts_body(raw))
    assert read == raw
    assert isinstance(read.processor_config, ProcessorConfig)


def test_no_path_of_the_server_is_told(facts: ModelFacts, tiny: LoadedModel) -> None:
    assert str(tiny.folder).encode() not in facts_body(facts)
    other = facts_of(
        tiny.processor,
        tiny.tokenizer.controls,
        {**tiny.identity, "dtype": "bfloat16"},
        names=("tiny",),
        offers=(),
        context_length=1,
        slots=1,
        most_body=1,
        vocabulary=1,
    )
    assert other.identity != facts.identity


@pytest.mark.parametrize(
    "changed",
    [
        {"names": []},
        {"names": ["a\nb"]},
        {"names": [""]},
        {"offers": [{"names": [], "has_adapter": False}]},
        {"offers": [{"names": ["a\nb"], "has_adapter": False}]},
        {"offers": None},
        {"identity": ""},
        {"context_length": 0},
        {"slots": 0},
        {"vocabulary": "many"},
        {"controls": [{"name": "<bos>", "id": 10**6}]},
        {"mel": None},
        {"vision": {"patch_size": 0}},
        {"vision": {"patch_size": 2**30}},
        {"sees": "yes"},
        {"more": 1},
    ],
    ids=str,
)
def test_facts_that_no_g4_tells_are_refused(facts: ModelFacts, changed: dict[str, object]) -> None:
    value = json.loads(facts_body(facts))
    with pytest.raises(JsonError):
        read_facts(json.dumps({**value, **changed}).encode())
