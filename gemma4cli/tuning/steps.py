"""One step of training: losses and gradients of a batch, and what they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_unflatten

from ..errors import TuningError
from ..models.divergence import summed_divergences
from ..models.gemma4 import Gemma4
from ..models.training import hidden_states, summed_losses
from .batches import Batch, make_batch, rows_within
from .examples import Example
from .kept_states import KeptStates
from .media_store import MediaStore

Parameters: TypeAlias = dict[str, mx.array]
"""Arrays by their names in the network."""

_LARGEST_NORM = 1.0
"""Gradients are scaled down to it."""


def _number(value: mx.array) -> float:
    return cast(float, value.item())


def _flat(tree: Any) -> Parameters:
    return dict(cast("list[tuple[str, mx.array]]", tree_flatten(tree)))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Learner:
    """A network with trainable parameters, and what its losses depend on.

    A step computes at most ``tokens_at_once`` padded tokens at a time.
    """

    network: Gemma4
    media: MediaStore
    tokens_at_once: int
    blocks_on_full_layers: bool = False

    def loss(self, batch: Batch) -> mx.array:
        """The sum of the losses of a batch's learned tokens."""
        before = self.hidden_before(batch)
        return summed_losses(self.network.language_model, before, mx.array(batch.targets))

    def divergence(self, batch: Batch, before: mx.array) -> mx.array:
        """The sum of how far the distributions of a batch's learned tokens have moved."""
        now = self.hidden_before(batch)
        return summed_divergences(self.network.language_model, now, before)

    def hidden_before(self, batch: Batch) -> mx.array:
        """The hidden states ``[n, D]`` from which a batch's learned tokens follow."""
        network = self.network
        has_blocks = network.config.text.vision_blocks and batch.has_blocks
        hidden = hidden_states(
            network,
            mx.array(batch.ids),
            self.media.fill(network, batch.examples),
            batch.blocks.tolist() if has_blocks else None,
            blocks_on_full_layers=self.blocks_on_full_layers,
        )
        return hidden[mx.array(batch.rows), mx.array(batch.columns)]

    def gradients(self, examples: Sequence[Example]) -> tuple[float, Parameters]:
        """The mean loss of the examples' learned tokens, and its gradients."""
        return self._mean(examples, lambda batch: self._with_gradients(lambda: self.loss(batch)))

    def drift(self, kept: Sequence[Example], states: KeptStates) -> tuple[float, Parameters]:
        """The mean divergence of the tokens of kept examples, and its gradients."""

        def distance(batch: Batch) -> tuple[mx.array, Any]:
            before = states.of(batch.examples)
            return self._with_gradients(lambda: self.divergence(batch, before))

        return self._mean(kept, distance)

    def _with_gradients(self, value: Callable[[], mx.array]) -> tuple[mx.array, Any]:
        """A value of the network, and its gradients for the trainable parameters.

        The network is no argument of what is differentiated: MLX copies all arrays of those.
        """
        found: tuple[mx.array, Any] = nn.value_and_grad(self.network, value)()
        return found

    def _mean(
        self, examples: Sequence[Example], compute: Callable[[Batch], tuple[mx.array, Any]]
    ) -> tuple[float, Parameters]:
        targets = sum(each.targets for each in examples)
        total = 0.0
        summed: Parameters = {}
        for batch in self.parts(examples):
            value, tree = compute(batch)
            for name, each in _flat(tree).items():
                summed[name] = summed[name] + each if name in summed else each
            mx.eval(value, summed)
            total += _number(value)
        return total / targets, {name: each / targets for name, each in summed.items()}

    def validation_loss(self, examples: Sequence[Example]) -> float:
        """The mean loss of the examples' learned tokens."""
        total = 0.0
        for batch in self.parts(examples):
            total += _number(self.loss(batch))
        return total / sum(each.targets for each in examples)

    def parts(self, examples: Sequence[Example]) -> list[Batch]:
        """Batches that are computed one after the other."""
        pad = self.network.config.text.pad_token_id
        return [make_batch(part, pad) for part in rows_within(examples, self.tokens_at_once)]

    @property
    def parameters(self) -> Parameters:
        """The trainable parameters, by their names in the network."""
        return _flat(self.network.trainable_parameters())

    def use(self, parameters: Parameters) -> None:
        """Replace the trainable parameters."""
        self.network.update(tree_unflatten(list(parameters.items())))


class Optimizer:
    """AdamW with scaled-down gradients, whose state can be kept."""

    def __init__(self, parameters: Parameters, decay: float) -> None:
        self._adam = optim.AdamW(
            learning_rate=0.0, betas=[0.9, 0.99], weight_decay=decay, bias_correction=True
        )
        self._adam.init(parameters)

    @property
    def state(self) -> Parameters:
        """The state under names, for a file."""
        return {
            f"{name}/{key}": value
            for name, each in self._adam.state.items()
            for key, value in (each.items() if isinstance(each, dict) else (("", each),))
        }

    def restore(self, state: Parameters) -> None:
        for name, value in state.items():
            path, _, key = name.rpartition("/")
            if key:
                self._adam.state[path][key] = value
            else:
                self._adam.state[path] = value

    def changed(self, parameters: Parameters, gradients: Parameters, rate: float) -> Parameters:
        """The parameters after a step. Raises TuningError if the gradients are not finite."""
        clipped, norm = optim.clip_grad_norm(gradients, _LARGEST_NORM)
        if not mx.isfinite(norm).item():
            raise TuningError("the gradients are not finite: lower --rate, or try --dtype float32")
        self._adam.learning_rate = rate
        after: Parameters = self._adam.apply_gradients(clipped, parameters)
        mx.eval(after, self._adam.state)
        return after
