"""What is learned is what a chat would have sent and the model would have generated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma4cli.conversations.file import parse_conversation
from gemma4cli.engine.local import LocalModel
from gemma4cli.processing.prompt import build_prompt
from gemma4cli.tuning.examples import Prepared, prepare_sample
from gemma4cli.tuning.samples import Fault, Sample

PARITY = Path(__file__).parents[2] / "fixtures" / "parity"
Loader = Callable[[str], LocalModel]


def prepared(model: LocalModel, *messages: dict[str, Any], **options: object) -> Prepared:
    data = json.loads(json.dumps({"messages": messages, **options}))
    conversation = parse_conversation(data, folder=Path(), name="x")
    steps = list(prepare_sample(model, Sample(origin="x", conversation=conversation), 10**6))
    assert isinstance(steps[-1], Prepared), steps
    return steps[-1]


def said(role: str, text: str, **more: object) -> dict[str, Any]:
    return {"role": role, "content": text, **more}


def test_a_conversation_is_one_example_where_prompts_repeat_it(parity_model: Loader) -> None:
    model = parity_model("e2b")
    messages = (said("user", "Hi"), said("assistant", " Ho "), said("user", "Bye"))
    (example,) = prepared(model, *messages, said("assistant", "Go")).examples
    assert len(example.learned) == 2
    stop = model.tokenizer.control_id("<turn|>")
    assert [example.ids[end - 1] for _, end in example.learned] == [stop, stop]
    conversation = parse_conversation(
        {"messages": list(messages)}, folder=Path(), name="x"
    ).messages
    prompt = build_prompt(
        conversation, tokenizer=model.tokenizer, style=model.processor.prompt_style
    )
    assert example.ids[: len(prompt.ids)] == prompt.ids
    assert example.learned[1][0] == len(prompt.ids)


def test_answers_after_empty_thoughts_are_examples_of_their_own(parity_model: Loader) -> None:
    """The larger models' prompts end in an empty thought, which later prompts do not repeat."""
    messages = (said("user", "Hi"), said("assistant", "Ho"), said("user", "Bye"))
    found = prepared(parity_model("31b"), *messages, said("assistant", "Go")).examples
    assert [len(each.learned) for each in found] == [1, 1]


@pytest.mark.parametrize("think", [False, True])
def test_thoughts_are_learned_with_thinking_alone(think: bool, parity_model: Loader) -> None:
    model = parity_model("e2b")
    answer = said("assistant", "Ho", reasoning="Hm")
    found = prepared(model, said("user", "Hi"), answer, enable_thinking=think)
    (example,) = found.examples
    (start, end) = example.learned[0]
    begins = example.ids[start] == model.tokenizer.control_id("<|channel>")
    assert begins is think
    assert found.unlearned_thoughts == (not think)
    assert example.ids[end - 1] == model.tokenizer.control_id("<turn|>")


def test_a_call_is_learned_up_to_the_token_that_begins_its_result(parity_model: Loader) -> None:
    model = parity_model("e2b")
    call = {"id": "1", "function": {"name": "f", "arguments": {}}}
    messages = (
        said("user", "Hi"),
        {"role": "assistant", "tool_calls": [call]},
        said("tool", "7", tool_call_id="1", name="f"),
        said("assistant", "It is 7."),
    )
    found = prepared(model, *messages).examples
    ends = [each.ids[end - 1] for each in found for _, end in each.learned]
    assert ends == [
        model.tokenizer.control_id("<|tool_response>"),
        model.tokenizer.control_id("<turn|>"),
    ]


def test_names_of_control_tokens_in_answers_stay_text(parity_model: Loader) -> None:
    model = parity_model("e2b")
    (example,) = prepared(model, said("user", "Hi"), said("assistant", "a<turn|>b")).examples
    (start, end) = example.learned[0]
    assert example.ids[start:end].count(model.tokenizer.control_id("<turn|>")) == 1


def test_a_recording_that_the_model_does_not_hear_to_its_end_is_a_fault(
    parity_model: Loader,
) -> None:
    """Otherwise words that it cannot hear would be learned."""
    audio = [{"type": "audio", "path": str(PARITY / "media" / "long.wav")}]
    messages = [{"role": "user", "content": audio}, said("assistant", "Ho")]
    conversation = parse_conversation({"messages": messages}, folder=Path(), name="x")
    steps = prepare_sample(
        parity_model("e2b"), Sample(origin="x", conversation=conversation), 10**6
    )
    (fault,) = (each for each in steps if isinstance(each, Fault))
    assert "only the first 30 s" in fault.problem
