"""Texts before which an answer ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.engine.local import LocalModel
from gemma4cli.engine.stop_texts import StopTexts
from gemma4cli.errors import OptionError
from gemma4cli.events import Finished, TextDelta
from gemma4cli.messages import Message
from gemma4cli.options import GenerateOptions

LETTERS = st.text("ab", max_size=12)


@given(st.lists(LETTERS, max_size=6), st.lists(st.text("ab", min_size=1, max_size=4), max_size=4))
def test_what_comes_in_parts_ends_where_the_whole_would(parts: list[str], texts: list[str]) -> None:
    whole = "".join(parts)
    ends = [at for text in texts if (at := whole.find(text)) >= 0]
    stops = StopTexts(texts)
    shown = "".join(stops.push(part) for part in parts) + stops.finish()
    assert shown == (whole[: min(ends)] if ends else whole)
    assert stops.found == bool(ends)


def test_only_what_may_be_the_beginning_of_one_is_held_back() -> None:
    stops = StopTexts(["###", "#!"])
    assert [stops.push(part) for part in ("a #", "b", "##", "c#")] == ["a ", "#b", "", "##c"]
    assert stops.finish() == "#"


def answered(model: LocalModel, **options: object) -> tuple[str, Finished]:
    """What is shown of an answer as it comes, and its end."""
    inputs = model.processor.prepare_prompt([Message(role="user", content="Hello")], [])
    chosen = GenerateOptions(temperature=0, max_tokens=30, **options)  # type: ignore[arg-type]
    *events, last = model.generate(inputs, chosen)
    assert isinstance(last, Finished)
    return "".join(e.text for e in events if isinstance(e, TextDelta)), last


def test_an_answer_ends_before_a_text_that_spans_tokens(tiny: LocalModel) -> None:
    whole, unstopped = answered(tiny)
    middle = len(whole) // 2
    text = whole[middle - 2 : middle + 3]
    shown, last = answered(tiny, stop=("never", text))
    assert shown == last.text == whole[: whole.index(text)]
    assert last.reason == "stop"
    assert len(last.token_ids) < len(unstopped.token_ids)
    assert answered(tiny, stop=("never",))[0] == whole


def test_a_text_to_stop_at_does_not_fit_to_a_schema_and_is_not_empty() -> None:
    with pytest.raises(OptionError, match="--stop"):
        GenerateOptions(stop=("x",), schema="{}")
    with pytest.raises(OptionError, match="empty"):
        GenerateOptions(stop=("",))


def test_without_one_an_answer_has_the_facts_that_it_always_had() -> None:
    assert "stop" not in GenerateOptions().facts
    assert GenerateOptions(stop=("x",)).facts["stop"] == ("x",)
