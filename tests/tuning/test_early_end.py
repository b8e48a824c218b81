"""A tuning ends when the held-out loss does not fall any more, and its adapter is the best one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from gemma4cli.engine.local import LocalModel
from gemma4cli.events import Notice
from gemma4cli.tuning.checkpoints import Checkpoint
from gemma4cli.tuning.data import Prompts, read_data
from gemma4cli.tuning.events import TuningEvent, TuningFinished, Validated
from gemma4cli.tuning.folder import opened
from gemma4cli.tuning.settings import TuningOptions
from gemma4cli.tuning.steps import Learner
from gemma4cli.tuning.training import Training
from gemma4cli.tuning.tune import tune

QUICK = {"rank": 2, "batch": 1, "targets": ("mlp",), "steps": 24}


def data(folder: Path, *, learned: int, held_out: int) -> Path:
    """What is held out is what the model says anyway, so that whatever it learns is worse."""
    folder.mkdir()
    said = (
        ("train", "Ahoy {}.", learned),
        ("valid", "Hello! I am g4's tiny demo model.", held_out),
    )
    for name, answer, count in said:
        if count:
            pairs = [{"prompt": "Hello", "completion": answer.format(n)} for n in range(count)]
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(e)}\n" for e in pairs))
    return folder


def tuned(model: LocalModel, folder: Path, options: TuningOptions) -> list[TuningEvent]:
    samples = read_data(folder / "data", Prompts())
    with opened(folder / "out", restart=False) as out:
        return list(tune(model, samples, options, out))  # type: ignore[arg-type]


def finished(events: list[TuningEvent]) -> TuningFinished:
    assert isinstance(events[-1], TuningFinished)
    return events[-1]


@pytest.mark.parametrize("held_out", [1, 3])
def test_it_ends_when_the_loss_rises(tiny: LocalModel, held_out: int, tmp_path: Path) -> None:
    data(tmp_path / "data", learned=2, held_out=held_out)
    options = TuningOptions(**QUICK, rate=0.01, patience=3)
    events = tuned(tiny, tmp_path, options)
    losses = [each.loss for each in events if isinstance(each, Validated)]
    assert losses[0] < min(losses[1:])
    end = finished(events)
    assert (end.step, end.adapter_step, len(losses)) == (6, 0, 4)
    assert end.validation_loss == end.first_validation_loss == losses[0]
    tensors = mx.load(str(tmp_path / "out" / "adapter_model.safetensors"))
    assert not any(mx.any(value).item() for name, value in tensors.items() if "lora_B" in name)


def test_the_best_adapter_is_kept_and_a_run_that_is_cut_off_ends_there_too(
    tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: Iterator[float] = iter([9.0, 5.0, 4.0, 4.5, 4.0, 4.2, 1.0])
    monkeypatch.setattr(Learner, "validation_loss", lambda *_: next(losses))
    plain = Training._validated
    seen: dict[int, Checkpoint] = {}

    def watched(self: Training, state: Checkpoint) -> tuple[Checkpoint, Validated]:
        seen[state.progress.step] = state
        if state.progress.step == 8 and len(seen) == 5:
            seen[-1] = state
            raise KeyboardInterrupt
        return plain(self, state)

    monkeypatch.setattr(Training, "_validated", watched)
    data(tmp_path / "data", learned=2, held_out=1)
    options = TuningOptions(**QUICK, rate=0.001, patience=3)
    with pytest.raises(KeyboardInterrupt):
        tuned(tiny, tmp_path, options)
    end = finished(tuned(tiny, tmp_path, options))
    assert (end.step, end.steps, end.adapter_step, end.validation_loss) == (10, 24, 4, 4.0)
    tensors = mx.load(str(tmp_path / "out" / "adapter_model.safetensors"))
    best, last = ([np.array(v) for v in seen[step].parameters.values()] for step in (4, 10))
    written = sorted(float(np.abs(np.array(each)).sum()) for each in tensors.values())
    assert written == pytest.approx(sorted(float(np.abs(each).sum()) for each in best))
    assert written != pytest.approx(sorted(float(np.abs(each).sum()) for each in last))


@pytest.mark.parametrize("options", [{"validation": 0.0}, {"validation": 0.1}])
def test_without_anything_held_out_all_steps_are_done(
    tiny: LocalModel, options: dict[str, float], tmp_path: Path
) -> None:
    """None was wanted, or there are too few examples, which is said."""
    data(tmp_path / "data", learned=4, held_out=0)
    plan = {**QUICK, **options, "steps": 3}
    events = tuned(tiny, tmp_path, TuningOptions(**plan, patience=1))
    end = finished(events)
    assert (end.step, end.adapter_step, end.validation_loss) == (3, 3, None)
    said = [each.text for each in events if isinstance(each, Notice)]
    wanted = ["too few examples to hold any out: the loss is that of what is learned"]
    assert said == (wanted if options["validation"] else [])
