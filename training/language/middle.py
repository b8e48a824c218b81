"""What the layers in the middle should know, and where the last ones should look.

Answers start from the states in the middle. Losses of their own teach those faster than the
answers do; the heads are thrown away.
"""

from __future__ import annotations

import torch
from torch import nn

from ..head import Head
from ..pictures.heads import Heads, by_head, heads_loss
from ..seeds import generator
from ..words.sentence import word_alphabet
from .answers import Batch
from .batches import WORDS_BEFORE

_MOST_WORDS = 48
"""Of one sound; what is beyond counts as the last. Ten seconds hold about forty."""


class PictureHeads(nn.Module):
    """Of each soft token what it shows: which of several equal things, which letter of a word.

    At the end of a picture, whether it shows what the one before it does: a scene of a video goes
    on.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shown = Heads(width, generator("language", "shown"))
        self.repeated = Head(width, 2, generator("language", "repeated"))

    def forward(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss, for states ``[B, L, width]``."""
        guesses = self.shown(states[batch.picture_places])
        shown, _ = heads_loss(guesses, by_head(batch.picture_labels))
        repeated = self.repeated(states[batch.picture_ends])
        return shown + nn.functional.cross_entropy(repeated, batch.repeated)


class WordHeads(nn.Module):
    """Of each word that is heard which it is, and which ones are said before it.

    A transcript finds its next word by the last ones that it has written.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        letters = len(word_alphabet()) + 1
        self.heads = nn.ModuleList(
            Head(width, letters, generator("language", "words", before))
            for before in range(1 + WORDS_BEFORE)
        )

    def forward(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss, for states ``[B, L, width]``."""
        heard = states[batch.word_places]
        losses = [
            nn.functional.cross_entropy(head(heard), batch.words[:, before])
            for before, head in enumerate(self.heads)
        ]
        return torch.stack(losses).mean()


class NumberHeads(nn.Module):
    """How many words are heard before a word, and before the one that is to be written next.

    A run of words that is said twice is told apart by it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heard = Head(width, _MOST_WORDS, generator("language", "heard number"))
        self.told = Head(width, _MOST_WORDS, generator("language", "told number"))

    def forward(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss, for states ``[B, L, width]``."""
        last = _MOST_WORDS - 1
        heard = self.heard(states[batch.word_places])
        loss = nn.functional.cross_entropy(heard, batch.word_numbers.clamp(max=last))
        if not len(batch.told):
            return loss
        told = self.told(states[batch.tellers])
        return loss + nn.functional.cross_entropy(told, batch.told.clamp(max=last))


class Helpers(nn.Module):
    """All heads that teach the layers in the middle."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pictures = PictureHeads(width)
        self.words = WordHeads(width)
        self.numbers = NumberHeads(width)

    def forward(self, states: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """The losses of what the batch has, by name, for states ``[B, L, width]``."""
        losses: dict[str, torch.Tensor] = {}
        if len(batch.picture_labels):
            losses["seen"] = self.pictures(states, batch)
        if len(batch.words):
            losses["heard"] = self.words(states, batch)
            losses["number"] = self.numbers(states, batch)
        return losses


def looking_loss(looks: tuple[torch.Tensor, ...], batch: Batch) -> torch.Tensor:
    """How far the last layers' first heads look from what is to be told next.

    ``looks`` are log-probabilities ``[B, A, L]``. What a layer's window does not reach is left out.
    """
    out_of_sight = torch.finfo(torch.float32).min / 2
    losses: list[torch.Tensor] = []
    for look in looks:
        chances = look[batch.lookers]
        wanted = torch.zeros_like(chances, dtype=torch.bool)
        wanted[batch.looked_at] = True
        on_it = torch.where(wanted, chances, out_of_sight).logsumexp(-1)
        losses.append(-on_it[on_it > out_of_sight / 2])
    return torch.cat(losses).mean()
