"""A drafter: the small network, published beside a model, that guesses the model's next tokens.

It has no cache. Its layers attend to the keys and values that the model's last layers of each type
hold, all from the position of the newest token. Attribute names equal the checkpoint's keys.
Source: Gemma4AssistantForCausalLM and SinglePositionMultiTokenCandidateGenerator in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from ..errors import CheckpointError
from .attention import KeysValues
from .drafter_config import ClusterConfig, DrafterConfig
from .language import LanguageModel


class Clusters(nn.Module):
    """Chooses the tokens whose logits are worth computing.

    ``token_ordering`` ``[V]`` lists the vocabulary cluster by cluster.
    """

    def __init__(self, config: ClusterConfig, hidden_size: int, vocab_size: int) -> None:
        super().__init__()
        self._chosen = config.chosen
        self.centroids = nn.Linear(hidden_size, config.count, bias=False)
        self.token_ordering = mx.zeros((vocab_size,), mx.int32)

    def likely(self, hidden: mx.array) -> mx.array:
        """The ids ``[n]`` of the clusters nearest to ``hidden`` ``[1, 1, D]``."""
        scores = self.centroids(hidden).reshape(-1)
        nearest = mx.argpartition(-scores, kth=self._chosen - 1)[: self._chosen]
        clusters = self.token_ordering.reshape(len(scores), -1)
        return clusters[nearest].reshape(-1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Guess:
    """Logits ``[n]`` of the next token, of the tokens ``ids`` ``[n]`` or of all if None.

    ``hidden`` ``[1, 1, model_size]`` takes the place of the model's hidden state in the next step.
    """

    logits: mx.array
    ids: mx.array | None
    hidden: mx.array

    def token(self, allowed: mx.array | None = None) -> mx.array:
        """The likeliest, a scalar; of the ``allowed`` ones, bool ``[V]``, if there are any."""
        logits = self.logits
        if allowed is not None:
            seen = allowed if self.ids is None else allowed[self.ids]
            logits = mx.where(seen, logits, -mx.inf)
        best = mx.argmax(logits)
        return best if self.ids is None else self.ids[best]


class Drafter(nn.Module):
    """Starts with random weights of the config's shapes, lazy until they are first used."""

    def __init__(self, config: DrafterConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text.hidden_size
        self.language_model = LanguageModel(config.text)
        self.pre_projection = nn.Linear(2 * config.model_size, width, bias=False)
        self.post_projection = nn.Linear(width, config.model_size, bias=False)
        if config.clusters is not None:
            self.masked_embedding = Clusters(config.clusters, width, config.text.vocab_size)

    def check_ids(self) -> None:
        """Raise CheckpointError for ids in ``token_ordering`` that are outside the vocabulary."""
        if self.config.clusters is None:
            return
        ordering = self.masked_embedding.token_ordering
        outside = (ordering < 0) | (ordering >= self.config.text.vocab_size)
        if outside.any().item():
            raise CheckpointError(
                "model.safetensors", "masked_embedding.token_ordering leaves the vocabulary"
            )

    def __call__(
        self,
        embedding: mx.array,
        hidden: mx.array,
        keys_values: Mapping[str, KeysValues],
        position: int,
        among: mx.array | None = None,
    ) -> Guess:
        """Guess the token after the newest one.

        Args:
            embedding: The model's embedding of the newest token, ``[1, 1, model_size]``.
            hidden: The model's normalized hidden state before it, or that of the guess before.
            keys_values: Those of the model's last layer of each type, as far as a sliding layer
                sees.
            position: That of the newest token that the model gave; the same for all guesses that
                follow it.
            among: The tokens ``[n]`` to choose from; None is all, or those of the likeliest
                clusters.
        """
        inputs = self.pre_projection(mx.concatenate([embedding, hidden], axis=-1))
        text = self.language_model
        own = text.model.reuse(inputs, keys_values, position)
        following = self.post_projection(own)
        if among is None and self.config.clusters is None:
            return Guess(logits=text.logits(own).reshape(-1), ids=None, hidden=following)
        ids = self.masked_embedding.likely(own) if among is None else among
        logits = text.some_logits(own, ids)
        return Guess(logits=logits, ids=ids, hidden=following)
