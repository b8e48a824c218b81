"""A table of mistakes: functions that break one detail of a network on purpose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import pytest

from gemma4cli.models import layers
from gemma4cli.models.gemma4 import Gemma4

Patch = pytest.MonkeyPatch
Break = Callable[[Patch, Gemma4], None]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake, and the checkpoint and case that reveal it."""

    name: str
    arch: str
    case: str
    make: Break


MISTAKES: list[Mistake] = []


def mistake(arch: str, case: str) -> Callable[[Break], Break]:
    """Add the decorated function to the table under its name."""

    def add(make: Break) -> Break:
        MISTAKES.append(Mistake(make.__name__, arch, case, make))
        return make

    return add


def configure(patch: Patch, module: nn.Module, **changes: object) -> None:
    patch.setattr(module, "config", dataclasses.replace(module.config, **changes))


def configure_all(patch: Patch, root: nn.Module, kind: type[nn.Module], **changes: object) -> None:
    for module in root.modules():
        if isinstance(module, kind):
            configure(patch, module, **changes)


def wrap(patch: Patch, owner: object, name: str, change: Callable[..., object]) -> None:
    """Replace ``owner.name`` by ``change(original, ...)``."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **kwargs: change(original, *args, **kwargs))


def unclip(patch: Patch, *, inner: bool) -> None:
    def call(self: layers.ClippedLinear, x: mx.array) -> mx.array:
        if inner:
            x = mx.clip(x, self.input_min, self.input_max)
        return self.linear(x)

    patch.setattr(layers.ClippedLinear, "__call__", call)
