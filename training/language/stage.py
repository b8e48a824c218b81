"""The stage that trains the language model and the projectors on the frozen towers' output.

python -m training.language.stage WORK --steps 10000
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
import torch._dynamo

from gemma4cli.processing.tokenizer import Tokenizer

from .. import processes
from .. import tokenizer as tokenizers
from ..architecture import tiny_config
from ..device import device, half_precision, placed
from ..loop import Loop, Schedule
from ..pictures import features as picture_features
from ..seeds import generator
from ..speech import audio_features
from . import heads
from .answers import LanguageModel
from .batches import batches, example
from .initial import add_words, initialise_language_model, project_to_words, rotation
from .sources import Clips, Pictures
from .tasks import Library, conversation

FOLDER = "language"
_CONVERSATIONS = 48
"""How many are learnt from in one step."""
_PEAK = 2e-3
_PREVIOUS_SIZE = 2.0


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


def library(work: Path) -> Library:
    return Library(
        clips=Clips(audio_features.load(work)),
        pictures=Pictures(
            picture_features.load(work / picture_features.PICTURES),
            picture_features.load(work / picture_features.STILLS),
        ),
    )


def train(work: Path, steps: int) -> None:
    torch._dynamo.config.recompile_limit = 64
    tokenizer = tokenizers.load(work)
    known = library(work)
    model = new_model(work, tokenizer)
    padding = tokenizer.control_id("<pad>")
    for layer in model.text.layers:
        layer.compile(dynamic=True)
    loop = Loop(work / FOLDER, {"model": model}, Schedule(steps=steps, peak=_PEAK))

    def loss_of_step(step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        rng = generator("language", "train", step, processes.rank())
        examples = [example(conversation(rng, known), tokenizer) for _ in range(_CONVERSATIONS)]
        total = torch.zeros((), device=device())
        count = right = tokens = 0.0
        for batch in map(placed, batches(examples, padding)):
            with half_precision():
                logits = model(batch)
            losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), batch.targets.flatten(), reduction="none"
            )
            weights = batch.weights.flatten()
            total = total + (losses * weights).sum()
            count += float(weights.sum())
            hits = (logits.argmax(-1) == batch.targets) & (batch.weights > 0)
            right += float(hits.sum())
            tokens += float((weights > 0).sum())
        return total / count, {"right": right / tokens}

    loop.run(loss_of_step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    processes.join()
    train(arguments.work, arguments.steps)


if __name__ == "__main__":
    main()
