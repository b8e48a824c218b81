"""A loaded model with an adapter: the same weights in memory, and a few layers more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import mlx.core as mx

from ..errors import AdapterError
from ..hub.adapter_files import AdapterFile
from ..hub.adapter_layouts import Part
from ..machine.backend import native_in_use
from ..models.adapters import Change, LowRank, MisfitError, Replaced, adapted, low_rank_layers
from ..models.gemma4 import Gemma4
from ..models.mixed_adapters import Mixed, MixedLinear
from ..models.weights import is_used
from .checkpoint import lazy_tensors
from .loaded_weights import computed_in
from .local import LocalModel
from .pace import Pace
from .weights_reading import arrays_of

logger = logging.getLogger(__name__)


def with_adapter(model: LocalModel, adapter: AdapterFile, name: str | None = None) -> LocalModel:
    """``model`` with an adapter, called ``name``; ``model`` itself goes on answering without it.

    Both share the weights. The adapter's tensors are read here, and for DoRA the weights of the
    layers that it changes, whose norms it needs.
    Raises AdapterError for one that cannot be read, and for the first tensor that does not fit.
    """
    network = adapted_network(model, adapter)
    _compute_norms(network)
    shared = {id(each) for each in arrays_of(model.network)}
    mx.eval([each for each in arrays_of(network) if id(each) not in shared])
    soft_tokens, drafter = model.soft_tokens, model.drafter
    return replace(
        model,
        name=name or f"{model.name}+{adapter.name}",
        network=network,
        drafter=None if drafter is None else replace(drafter, pace=Pace()),
        adapter=adapter,
        without_adapter=model,
        soft_tokens=soft_tokens.apart() if _has_towers(adapter) else soft_tokens,
        sizes={},
    )


def with_adapters(model: LocalModel, adapters: Sequence[AdapterFile]) -> list[LocalModel]:
    """``model`` with each of the adapters, and at last without one, to answer at the same time.

    Each knows that the others are in memory. Raises AdapterError as ``with_adapter``.
    """
    found = [*(with_adapter(model, each) for each in adapters), model]
    networks = tuple(each.network for each in found)
    return [replace(each, beside=networks, sizes={}) for each in found]


def _has_towers(adapter: AdapterFile) -> bool:
    """Whether it changes what media become."""
    changed = [*(part.path for part in adapter.parts), *adapter.whole.values()]
    return not all(each.startswith("language_model.") for each in changed)


def adapted_network(model: LocalModel, adapter: AdapterFile) -> Gemma4:
    """The network of ``with_adapter``; none of the model's weights is read. Raises AdapterError."""
    if adapter.doubt is not None:
        logger.warning("%s: %s", adapter.name, adapter.doubt)
    try:
        tensors = lazy_tensors(adapter.weights)
    except (OSError, RuntimeError, ValueError) as exc:
        raise AdapterError(adapter.name, f"{adapter.weights.name} cannot be read ({exc})") from exc
    try:
        changes = list(_changes(model, adapter, tensors))
        twin = _changed(model, changes, head_follows=adapter.head_follows)
    except MisfitError as exc:
        raise _misfit(model, adapter, exc) from exc
    _let_compute(twin, native=native_in_use(model.options.dtype))
    return twin


def prepare(network: Gemma4, *, native: bool) -> None:
    """Let a network that was changed compute; ``native`` is whether with the native part."""
    _let_compute(network, native=native)
    _compute_norms(network)


def let_compute_mixed(mixed: Mixed, *, native: bool) -> None:
    """Prepare a network that computes several adapters together, with the native part or not."""
    if native:
        from ..models.native_network import use_native

        use_native(mixed.network)
        return
    for layer in mixed.network.modules():
        if isinstance(layer, MixedLinear):
            layer.stack()


def _changed(model: LocalModel, changes: Sequence[Change], *, head_follows: bool) -> Gemma4:
    if not model.is_divided:
        return adapted(model.network, changes, head_follows=head_follows)
    from ..models.divided_adapters import lead_adapted

    return lead_adapted(model.network, changes, head_follows=head_follows)


def _let_compute(network: Gemma4, *, native: bool) -> None:
    if native:
        from ..models.native_network import use_native

        use_native(network)
    layers = low_rank_layers(network)
    for layer in layers:
        layer.eval()  # so that DoRA keeps its norms
    mx.eval([layer.parameters()[name] for layer in layers for name in ("lora_a", "lora_b")])


def _compute_norms(network: Gemma4) -> None:
    if network.language_model.is_divided:
        from ..models.divided_adapters import compute_norms

        compute_norms(network)
        return
    for layer in low_rank_layers(network):
        if "m" in layer:
            layer.compute_norms()


def _misfit(model: LocalModel, adapter: AdapterFile, misfit: MisfitError) -> AdapterError:
    trained = "" if adapter.base is None else f"; it was trained on {adapter.base}"
    return AdapterError(
        adapter.name,
        f"does not fit {model.name}: {misfit.tensor} {misfit.problem}{trained}: name that model "
        "with -m",
        misfit.tensor,
    )


def _changes(
    model: LocalModel, adapter: AdapterFile, tensors: dict[str, mx.array]
) -> Iterator[Change]:
    """What the adapter changes, without what no layer of the model reads."""
    config = model.network.config
    dtype = computed_in(model)
    widened = dtype == mx.float32 and not native_in_use(model.options.dtype)

    def value(tensor: str) -> mx.array:
        # The thin products are computed in the adapter's own precision, as mlx-lm and PEFT do. The
        # native part reads any type; MLX would widen it at each step.
        return tensors[tensor].astype(dtype) if widened else tensors[tensor]

    for part in adapter.parts:
        if is_used(f"{part.path}.weight", config):
            yield _low_rank(part, adapter, value)
    for tensor, name in adapter.whole.items():
        if is_used(name, config):
            yield Replaced(name=name, tensor=tensor, value=tensors[tensor].astype(dtype))


def _low_rank(part: Part, adapter: AdapterFile, value: Callable[[str], mx.array]) -> LowRank:
    a, b = value(part.a), value(part.b)
    if not adapter.by_rows and a.ndim == b.ndim == 2:
        a, b = a.T, b.T
    return LowRank(
        path=part.path,
        tensor=part.a,
        a=a,
        b=b,
        scale=part.scale,
        down_scale=part.down_scale,
        magnitude=None if part.magnitude is None else value(part.magnitude),
        bias=None if part.bias is None else value(part.bias),
        of_table=part.of_table,
    )
