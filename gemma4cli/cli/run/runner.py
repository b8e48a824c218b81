"""The model of a command: found, checked against the memory, loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...errors import AdapterError, ModelTooLargeError, NoModelError
from ...media.sources import require
from ...messages import Source
from ..environment import Environment
from ..output.download_progress import fetch
from ..output.logs import show_logs
from ..output.numbers import size_text
from ..output.progress import Spinner
from .options import RunOptions

if TYPE_CHECKING:
    from ...engine.answering import AnsweringModel
    from ...engine.local import LocalModel
    from ...events import LoadProgress
    from ...hub.adapter_files import AdapterFile
    from ...hub.resolved import ResolvedModel

_SMALLEST = "e2b"


def load_model(env: Environment, run: RunOptions, needed: Sequence[Source] = ()) -> AnsweringModel:
    """The model that answers: that of a server, or one that ``load_local_model`` loads."""
    if run.server is None:
        return load_local_model(env, run, needed)
    _begin(env, run, needed)
    from .served_model import served_model

    return served_model(env, run.server, run.model)


def load_local_model(
    env: Environment, run: RunOptions, needed: Sequence[Source] = ()
) -> LocalModel:
    """Load the model that the options name, or else the largest cached one that fits.

    Files that are ``needed`` for any answer are checked first, because loading a model takes time
    and downloading one takes longer. With --json a missing file is reported as a record among the
    answers, not here.
    """
    return found_model(env, run, needed).load()


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundModel:
    """A model that fits into the memory; ``load`` loads it, in any thread, and shows how far.

    ``adapters`` are those to be used beside it.
    """

    resolved: ResolvedModel
    load: Callable[[], LocalModel]
    adapters: Sequence[AdapterFile] = ()

    def load_each(self) -> Sequence[LocalModel]:
        """Load the model with each of the adapters, and at last without one; the weights once."""
        from ...engine.adapter_loading import with_adapters

        return with_adapters(self.load(), self.adapters)


def found_model(
    env: Environment,
    run: RunOptions,
    needed: Sequence[Source] = (),
    *,
    adapters: Sequence[str] | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> FoundModel:
    """``load_local_model`` up to loading, during which ``on_progress`` is called.

    With ``adapters``, none or more, the model is loaded without one; if it was named with one, that
    is the only one.
    """
    _begin(env, run, needed)
    if run.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from ...api import load
    from ...engine.memory_limits import require_memory_for_model
    from ...hub.drafters import find_drafter
    from ...machine.backend import require_backend

    model = _resolved(env, run)
    files: Sequence[AdapterFile] = ()
    if adapters is not None:
        model, files = _beside(model, adapters)
    drafter = find_drafter(model, run.draft)
    require_backend()
    try:
        require_memory_for_model(model, run.dtype, drafter, files)
    except ModelTooLargeError:
        if drafter is None or run.draft != "auto":
            raise
        require_memory_for_model(model, run.dtype, adapters=files)
        drafter = None
    options = replace(run.load_options, draft="none")  # or it would be looked for again

    def loaded() -> LocalModel:
        with Spinner(env, quiet=run.quiet) as spinner:

            def update(event: LoadProgress) -> None:
                on_progress()
                spinner.update(0, event)

            return load(model, options=options, drafter=drafter, lazy=True, on_progress=update)

    return FoundModel(resolved=model, load=loaded, adapters=files)


def _beside(
    model: ResolvedModel, adapters: Sequence[str]
) -> tuple[ResolvedModel, Sequence[AdapterFile]]:
    """The model without an adapter, and those to be used beside it. Raises AdapterError."""
    from ...hub.adapters import find_adapter

    if model.adapter is None:
        return model, [find_adapter(each) for each in adapters]
    if adapters:
        problem = f"{model.name} has an adapter already: name the model with -m, and both adapters"
        raise AdapterError(adapters[0], problem)
    return model.plain, [model.adapter]


def _begin(env: Environment, run: RunOptions, needed: Sequence[Source]) -> None:
    """What comes before any model, be it loaded or asked for."""
    if not run.json:
        for source in needed:
            require(source)
    show_logs(env, quiet=run.quiet, debug=run.debug)


def _resolved(env: Environment, run: RunOptions) -> ResolvedModel:
    from ...hub.inventory import largest_that_fits
    from ...hub.resolving import resolve, with_adapter

    found = largest_that_fits() if not run.model else None
    if found is None:
        found = resolve(run.model or _no_model(env, run))
    return found if run.adapter is None else with_adapter(found, run.adapter)


def _no_model(env: Environment, run: RunOptions) -> str:
    """Handle that no model is named and none is cached: ask a person, or raise NoModelError."""
    from ...hub.catalog import published_models
    from ...hub.download import cache_folder
    from ...hub.inventory import recommended_model

    alias = recommended_model()
    if env.can_ask:
        env.say("There is no Gemma 4 in the local cache.")
        if alias is not None and not run.offline:
            entry = published_models()[alias]
            env.say(
                f"{alias} suits this machine: {entry.repo}, {size_text(entry.bytes)} to download "
                f"into {cache_folder()}"
            )
            if env.confirm("Download it?"):
                fetch(env, alias, quiet=run.quiet)
                return alias
        if env.confirm("Continue with the built-in tiny model, a toy of shapes and short speech?"):
            return "tiny"
    raise NoModelError(f"g4 models pull {alias or _SMALLEST}")
