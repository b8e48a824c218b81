"""The stage that trains the language model and the projectors on the frozen towers' output.

python -m training.language.stage WORK --steps 10000
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch._dynamo
from torch import nn

from gemma4cli.processing.tokenizer import Tokenizer

from .. import processes
from .. import tokenizer as tokenizers
from ..ahead import ahead
from ..architecture import tiny_config
from ..device import at_once, compile_layers, device, half_precision, placed, steps_of
from ..head import Head
from ..loop import Loop, Numbers, Schedule
from ..muon import matrices_of
from ..pictures import features as picture_features
from ..pictures.heads import HEAD_WEIGHT, Heads, by_head, heads_loss
from ..seeds import generator
from ..speech import audio_features
from ..start import start_from
from . import heads
from .answers import Batch, LanguageModel
from .batches import batches, example
from .initial import add_words, initialise_language_model, project_to_words, rotation
from .sources import Clips, Pictures
from .tasks import Library, conversation

FOLDER = "language"
_CONVERSATIONS = 24
"""How many are learnt from in one step, by all processes together."""
_POSITIONS = 8192
"""The most of a batch, of which a step may have several."""
_PEAK = 2e-3
_PREVIOUS_SIZE = 2.0
_SEEN = 0.1
"""The weight of what the middle layers should know of pictures."""
_SHOWN = {**HEAD_WEIGHT, "order": 1.0, "count": 0.5}
"""The tower hardly learns to count; the language model, which reads in order, does."""


class PictureHeads(nn.Module):
    """What the middle layers should know of pictures, where answers start from.

    Of each soft token what it shows: which of several equal things, which letter of a word. At the
    end of a picture, whether it shows what the one before it does: a scene of a video goes on.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shown = Heads(width, generator("language", "shown"))
        self.repeated = Head(width, 2, generator("language", "repeated"))

    def forward(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss, for states ``[B, L, width]``."""
        guesses = self.shown(states[batch.picture_places])
        shown, _ = heads_loss(guesses, by_head(batch.picture_labels), _SHOWN)
        repeated = self.repeated(states[batch.picture_ends])
        return shown + nn.functional.cross_entropy(repeated, batch.repeated)


def new_model(work: Path, tokenizer: Tokenizer) -> LanguageModel:
    config = tiny_config(tokenizer.vocab_size)
    model = LanguageModel(config)
    initialise_language_model(model.text, generator("language", "initial"))
    embeddings = model.text.embed_tokens.weight
    pictures, sounds = model.pictures.embedding_projection, model.sounds.embedding_projection
    ids, rows = heads.words_of_pictures(work, tokenizer)
    project_to_words(pictures, embeddings[ids], rows)
    ids, rows = heads.words_of_sounds(work, tokenizer)
    project_to_words(sounds, embeddings[ids], rows)
    # The word before is told apart from the word itself by a rotation. A decoder that has just
    # written a word finds the next one by it.
    ids, rows = heads.words_of_sounds(work, tokenizer, "previous")
    turned = embeddings[ids] @ rotation(embeddings.shape[1], generator("language", "previous"))
    add_words(sounds, turned, rows, size=_PREVIOUS_SIZE)
    return model


def model_of(checkpoint: Path, tokenizer: Tokenizer) -> LanguageModel:
    """The parts of a checkpoint that this stage trains. It has to have the same vocabulary."""
    model = LanguageModel(tiny_config(tokenizer.vocab_size))
    start_from(model.text, checkpoint, "model.language_model.")
    start_from(model.pictures, checkpoint, "model.embed_vision.")
    start_from(model.sounds, checkpoint, "model.embed_audio.")
    return model


def library(work: Path, *, speech_only: bool) -> Library:
    pictures, stills = (
        [] if speech_only else picture_features.load(work / folder)
        for folder in (picture_features.PICTURES, picture_features.STILLS)
    )
    return Library(clips=Clips(audio_features.load(work)), pictures=Pictures(pictures, stills))


def train(work: Path, steps: int, *, speech_only: bool = False, start: Path | None = None) -> None:
    torch._dynamo.config.recompile_limit = 64
    tokenizer = tokenizers.load(work)
    known = library(work, speech_only=speech_only)
    model = new_model(work, tokenizer) if start is None else model_of(start, tokenizer)
    padding = tokenizer.control_id("<pad>")
    compile_layers(model.text.layers)
    config = model.text.config
    heads_of = PictureHeads(config.hidden_size)
    loop = Loop(
        work / FOLDER,
        {"model": model, "heads": heads_of},
        Schedule(steps=steps, peak=_PEAK),
        matrices=matrices_of(model.text.layers),
    )
    share = at_once(_CONVERSATIONS) // processes.count()
    most = at_once(_POSITIONS)

    def batches_of_step(step: int) -> list[Batch]:
        rng = generator("language", "train", step, processes.rank())
        talks = [conversation(rng, known, speech_only=speech_only) for _ in range(share)]
        examples = [example(talk, tokenizer) for talk in talks]
        return list(batches(examples, padding, most))

    made = ahead(batches_of_step, range(loop.step, steps))

    def loss_of_step(step: int) -> tuple[torch.Tensor, Numbers]:
        total = torch.zeros((), device=device())
        count, right, tokens = torch.zeros((3,), device=device())
        of_heads: list[torch.Tensor] = []
        for batch in map(placed, next(made)):
            with half_precision():
                outputs = model(batch)
            logits = outputs.logits
            losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), batch.targets.flatten(), reduction="none"
            )
            weights = batch.weights.flatten()
            total = total + (losses * weights).sum()
            count = count + weights.sum()
            hits = (logits.argmax(-1) == batch.targets) & (batch.weights > 0)
            right = right + hits.sum()
            tokens = tokens + (weights > 0).sum()
            if len(batch.picture_labels):
                of_heads.append(heads_of(outputs.states, batch))
        loss = total / count
        numbers = {"right": right / tokens}
        if of_heads:
            seen = torch.stack(of_heads).mean()
            loss = loss + _SEEN * seen
            numbers["seen"] = seen
        return loss, numbers

    loop.run(loss_of_step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=steps_of(10_000))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--speech-only",
        action="store_true",
        help="begin with speech and small talk, while the vision tower is still learning",
    )
    parser.add_argument("--start", type=Path, help="a checkpoint that learns on")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    processes.join()
    train(
        arguments.work,
        arguments.steps,
        speech_only=arguments.speech_only,
        start=arguments.start,
    )


if __name__ == "__main__":
    main()
