"""A network with an adapter: another tree of the same layers, with some of them changed.

The tree shares all arrays and unchanged layers with the network it is made of, so several adapters
take little more memory than one network, and none of them changes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import mlx.core as mx
import mlx.nn as nn

from .gemma4 import Gemma4
from .low_rank import LOW_RANK, LowRankEmbedding, LowRankLinear, LowRankSwitchLinear
from .mlx_lm_parts import QuantizedSwitchLinear, SwitchLinear
from .names import EMBEDDINGS, HEAD

_HEAD, _EMBEDDINGS = HEAD.removesuffix("."), EMBEDDINGS.removesuffix(".")
KEPT_OF_A_RUN = ("_factor", "_bounds", "_steps", "_by_kind", "_adapter", "_pads")
"""What layers keep of their weights when they are used; a changed layer computes it again."""


class MisfitError(Exception):
    """A tensor of an adapter does not fit the network; ``tensor`` is its name in the file."""

    def __init__(self, tensor: str, problem: str) -> None:
        self.tensor = tensor
        self.problem = problem
        super().__init__(f"{tensor} {problem}")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LowRank:
    """What is added to the weights of one layer: ``scale * b a`` in PEFT's shapes.

    Attributes:
        path: The layer, or the module of all experts of a layer.
        tensor: The name of ``a`` in the file, for errors.
        a: ``[r, K]``; of all experts ``[E * r, K]`` (PEFT) or ``[E, r, K]`` (mlx-lm); of a table
            ``[r, V]``.
        b: ``[N, r]``; of all experts ``[N, r * E]`` or ``[E, N, r]``; of a table ``[D, r]``.
        scale: Their factor.
        down_scale: The factor instead, if they turn out to be about the experts' down projection.
        magnitude: ``m`` of DoRA.
        bias: ``lora_bias``.
        of_table: Whether ``a`` is by rows of a table of embeddings, not by input.
    """

    path: str
    tensor: str
    a: mx.array
    b: mx.array
    scale: float
    down_scale: float
    magnitude: mx.array | None = None
    bias: mx.array | None = None
    of_table: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Replaced:
    """A whole tensor that takes the place of the network's; ``name`` is canonical."""

    name: str
    tensor: str
    value: mx.array


Change: TypeAlias = LowRank | Replaced


def adapted(network: Gemma4, changes: Sequence[Change], *, head_follows: bool) -> Gemma4:
    """``network`` with ``changes``; ``network`` stays as it is.

    ``head_follows``: where the output head is the embeddings, it changes with them, as in mlx-lm;
    without it the head keeps what it was, as in PEFT.
    Nothing is computed. Raises MisfitError for the first change that does not fit.
    """
    modules: dict[str, nn.Module] = dict(network.named_modules())
    tied = network.config.text.tied_embeddings
    if tied:
        modules[_HEAD] = modules[_EMBEDDINGS]
    changed: dict[str, nn.Module] = {}

    def module_of(path: str, tensor: str) -> nn.Module:
        found = changed.get(path) or modules.get(path)
        if found is None:
            raise MisfitError(tensor, "belongs to no layer of the model")
        return found

    for each in changes:
        if isinstance(each, Replaced):
            for path, key, value in _tensors_of(each, modules):
                changed[path] = _with_tensor(module_of(path, each.tensor), key, value, each.tensor)
    for each in changes:
        if isinstance(each, LowRank):
            for path, layer in _with_low_rank(each, module_of):
                changed[path] = layer
    own_head = tied and (_HEAD in changed or (_EMBEDDINGS in changed and not head_follows))
    twin = cast(Gemma4, changed_tree(network, {tuple(p.split(".")): m for p, m in changed.items()}))
    if own_head:
        _untie(twin, changed.get(_HEAD, modules[_HEAD]))
    return twin


def twin_of(module: nn.Module) -> nn.Module:
    """A tree of the same modules, which shares nothing but arrays with ``module``."""
    twin = copied(module)
    twin.__dict__["_no_grad"] = set(twin.__dict__["_no_grad"])
    for name, child in dict.items(module):
        if isinstance(child, nn.Module):
            twin[name] = twin_of(child)
        elif isinstance(child, list):
            twin[name] = [twin_of(e) if isinstance(e, nn.Module) else e for e in child]
    return twin


def low_rank_layers(network: nn.Module) -> list[nn.Module]:
    """The layers of ``network`` that have a low-rank addition."""
    return [module for module in network.modules() if isinstance(module, LOW_RANK)]


def changed_tree(node: Any, changes: Mapping[tuple[str, ...], nn.Module]) -> Any:
    """``node`` with other modules at these paths; what is on the way is copied."""
    if () in changes:
        return changes[()]
    by_first: dict[str, dict[tuple[str, ...], nn.Module]] = defaultdict(dict)
    for (first, *rest), module in changes.items():
        by_first[first][tuple(rest)] = module
    if isinstance(node, list):
        items = list(node)
        for first, inner in by_first.items():
            items[int(first)] = changed_tree(node[int(first)], inner)
        return items
    twin = copied(node)
    for first, inner in by_first.items():
        if first in node:  # a head that is the embeddings has no place of its own
            twin[first] = changed_tree(node[first], inner)
    return twin


def copied(module: nn.Module) -> nn.Module:
    """Another module of the same class with the same arrays and modules inside."""
    twin: nn.Module = nn.Module.__new__(type(module))
    twin.__dict__.update(module.__dict__)
    for name in ("_recordings",):
        twin.__dict__.pop(name, None)
    dict.update(twin, {k: v for k, v in dict.items(module) if k not in KEPT_OF_A_RUN})
    return twin


def _untie(network: Gemma4, head: nn.Module) -> None:
    """Give a network that was just made an output head of its own."""
    model = network.language_model
    text = replace(network.config.text, tied_embeddings=False)
    network.config = replace(network.config, text=text)
    twin = copied(model)
    twin.config = text
    twin.lm_head = head
    network.language_model = twin


def _tensors_of(
    change: Replaced, modules: Mapping[str, nn.Module]
) -> list[tuple[str, str, mx.array]]:
    """Path of the module, key in it and value: one, or two for fused matrices of experts."""
    path, _, key = change.name.rpartition(".")
    experts = f"{path}.switch_glu"
    if experts not in modules:
        return [(path, key, change.value)]
    if key == "gate_up_proj":
        gate, up = mx.split(change.value, 2, axis=-2)
        return [(f"{experts}.gate_proj", "weight", gate), (f"{experts}.up_proj", "weight", up)]
    return [(f"{experts}.{key}", "weight", change.value)]


_PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    nn.QuantizedLinear: nn.Linear,
    nn.QuantizedEmbedding: nn.Embedding,
    QuantizedSwitchLinear: SwitchLinear,
}


def _with_tensor(module: nn.Module, key: str, value: mx.array, tensor: str) -> nn.Module:
    """A copy of ``module`` with another tensor; its weights are then not quantized any more."""
    expected = module.get(key)
    quantized = key == "weight" and "scales" in module
    if not isinstance(expected, mx.array):
        if key != "bias" or "weight" not in module:
            raise MisfitError(tensor, "belongs to no layer of the model")
        shape = module["weight"].shape[:1]
    else:
        shape = plain_shape(module) if quantized else expected.shape
    if value.shape != shape and value.ndim in (3, 4):
        value = mx.moveaxis(value, 1, -1)  # a convolution's channels
    if value.shape != shape:
        raise MisfitError(tensor, shapes(value.shape, shape))
    twin = copied(module)
    if quantized:
        for each in ("scales", "biases"):
            twin.pop(each, None)
        for kind, plain in _PLAIN.items():
            if isinstance(twin, kind):
                twin.__class__ = plain
    twin[key] = value
    return twin


def shapes(found: Sequence[int], expected: Sequence[int]) -> str:
    """What a MisfitError says about the shape of a tensor."""
    return f"has the shape {list(found)}, and its layer needs {list(expected)}"


def plain_shape(layer: nn.Module) -> tuple[int, ...]:
    """The shape of a layer's weights, not packed."""
    shape = tuple(layer["weight"].shape)
    if "scales" not in layer:
        return shape
    return (*shape[:-1], layer["scales"].shape[-1] * layer.group_size)


def _with_low_rank(change: LowRank, module_of: Any) -> list[tuple[str, nn.Module]]:
    """The paths of layers that ``change`` is about, and what takes their places."""
    module = module_of(change.path, change.tensor)
    if "switch_glu" in module:
        experts = module.switch_glu
        each_matrix = of_each_matrix(change, *plain_shape(experts.gate_proj))
        return [
            (each.path, _switched(each, experts[each.path.rpartition(".")[2]]))
            for each in each_matrix
        ]
    if isinstance(module, (SwitchLinear, QuantizedSwitchLinear)):
        return [(change.path, _switched(change, module))]
    if "weight" not in module or module["weight"].ndim != 2:
        raise MisfitError(
            change.tensor, "is for a layer that is neither a matrix nor a table of embeddings"
        )
    outputs, inputs = plain_shape(module)
    is_table = hasattr(module, "as_linear")
    if change.of_table and not is_table:
        raise MisfitError(change.tensor, "is for a table of embeddings, and its layer is a matrix")
    rank = change.a.shape[0]
    if change.of_table:
        _require(change.tensor, change.a, (rank, outputs))
        _require(change.tensor, change.b, (inputs, rank))
    else:
        _require(change.tensor, change.a, (rank, inputs))
        _require(change.tensor, change.b, (outputs, rank))
    if is_table:
        return [(change.path, _on_table(change, module))]
    if change.magnitude is not None:
        _require(change.tensor, change.magnitude, (outputs,))
    if change.bias is not None:
        _require(change.tensor, change.bias, (outputs,))
    layer = LowRankLinear(
        module, change.a.T, change.b.T, change.scale, change.magnitude, change.bias
    )
    return [(change.path, layer)]


def _on_table(change: LowRank, table: nn.Module) -> LowRankEmbedding:
    """A table, or an output head, which g4 keeps as a table."""
    if change.bias is not None:
        raise MisfitError(change.tensor, "has a bias, and a table of embeddings has none")
    a, b = (change.a.T, change.b.T) if change.of_table else (change.b, change.a)
    m = change.magnitude
    if m is not None and (m.ndim != 1 or m.size not in (a.shape[0], b.shape[1])):
        raise MisfitError(change.tensor, shapes(m.shape, (a.shape[0],)))
    return LowRankEmbedding(table, a, b, change.scale, m)


def _require(tensor: str, value: mx.array, shape: Sequence[int]) -> None:
    if tuple(value.shape) != tuple(shape):
        raise MisfitError(tensor, shapes(value.shape, shape))


def _switched(change: LowRank, layer: nn.Module) -> LowRankSwitchLinear:
    """The matrix of each expert, in mlx-lm's shapes."""
    experts, outputs, inputs = plain_shape(layer)
    rank = change.a.shape[1] if change.a.ndim == 3 else 0
    _require(change.tensor, change.a, (experts, rank, inputs))
    _require(change.tensor, change.b, (experts, outputs, rank))
    if change.magnitude is not None or change.bias is not None:
        raise MisfitError(change.tensor, "has magnitudes or a bias, which experts cannot have")
    return LowRankSwitchLinear(layer, change.a, change.b, change.scale)


def of_each_matrix(change: LowRank, count: int, hidden: int, size: int) -> list[LowRank]:
    """PEFT's addition to one of the fused matrices of all experts, found by its shapes.

    There are ``count`` experts between ``size`` and ``hidden`` numbers. Returns additions in
    mlx-lm's shapes, to one matrix each. Raises MisfitError.
    """
    rank, odd = divmod(change.a.shape[0], count)
    outputs = change.b.shape[0] if change.b.ndim == 2 else 0
    is_down = outputs == size and change.a.shape[-1] == hidden
    shape = (size, hidden) if is_down else (2 * hidden, size)
    if odd or change.a.ndim != 2:
        raise MisfitError(change.tensor, f"has {change.a.shape[0]} rows for {count} experts")
    _require(change.tensor, change.a, (rank * count, shape[1]))
    _require(change.tensor, change.b, (shape[0], rank * count))
    a = change.a.reshape(count, rank, shape[1])
    b = change.b.reshape(shape[0], rank, count).transpose(2, 0, 1)
    parts = {"down_proj": b}
    if is_down:
        change = replace(change, scale=change.down_scale)
    else:
        gate, up = mx.split(b, 2, axis=1)
        parts = {"gate_proj": gate, "up_proj": up}
    path = f"{change.path}.switch_glu"
    return [replace(change, path=f"{path}.{name}", a=a, b=each) for name, each in parts.items()]
