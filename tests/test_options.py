"""An option out of its range is refused by name, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan

import pytest

from gemma4cli.errors import OptionError
from gemma4cli.options import SOFT_TOKEN_BUDGETS, GenerateOptions, LoadOptions, MediaOptions

OUT_OF_RANGE: list[tuple[Callable[..., object], dict[str, object], str]] = [
    (LoadOptions, {"dtype": "float8"}, "dtype"),
    (GenerateOptions, {"max_tokens": 0}, "max tokens"),
    (GenerateOptions, {"temperature": -0.1}, "temperature"),
    (GenerateOptions, {"temperature": inf}, "temperature"),
    (GenerateOptions, {"temperature": nan}, "temperature"),
    (GenerateOptions, {"top_p": 0.0}, "top-p"),
    (GenerateOptions, {"top_p": 1.1}, "top-p"),
    (GenerateOptions, {"top_k": -1}, "top-k"),
    (GenerateOptions, {"prefill_step_size": 0}, "prefill step"),
    (MediaOptions, {"budget": 71}, "budget"),
    (MediaOptions, {"video_budget": 0}, "budget"),
    (MediaOptions, {"video_max_frames": 0}, "frames"),
    (MediaOptions, {"video_fps": 0.0}, "frames per second"),
    (MediaOptions, {"video_fps": inf}, "frames per second"),
    (MediaOptions, {"video_start": -1.0}, "start"),
    (MediaOptions, {"video_start": inf}, "start"),
    (MediaOptions, {"video_start": 2.0, "video_end": 2.0}, "end"),
]


def test_a_value_out_of_range_is_refused_by_name(subtests: pytest.Subtests) -> None:
    for options, values, name in OUT_OF_RANGE:
        with subtests.test(options=options, values=values, name=name):
            with pytest.raises(OptionError, match=name) as caught:
                options(**values)
            (value, *_) = reversed(values.values())
            assert str(value) in str(caught.value)


def test_every_budget_of_the_model_card_is_accepted(subtests: pytest.Subtests) -> None:
    for budget in SOFT_TOKEN_BUDGETS:
        with subtests.test(budget=budget):
            assert MediaOptions(budget=budget, video_budget=budget).budget == budget


def test_unknown_option() -> None:
    with pytest.raises(TypeError):
        GenerateOptions(temprature=0.9)  # type: ignore[call-arg]


def test_what_an_answer_depends_on_is_all_but_the_prefill_step() -> None:
    one, other = GenerateOptions(prefill_step_size=64), GenerateOptions(prefill_step_size=2048)
    assert one.facts == other.facts == GenerateOptions().facts
    assert one.facts != GenerateOptions(seed=1).facts
