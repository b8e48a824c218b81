"""What ``g4 tune`` does once its options are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...distributed.launch import require_one
from ...errors import TuningDataError
from ...languages import language_name
from ...prompts import DESCRIBE_IMAGE, transcription
from ...tuning.data import Prompts, Samples, read_data
from ...tuning.events import TuningChecked, TuningFinished, TuningPlanned
from ...tuning.keep_data import read_prompts
from ...tuning.samples import Fault
from ...tuning.settings import TuningOptions
from ..environment import Environment
from ..run.options import RunOptions
from .tune_progress import TuningProgress


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningRun:
    """The command's own options."""

    data: Path
    folder: Path
    options: TuningOptions
    prompt: str | None
    language: str | None
    restart: bool
    keep: Path | None
    check: bool
    layout: str


def run_tuning(env: Environment, run: RunOptions, given: TuningRun) -> None:
    """Read the data, load the model, tune; errors about data come before the model is loaded."""
    from ..run.runner import load_local_model

    require_one(env.variables, "g4 tune")
    samples, keep = _read(env, given)
    model = load_local_model(env, replace(run, draft="none"))
    from ...tuning.adapter_files import form_of
    from ...tuning.folder import opened
    from ...tuning.training import result_of
    from ...tuning.tune import AlreadyTuned, tune

    result: Mapping[str, Any] = {}
    with (
        opened(given.folder, restart=given.restart) as folder,
        TuningProgress(env, given.folder, quiet=run.quiet) as display,
        closing(
            tune(
                model,
                samples,
                given.options,
                folder,
                keep.found,
                check=given.check,
                form=form_of(given.layout),
            )
        ) as events,
    ):
        for event in events:
            if isinstance(event, Fault):
                with display.aside():
                    env.say_error(str(event))
            elif isinstance(event, AlreadyTuned):
                result = event.result
                done = f"; written again for {given.layout}" if event.written_again else ""
                display.notice(f"{given.folder}: is tuned already{done}; --restart begins again")
            else:
                display.update(event)
                if isinstance(event, TuningFinished):
                    result = result_of(event)
                elif given.check and isinstance(event, TuningPlanned | TuningChecked):
                    result = {**result, **asdict(event)}
    if run.json:
        env.echo(json.dumps({**result, "input": str(given.data), "model": model.name}))
    elif not given.check:
        env.echo_path(given.folder)


def _read(env: Environment, given: TuningRun) -> tuple[Samples, Samples]:
    """What is learned, and what is kept. Raises TuningDataError after a line for each fault."""
    language = None if given.language is None else language_name(given.language)
    prompts = Prompts(
        image=given.prompt or DESCRIBE_IMAGE, sound=given.prompt or transcription(language)
    )
    samples = _without_faults(env, given.data, read_data(given.data, prompts))
    if samples.is_empty:
        raise TuningDataError(f"{given.data}: has no examples")
    if given.keep is None:
        return samples, Samples()
    plain = Prompts(sound=transcription(language))
    return samples, _without_faults(env, given.keep, read_prompts(given.keep, plain))


def _without_faults(env: Environment, data: Path, samples: Samples) -> Samples:
    for fault in samples.faults:
        env.say_error(str(fault))
    if samples.faults:
        count = len(samples.faults)
        total = count + len(samples.found) + len(samples.timed) + len(samples.held_out)
        raise TuningDataError(
            f"{data}: {count} of {total} examples cannot be learned from: mend them or leave them "
            "out"
        )
    return samples
