"""Load a model, connect to one, change its adapter; list and describe those there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..events import LoadProgress
from ..options import LoadOptions

if TYPE_CHECKING:
    from ..engine.answering import AnsweringModel
    from ..engine.local import LocalModel
    from ..engine.model_info import ModelInfo
    from ..hub.inventory import ModelEntry
    from ..hub.resolved import ResolvedModel


def load(
    model: str | ResolvedModel,
    *,
    adapter: str | None = None,
    options: LoadOptions | None = None,
    drafter: ResolvedModel | None = None,
    lazy: bool = False,
    on_progress: Callable[[LoadProgress], None] | None = None,
) -> LocalModel:
    """Load a model that is on this machine; nothing is downloaded.

    Args:
        model: An alias ("tiny", "e2b:8bit"), a folder, a hub id, or a resolved model.
        adapter: A LoRA or DoRA for it: a folder or a hub id, in the layout of PEFT, mlx-lm or
            mlx-vlm. "MODEL+ADAPTER" as ``model`` means the same.
        options: The dtype to compute in, and the drafter.
        drafter: One that is resolved already, instead of that of the options.
        lazy: Read weights when they are first used: on a GPU those of towers, on a CPU all. Towers
            that are never used take no memory then, but only the thread that loads such a model
            can use it.
        on_progress: Called at each stage of loading, and on a GPU for each GB of weights.

    Returns:
        The model, for ``generate`` and the other functions. While it lives, settings of the process
        are changed, and put back afterwards: the variable MLX_ENABLE_TF32 is 0 unless it is set; on
        a CPU MLX compiles no functions; on a GPU it keeps few freed buffers, and on Metal may wire
        as much memory as the system recommends. MLX reads the variable once, at its first product,
        so its effect stays. One thread at a time may compute in a process: where several ask, use
        ``serving.queued_model.QueuedModel``.

    Raises:
        ModelNotFoundError: No such model is on this machine.
        CheckpointError: A file of the checkpoint is missing or broken.
        UnsupportedModelError: The checkpoint is not a Gemma 4.
        AdapterError: The adapter cannot be read, or does not fit the model.
        BackendMissingError: No backend of MLX is installed.
    """
    from ..hub.drafters import find_drafter
    from ..hub.resolving import resolve, with_adapter
    from ..machine.backend import require_backend

    options = options or LoadOptions()
    found = resolve(model) if isinstance(model, str) else model
    if adapter is not None:
        found = with_adapter(found, adapter)
    drafter = drafter or find_drafter(found, options.draft)
    require_backend()
    from ..engine.loading import load_drafter, load_resolved, read_all

    loaded = load_resolved(found, options, on_progress)
    if drafter is not None:
        loaded = load_drafter(drafter, loaded)
    if not lazy:
        read_all(loaded)
    return loaded


def change_adapter(model: AnsweringModel, adapter: str | None) -> AnsweringModel:
    """A loaded model with another adapter, or without one; nothing else is loaded again.

    ``model`` goes on answering as it does; both share the weights. ``adapter`` is as for ``load``,
    and of a model that a server has loaded the name of one of the adapters there.
    Raises AdapterError.
    """
    from ..remote.remote_model import RemoteModel

    if isinstance(model, RemoteModel):
        return model.with_adapter(adapter)
    from ..engine.adapter_loading import with_adapter
    from ..engine.local import LocalModel
    from ..hub.adapters import find_adapter

    assert isinstance(model, LocalModel), "those of a queue are not handed out"
    plain = model.without_adapter or model
    return plain if adapter is None else with_adapter(plain, find_adapter(adapter))


def merge_adapter(model: str | ResolvedModel, folder: Path) -> Iterator[tuple[int, int]]:
    """Write a checkpoint with an adapter merged into a model's weights, in the model's layout.

    ``model`` is as for ``load``, with an adapter ("MODEL+ADAPTER"), and ``folder`` is empty. Yields
    how many bytes are done, and of how many. Raises LoadError, and OSError.
    """
    from ..hub.resolving import resolve
    from ..machine.backend import require_backend

    found = resolve(model) if isinstance(model, str) else model
    require_backend()
    from ..engine.merging import merge

    yield from merge(found, folder)


def connect(server: str, *, model: str | None = None, token: str | None = None) -> AnsweringModel:
    """The model of a running ``g4 serve``; nothing is loaded here, and mlx is not imported.

    Args:
        server: Its address: "http://studio:11535", "studio", "https://host/g4".
        model: Which of its models, by a name of its /v1/models; by default its first.
        token: What it wants of its clients, if it wants something.

    Returns:
        The model, for ``generate`` and the other functions, from several threads too. Media are
        opened here; the server gets pixels and frames of sound. Every call may raise ServerError.

    Raises:
        OptionError: ``server`` is no address.
        ServerError: There is no such server, or it does not let this client in.
    """
    from ..remote.address import address_of
    from ..remote.connection import Connection
    from ..remote.remote_model import RemoteModel

    return RemoteModel(Connection(address_of(server), token), model)


def list_models() -> list[ModelEntry]:
    """List every model that runs without a download: built in, or in the hub's cache.

    Returns:
        The models, built-in ones first, then by size.
    """
    from ..hub.inventory import available

    return available()


def model_path(name: str) -> Path:
    """Find the folder of a model.

    Args:
        name: An alias, a folder or a hub id.

    Returns:
        The folder with its files.

    Raises:
        ModelNotFoundError: No such model is on this machine.
    """
    from ..hub.names import folder_of

    return folder_of(name)


def model_info(name: str, *, adapter: str | None = None) -> ModelInfo:
    """Describe a model from its config and its tensors' headers; no weight is read.

    Args:
        name: An alias, a folder or a hub id.
        adapter: An adapter for it, as in ``load``.

    Returns:
        Architecture, sizes, and the memory that prompts of several lengths take, in bytes.

    Raises:
        LoadError: The model is missing, broken or not a Gemma 4.
    """
    from ..hub.resolving import resolve
    from ..machine.backend import require_backend

    found = resolve(name, adapter)
    require_backend()
    from ..engine.model_info import describe

    return describe(found)
