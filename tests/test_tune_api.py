"""Tuning from Python: examples as they are in memory, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.samples import sample

import gemma4cli
from gemma4cli import GenerateOptions, StepDone, TuningFinished, TuningOptions
from gemma4cli.api import change_adapter
from gemma4cli.engine.local import LocalModel
from gemma4cli.errors import OptionError, TuningDataError, TuningError

AHOY = {"prompt": "Hello", "completion": "Ahoy."}
QUICK = TuningOptions(rank=2, batch=1, steps=2, validation=0.0)


def test_what_was_tuned_answers_as_learned(tiny: LocalModel, tmp_path: Path) -> None:
    options = TuningOptions(rank=2, batch=1, steps=12, rate=0.02, validation=0.0)
    picture = [{"type": "image", "path": str(sample("image00.png"))}]
    talk = {
        "messages": [{"role": "user", "content": picture}, {"role": "assistant", "content": "A."}]
    }
    finished = gemma4cli.tune(tiny, [AHOY, talk], tmp_path / "out", options=options)
    assert (finished.step, finished.folder) == (12, tmp_path / "out")
    greedy = GenerateOptions(temperature=0)
    tuned = change_adapter(tiny, str(tmp_path / "out"))
    assert gemma4cli.generate(tuned, "Hello", options=greedy) == "Ahoy."
    assert gemma4cli.generate(tiny, "Hello", options=greedy) == "Hello! I am g4's tiny demo model."
    again = gemma4cli.tune(tiny, [AHOY, talk], tmp_path / "out", options=options)
    assert again.seconds == pytest.approx(finished.seconds, abs=0.01)
    with pytest.raises(TuningError, match="has an adapter"):
        gemma4cli.tune(tuned, [AHOY], tmp_path / "other")


def test_events_and_a_stream_that_is_closed(tiny: LocalModel, tmp_path: Path) -> None:
    keep = [{"prompt": "Who are you?"}]
    events = gemma4cli.stream_tune(tiny, [AHOY], tmp_path / "out", keep=keep, options=QUICK)
    steps = []
    for event in events:
        if isinstance(event, StepDone):
            steps.append(event)
            events.close()
    assert [each.step for each in steps] == [1] and steps[0].drift is not None
    rest = list(gemma4cli.stream_tune(tiny, [AHOY], tmp_path / "out", keep=keep, options=QUICK))
    assert [each.step for each in rest if isinstance(each, StepDone)] == [2]
    assert isinstance(rest[-1], TuningFinished)


def test_errors_name_what_is_wrong(tiny: LocalModel, tmp_path: Path) -> None:
    faulty = [AHOY, {"prompt": "Hello"}, {"text": "Ahoy."}, {}, {"messages": []}]
    with pytest.raises(
        TuningDataError, match=r"4 examples .*example 1: has no answer.*example 3"
    ) as e:
        gemma4cli.tune(tiny, faulty, tmp_path / "out", options=QUICK)
    assert str(e.value).endswith("; …")
    with pytest.raises(TuningDataError, match="prompt 0: asks nothing"):
        gemma4cli.tune(tiny, [AHOY], tmp_path / "out", keep=[{"messages": [SAID]}], options=QUICK)
    with pytest.raises(TuningDataError, match="there are no examples"):
        gemma4cli.tune(tiny, [], tmp_path / "out")
    with pytest.raises(OptionError, match="--layout gguf"):
        gemma4cli.tune(tiny, [AHOY], tmp_path / "out", layout="gguf", options=QUICK)


SAID = {"role": "assistant", "content": "Ahoy."}
