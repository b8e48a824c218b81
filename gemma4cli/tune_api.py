"""The Python API for tuning: examples to an adapter.

    model = load("e2b")
    tune(model, "pictures", "style")
    print(generate(change_adapter(model, "style"), "Describe this image.", images=["photo.jpg"]))

mlx is imported by the calls, not by the import of this module.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import TuningDataError, TuningError
from .tuning.events import TuningEvent, TuningFinished
from .tuning.settings import TuningOptions

if TYPE_CHECKING:
    from .engine.answering import AnsweringModel
    from .tuning.data import Prompts, Samples
    from .tuning.samples import Fault

Data = str | Path | Sequence[Mapping[str, Any]]
"""A file or folder as ``g4 tune`` takes it, or conversations."""
_SHOWN = 3
"""Faults that an error shows."""


def stream_tune(
    model: AnsweringModel,
    data: Data,
    folder: str | Path,
    *,
    keep: Data | None = None,
    options: TuningOptions | None = None,
    prompts: Prompts | None = None,
    layout: str = "peft",
    restart: bool = False,
) -> Generator[TuningEvent | Fault, None, None]:
    """Tune an adapter, as a stream of events. Closing it keeps the last whole step.

    Args:
        model: The model, loaded without an adapter; see ``load``. It stays as it is.
        data: What is learned: a file or folder as ``g4 tune`` takes it, or conversations as lines
            of such a file, whose paths start from the working folder.
        folder: Gets the adapter and its curve. An unfinished tuning in it goes on.
        keep: Prompts that are to be answered afterwards as before, likewise.
        options: How it is done. None means ``TuningOptions()``.
        prompts: What is asked about the media of a folder. None asks as ``g4 tune``.
        layout: "peft" or "mlx-lm".
        restart: Begin again even if the folder has a tuning.

    Yields:
        Events: SamplesRead, TuningPlanned, StepDone and Validated, at last TuningFinished, that of
        the earlier run if it is finished already; a Fault for everything that is wrong with data.

    Raises:
        TuningDataError: Something cannot be learned from; the faults were yielded.
        TuningTooLargeError: A step does not fit into memory.
        TuningError: The folder has another tuning or cannot be written, or gradients are not
            finite.
        OptionError: A value in ``options``, or ``layout``.

    Example:
        for event in stream_tune(model, "pictures", "style"):
            if isinstance(event, StepDone):
                print(event.step, event.loss)
    """
    from .engine.local import LocalModel
    from .tuning.adapter_files import form_of
    from .tuning.data import Prompts
    from .tuning.folder import opened
    from .tuning.tune import AlreadyTuned, tune

    if not isinstance(model, LocalModel):
        raise TuningError("a served model cannot be tuned: load one in this process")
    if model.without_adapter is not None:
        raise TuningError(f"{model.name} has an adapter: tune the model as it is")
    prompts = prompts or Prompts()
    samples = _read(data, prompts)
    kept = None if keep is None else _read(keep, prompts, asked=True)
    faults = [*samples.faults, *(kept.faults if kept is not None else ())]
    yield from faults
    if faults:
        raise TuningDataError(f"{len(faults)} examples cannot be learned from")
    if samples.is_empty:
        raise TuningDataError("there are no examples")
    with (
        opened(Path(folder), restart=restart) as place,
        closing(
            tune(
                model,
                samples,
                options or TuningOptions(),
                place,
                () if kept is None else kept.found,
                form=form_of(layout),
            )
        ) as events,
    ):
        for event in events:
            if isinstance(event, AlreadyTuned):
                yield TuningFinished(**{**event.result, "folder": Path(folder)})
            else:
                yield event


def tune(
    model: AnsweringModel,
    data: Data,
    folder: str | Path,
    *,
    keep: Data | None = None,
    options: TuningOptions | None = None,
    prompts: Prompts | None = None,
    layout: str = "peft",
    restart: bool = False,
) -> TuningFinished:
    """Tune an adapter; see ``stream_tune``, whose arguments it has.

    Returns:
        What was done, and the losses. ``change_adapter(model, folder)`` answers with the adapter.

    Raises:
        TuningDataError: Something cannot be learned from; the error names the first faults.
        Gemma4Error: Otherwise as ``stream_tune``.

    Example:
        learned = [{"prompt": "Hello", "completion": "Ahoy!"}]
        tune(model, learned, "pirate", keep=[{"prompt": "What is 7 times 8?"}])
    """
    from .tuning.samples import Fault

    faults: list[str] = []
    finished: TuningFinished | None = None
    try:
        for event in stream_tune(
            model,
            data,
            folder,
            keep=keep,
            options=options,
            prompts=prompts,
            layout=layout,
            restart=restart,
        ):
            if isinstance(event, Fault):
                faults.append(str(event))
            elif isinstance(event, TuningFinished):
                finished = event
    except TuningDataError as error:
        more = "; …" if len(faults) > _SHOWN else ""
        shown = "; ".join(faults[:_SHOWN])
        raise TuningDataError(f"{error}: {shown}{more}" if faults else str(error)) from error
    assert finished is not None, "a stream that raises nothing ends with TuningFinished"
    return finished


def _read(data: Data, prompts: Prompts, *, asked: bool = False) -> Samples:
    from .tuning.data import read_conversations, read_data
    from .tuning.keep_data import read_asked, read_prompts

    if isinstance(data, str | Path):
        return (read_prompts if asked else read_data)(Path(data), prompts)
    return (read_asked if asked else read_conversations)(data)
