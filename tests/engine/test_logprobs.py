"""How likely tokens were: by the model itself, whatever else decides which one is chosen."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from gemma4cli.engine import generate as generate_module
from gemma4cli.engine import running_batch
from gemma4cli.engine.answer import Answer
from gemma4cli.engine.answering import Prompt
from gemma4cli.engine.batch import stream_batch
from gemma4cli.engine.generate import generate
from gemma4cli.engine.logprobs import token_logprob
from gemma4cli.engine.model import LoadedDrafter, LoadedModel
from gemma4cli.engine.pace import Pace
from gemma4cli.engine.running_batch import RunningBatch
from gemma4cli.errors import OptionError
from gemma4cli.events import Event, Finished, TextDelta, Timings, TokenLogprob
from gemma4cli.messages import Message
from gemma4cli.options import GenerateOptions
from gemma4cli.processing.inputs import ModelInputs

ASKED = GenerateOptions(max_tokens=8, temperature=0, logprobs=3)
SAMPLED = replace(ASKED, temperature=3.0, top_k=0, top_p=1, seed=5)


def prompt(model: LoadedModel, question: str = "Hello") -> ModelInputs:
    return model.processor.prepare([Message(role="user", content=question)], [])


def answer(model: LoadedModel, options: GenerateOptions) -> tuple[list[Event], Finished]:
    *events, last = generate(model, prompt(model), options)
    assert isinstance(last, Finished)
    return events, last


def test_probabilities_are_those_of_softmax() -> None:
    logits = np.array([1.0, 3.0, -2.0, 3.0, 0.5], np.float32)
    expected = logits - np.log(np.exp(logits).sum())
    found = token_logprob(mx.array(logits), 4, 3)
    assert found.token == 4 and found.logprob == pytest.approx(expected[4], abs=1e-6)
    assert [each.token for each in found.likeliest] == [1, 3, 0]
    assert [each.logprob for each in found.likeliest] == pytest.approx(expected[[1, 3, 0]])
    assert token_logprob(mx.array(logits), 4, 0).likeliest == ()
    assert len(token_logprob(mx.array(logits), 4, 20).likeliest) == 5


def test_what_is_impossible_is_still_a_number() -> None:
    assert token_logprob(mx.array([0.0, -mx.inf]), 1, 2).likeliest[1].logprob == -9999.0


def test_each_token_of_the_text_has_its_probability(tiny: LoadedModel) -> None:
    events, last = answer(tiny, ASKED)
    assert [each.token for each in last.logprobs] == list(last.token_ids)
    for each in last.logprobs:
        assert each.likeliest[0] == TokenLogprob(token=each.token, logprob=each.logprob)
        assert len(each.likeliest) == 3 and each.logprob <= 0
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert sum((delta.logprobs for delta in deltas), ()) == last.logprobs
    for delta in deltas:
        assert tiny.tokenizer.decode([each.token for each in delta.logprobs]) == delta.text


def test_the_answer_is_the_same_as_without(tiny: LoadedModel) -> None:
    _, plain = answer(tiny, replace(SAMPLED, logprobs=None))
    _, measured = answer(tiny, SAMPLED)
    assert plain.token_ids == measured.token_ids and plain.logprobs == ()
    assert any(each.token != each.likeliest[0].token for each in measured.logprobs)


def test_a_drafter_is_not_used(tiny: LoadedModel) -> None:
    broken = LoadedDrafter(name="broken", network=nn.Module(), pace=Pace())  # type: ignore[arg-type]
    assert (
        answer(replace(tiny, drafter=broken), ASKED)[1].logprobs == answer(tiny, ASKED)[1].logprobs
    )


def test_a_schema_does_not_change_what_is_likely(tiny: LoadedModel) -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}'
    _, free = answer(tiny, ASKED)
    _, bound = answer(tiny, replace(ASKED, schema=schema, max_tokens=30))
    assert free.logprobs[0].likeliest == bound.logprobs[0].likeliest
    assert bound.text.startswith("{") and bound.logprobs[0].logprob < free.logprobs[0].logprob


@pytest.mark.parametrize("ahead", [False, True], ids=["step by step", "one step ahead"])
def test_a_batch_measures_what_a_run_alone_does(
    tiny: LoadedModel, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (running_batch, generate_module):
        monkeypatch.setattr(module, "on_cpu", lambda: not ahead)
    batch = RunningBatch(tiny)
    asked = [ASKED, replace(ASKED, logprobs=None), replace(SAMPLED, logprobs=0)]
    rows = [batch.add(Prompt(inputs=prompt(tiny), options=options)) for options in asked]
    found: dict[int, Finished] = {}
    while len(found) < len(rows):
        for row, event in batch.step():
            if isinstance(event, Finished):
                found[rows.index(row)] = event
    for number, options in enumerate(asked):
        _, alone = answer(tiny, options)
        assert [each.token for each in found[number].logprobs] == [
            each.token for each in alone.logprobs
        ]
        assert [each.logprob for each in found[number].logprobs] == pytest.approx(
            [each.logprob for each in alone.logprobs], abs=1e-4
        )
    assert all(each.likeliest == () for each in found[2].logprobs)


def test_a_batch_of_this_process_has_them_too(tiny: LoadedModel) -> None:
    prompts = [Prompt(inputs=prompt(tiny), options=ASKED)] * 2
    found = [event for _, event in stream_batch(tiny, prompts) if isinstance(event, Finished)]
    _, alone = answer(tiny, ASKED)
    for each in found:
        assert each.token_ids == alone.token_ids
        assert [one.logprob for one in each.logprobs] == pytest.approx(
            [one.logprob for one in alone.logprobs], abs=1e-4
        )


def pushed(model: LoadedModel, ids: list[int], options: GenerateOptions = ASKED) -> Finished:
    made = Answer(model, prompt(model), options)
    for each in ids:
        made.push(each, TokenLogprob(token=each, logprob=-1.0))
        if made.reason is not None:
            break
    else:
        made.push(min(model.generation.stop_ids))
    return made.finished(Timings())


def test_thoughts_have_none(tiny: LoadedModel) -> None:
    tokenizer = tiny.tokenizer
    begin, end = (tokenizer.control_id(name) for name in ("<|channel>", "<channel|>"))
    yes = tokenizer.encode("Yes")
    ids = [begin, *tokenizer.encode("thought\nHm"), end, *yes]
    found = pushed(tiny, ids, replace(ASKED, max_tokens=50))
    assert (found.thoughts, found.text) == ("Hm", "Yes")
    assert [each.token for each in found.logprobs] == yes


def test_a_text_that_ends_the_answer_has_none(tiny: LoadedModel) -> None:
    tokenizer = tiny.tokenizer
    kept, dropped = tokenizer.encode("red "), tokenizer.encode("STOP")
    options = replace(ASKED, stop=("STOP",), max_tokens=50)
    found = pushed(tiny, [*kept, *dropped], options)
    assert found.text == "red " and found.reason == "stop"
    assert [each.token for each in found.logprobs] == kept


def test_characters_of_several_tokens_have_them_all(tiny: LoadedModel) -> None:
    ids = tiny.tokenizer.encode("\U0001f600!")
    found = pushed(tiny, ids, replace(ASKED, max_tokens=50))
    assert found.text == "\U0001f600!"
    assert [each.token for each in found.logprobs] == ids


def test_how_many_are_asked_for_has_bounds() -> None:
    for count in (-1, 21):
        with pytest.raises(OptionError, match="logprobs must be 0 to 20"):
            GenerateOptions(logprobs=count)
    assert GenerateOptions(logprobs=2).facts == GenerateOptions().facts
