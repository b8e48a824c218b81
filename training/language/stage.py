"""The stage that trains the language model and the projectors on the frozen towers' output.

python -m training.language.stage WORK
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
import torch._dynamo

from gemma4cli.processing.tokenizer import Tokenizer

from .. import processes
from .. import tokenizer as tokenizers
from ..ahead import ahead
from ..amounts import RECIPE
from ..architecture import tiny_config
from ..device import at_once, compile_layers, device, half_precision, placed, steps_of
from ..loop import Loop, Numbers, Schedule
from ..muon import matrices_of
from ..pictures import features as picture_features
from ..seeds import generator
from ..speech import audio_features
from ..start import start_from
from . import heads
from .answers import Batch, LanguageModel
from .batches import batches, example
from .conversations import Library
from .hearing import transcribe
from .initial import add_words, initialise_language_model, project_to_words, rotation
from .middle import Helpers, looking_loss
from .sources import Clips, Pictures
from .tasks import SHARES, WITHOUT_PICTURES, Shares, conversation, with_transcripts

FOLDER = "language"
_CONVERSATIONS = 24
"""How many are learnt from in one step, by all processes together."""
_POSITIONS = 8192
"""The most of a batch, of which a step may have several."""
_PEAK = 2e-3
_PREVIOUS_SIZE = 2.0
_HELPERS_FIRST = 150
"""Steps in which only the helpers learn, where the model comes from a checkpoint."""
_BESIDE = {"seen": 0.1, "heard": 0.1, "number": 0.1, "looking": 0.3}
"""The weights of what the middle layers should know of pictures and of words that are heard, and of
where the last layers should look for what they tell."""


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
    """The parts of a checkpoint that this stage trains; ``tokenizer`` is the checkpoint's."""
    model = LanguageModel(tiny_config(tokenizer.vocab_size))
    start_from(model.text, checkpoint, "model.language_model.")
    start_from(model.pictures, checkpoint, "model.embed_vision.")
    start_from(model.sounds, checkpoint, "model.embed_audio.")
    return model


def library(work: Path, *, pictures: bool) -> Library:
    seen, stills = (
        picture_features.load(work / folder) if pictures else []
        for folder in (picture_features.PICTURES, picture_features.STILLS)
    )
    return Library(clips=Clips(audio_features.load(work)), pictures=Pictures(seen, stills))


def train(work: Path, steps: int, shares: Shares, *, start: Path | None = None) -> None:
    torch._dynamo.config.recompile_limit = 64
    tokenizer = tokenizers.load(work, start)
    known = library(work, pictures=not shares.keys() <= WITHOUT_PICTURES.keys())
    model = new_model(work, tokenizer) if start is None else model_of(start, tokenizer)
    helpers = Helpers(model.text.config.hidden_size)
    padding = tokenizer.control_id("<pad>")
    share = at_once(_CONVERSATIONS) // processes.count()
    most = at_once(_POSITIONS)

    def batches_of_step(use: str, step: int) -> list[Batch]:
        rng = generator("language", use, step, processes.rank())
        talks = [conversation(rng, known, shares) for _ in range(share)]
        examples = [example(talk, tokenizer) for talk in talks]
        return list(batches(examples, padding, most))

    if start is not None:
        # New helpers know nothing yet, and would lead a model that does astray.
        model.to(device())
        lessons = Schedule(steps=steps_of(_HELPERS_FIRST), peak=_PEAK, warmup=10)
        first = Loop(work / FOLDER / "helpers", {"helpers": helpers}, lessons)
        made = ahead(partial(batches_of_step, "helpers"), range(first.step, lessons.steps))
        first.run(lambda _: helpers_loss(model, helpers, next(made)))

    compile_layers(model.text.layers)
    schedule = Schedule(steps=steps, peak=_PEAK)
    loop = Loop(
        work / FOLDER,
        {"model": model, "helpers": helpers},
        schedule if start is None else schedule.learning_on(),
        matrices=matrices_of(model.text.layers),
    )
    made = ahead(partial(batches_of_step, "train"), range(loop.step, steps))
    loop.run(lambda _: loss_of(model, helpers, next(made)))


def helpers_loss(
    model: LanguageModel, helpers: Helpers, parts: list[Batch]
) -> tuple[torch.Tensor, Numbers]:
    """What the helpers do not know of what the model, which stays as it is, makes of a step."""
    beside = _Means()
    for batch in map(placed, parts):
        with torch.no_grad(), half_precision():
            states = model(batch).states
        beside.add(helpers(states, batch))
    numbers = beside.means()
    return torch.stack(list(numbers.values())).sum(), numbers


def loss_of(
    model: LanguageModel, helpers: Helpers, parts: list[Batch]
) -> tuple[torch.Tensor, Numbers]:
    """The loss of all answers of a step, and of what is taught besides."""
    total = torch.zeros((), device=device())
    count, right, tokens = torch.zeros((3,), device=device())
    beside = _Means()
    for batch in map(placed, parts):
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
        beside.add(helpers(outputs.states, batch))
        if len(batch.lookers[0]):
            beside.add({"looking": looking_loss(outputs.looks, batch)})
    loss = total / count
    numbers = beside.means()
    for name, mean in numbers.items():
        loss = loss + _BESIDE[name] * mean
    return loss, {"right": right / tokens} | numbers


class _Means:
    """Losses of several batches, by name."""

    def __init__(self) -> None:
        self._losses: dict[str, list[torch.Tensor]] = {}

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        for name, loss in losses.items():
            self._losses.setdefault(name, []).append(loss)

    def means(self) -> dict[str, torch.Tensor]:
        return {name: torch.stack(losses).mean() for name, losses in self._losses.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=steps_of(RECIPE.language))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--speech-only",
        action="store_true",
        help="begin with speech and small talk, while the vision tower is still learning",
    )
    parser.add_argument(
        "--transcripts",
        type=float,
        default=SHARES[transcribe],
        help="the part of the conversations that are transcripts",
    )
    parser.add_argument("--start", type=Path, help="a checkpoint that learns on")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    processes.join()
    shares = WITHOUT_PICTURES if arguments.speech_only else with_transcripts(arguments.transcripts)
    train(arguments.work, arguments.steps, shares, start=arguments.start)


if __name__ == "__main__":
    main()
