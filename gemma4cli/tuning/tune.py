"""A tuning from a loaded model and samples to an adapter in a folder."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..engine.local import LocalModel
from ..models.training import recompute_layers, with_gradients
from .adapter import LowRankOptions, in_towers, target_paths, with_new_adapter
from .adapter_files import (
    FILES,
    Form,
    layout_of,
    read_parameters,
    require_form,
    write_adapter,
)
from .batches import steps_per_round
from .checkpoints import Checkpoint
from .data import Samples
from .events import TuningEvent, TuningFinished, TuningPlanned
from .examples import fingerprint
from .fit import Fit, fitting
from .folder import TuningFolder
from .kept_states import KeptStates
from .media_store import MediaStore
from .reading import Examples, keys_of, read_examples, read_kept, read_states
from .samples import Fault, Sample
from .settings import TuningOptions, schedule_of
from .steps import Learner
from .training import Training, result_of


@dataclass(frozen=True, kw_only=True, slots=True)
class AlreadyTuned:
    """The folder has this very tuning, with this result.

    ``written_again`` is whether its adapter had another form until now.
    """

    result: dict[str, Any]
    written_again: bool


def tune(
    model: LocalModel,
    samples: Samples,
    options: TuningOptions,
    folder: TuningFolder,
    keep: Sequence[Sample] = (),
    *,
    check: bool = False,
    form: Form = "peft",
) -> Generator[TuningEvent | Fault | AlreadyTuned, None, None]:
    """Tune an adapter for ``model``: events, at last TuningFinished or AlreadyTuned.

    ``keep`` are prompts that it is to answer afterwards as before. With ``check``, nothing is
    learned, and the last event is TuningChecked; what was computed for it is not computed again.
    ``form`` is that of the adapter's files, in which one that is tuned already is written again.

    Raises TuningDataError after a Fault for each sample that cannot be learned from, TuningError,
    OptionError for targets, and OSError if the folder cannot be written, which ``opened`` makes a
    TuningError.
    """
    paths = target_paths(model.network, options.targets)
    require_form(form, paths)
    media = MediaStore(model=model, folder=folder.media, in_step=in_towers(paths))
    found = yield from read_examples(model, samples, options, media)
    keys = yield from keys_of(keep)
    job = {
        "model": dict(model.identity),
        "examples": fingerprint([*found.learned, *found.held_out]),
        **({"kept": keys} if keys else {}),
        **asdict(options),
    }
    if not check and folder.begin(job):
        written_again = not (folder.path / FILES[form]).exists()
        if written_again:
            _write_again(model, options, folder, paths, form)
        folder.remove_unfinished()
        yield AlreadyTuned(result=dict(folder.result()), written_again=written_again)
        return
    kept = Examples()
    if keep:
        kept = yield from read_kept(model, keep, keys, options, media, folder)
    training, fit = _training(model, found, kept, options, folder, media, form)
    start = training.begin() if not check else training.new()
    yield _planned(training, fit, start, skipped=found.skipped + kept.skipped)
    if check:
        yield training.checked()
        return
    for event in training.run(start):
        if isinstance(event, TuningFinished):
            folder.finish(job, result_of(event))
        yield event


def _training(
    model: LocalModel,
    found: Examples,
    kept: Examples,
    options: TuningOptions,
    folder: TuningFolder,
    media: MediaStore,
    form: Form,
) -> tuple[Training, Fit]:
    """The network that learns, and how its steps fit into memory."""
    in_round = steps_per_round(found.learned, options.batch)
    additions = _additions(options)
    network = with_new_adapter(
        with_gradients(model.network, towers=media.in_step), additions, options.seed
    )
    learner = Learner(
        network=network,
        media=media,
        tokens_at_once=0,
        blocks_on_full_layers=model.blocks_on_full_layers,
    )
    fit = fitting(model, learner, [*found.learned, *found.held_out, *kept.learned], options)
    learner = replace(learner, tokens_at_once=fit.tokens_at_once)
    if fit.recompute:
        recompute_layers(network)
    states = KeptStates(folder=folder.states)
    read_states(learner, kept.learned, states)
    training = Training(
        learner=learner,
        learned=found.learned,
        held_out=found.held_out,
        kept=kept.learned,
        states=states,
        options=options,
        schedule=schedule_of(options, in_round, model.network.config.text.hidden_size),
        folder=folder,
        additions=additions,
        base=model.name,
        layout=layout_of(model.network.config),
        form=form,
    )
    return training, fit


def _additions(options: TuningOptions) -> LowRankOptions:
    rank, alpha = options.rank, options.alpha
    return LowRankOptions(
        rank=rank, alpha=2.0 * rank if alpha is None else alpha, targets=options.targets
    )


def _write_again(
    model: LocalModel,
    options: TuningOptions,
    folder: TuningFolder,
    paths: Sequence[str],
    form: Form,
) -> None:
    """Write a finished adapter in another form."""
    additions, layout = _additions(options), layout_of(model.network.config)
    names = [f"{path}.lora_{part}" for path in paths for part in "ab"]
    parameters = read_parameters(folder.path, names, additions, layout)
    write_adapter(folder.path, parameters, additions, base=model.name, layout=layout, form=form)


def _planned(training: Training, fit: Fit, start: Checkpoint, *, skipped: int) -> TuningPlanned:
    learned = training.learned
    return TuningPlanned(
        examples=len(learned),
        held_out=len(training.held_out),
        skipped=skipped,
        kept=len(training.kept),
        tokens=sum(len(each.ids) * each.repeats for each in learned),
        targets=sum(each.targets * each.repeats for each in learned),
        parameters=sum(each.size for each in start.parameters.values()),
        steps=training.schedule.steps,
        done=start.progress.step,
        rate=training.schedule.rate,
        memory=fit.memory,
        recompute=fit.recompute,
        rows=fit.rows,
    )
