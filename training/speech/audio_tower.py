"""Stage "audio tower": it learns to hear before any language model reads it.

Phonemes are spelled halfway and words on the output, both by CTC. Every token on which a word
appears also learns to say which word came before it: a decoder that copies words in order finds the
next one by the one it has just written.

``python -m training.speech.audio_tower WORK`` trains on the clips of ``training.speech.shards``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.gemma4.modeling_gemma4 import Gemma4AudioModel, Gemma4ClippableLinear

from training.amounts import CLIPS_PER_SHARD, RECIPE
from training.architecture import audio_config
from training.device import half_precision, placed
from training.loop import Loop, Schedule, trained
from training.muon import matrices_of
from training.seeds import generator
from training.start import heads_from, progress, start_from
from training.word_errors import word_errors
from training.words.sentence import word_alphabet

from .batches import Batch, TrainingBatches, by_length, collated, masked_in_places
from .channels_last import use_channels_last
from .initial_audio import initialise_audio_tower
from .shards import HELD_OUT_COUNTS, StoredClip, read_shard
from .targets import BLANK, PHONEMES

FOLDER = "audio_tower"
HEADS = ("phonemes", "words", "previous")
PHONEME_LAYER = 2
WATCHED_CLIPS = 60
PREVIOUS_WEIGHT = 0.2
_PHONEMES_UNTIL = 0.3
"""The part of the steps after which words have their full weight."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """Log-probabilities ``[B, T, letters]`` of phonemes, of words and of the word before."""

    phonemes: torch.Tensor
    words: torch.Tensor
    previous: torch.Tensor


class Speller(nn.Module):
    """The audio tower and the linear heads that are thrown away after its training."""

    def __init__(self, tower: Gemma4AudioModel) -> None:
        super().__init__()
        letters = len(word_alphabet()) + 1
        self.tower = tower
        self.phonemes = nn.Linear(tower.config.hidden_size, len(PHONEMES) + 1)
        self.words = nn.Linear(tower.config.output_proj_dims, letters)
        self.previous = nn.Linear(tower.config.output_proj_dims, letters)

    def forward(self, features: torch.Tensor, mask: torch.Tensor) -> Spelling:
        halfway: list[torch.Tensor] = []
        hook = self.tower.layers[PHONEME_LAYER - 1].register_forward_hook(
            lambda _module, _inputs, output: halfway.append(output)
        )
        with half_precision():
            output = self.tower(features, attention_mask=mask).last_hidden_state
            spelled = (
                self.phonemes(halfway[0]),
                self.words(output),
                self.previous(output),
            )
        hook.remove()
        return Spelling(*(F.log_softmax(logits.float(), -1) for logits in spelled))


def new_speller() -> Speller:
    seed = int(generator("audio tower", "weights").integers(2**31))
    torch.manual_seed(seed)
    tower = Gemma4AudioModel(audio_config())
    initialise_audio_tower(tower, torch.Generator().manual_seed(seed))
    use_channels_last(tower)
    for module in tower.modules():
        if isinstance(module, Gemma4ClippableLinear):
            # The bounds are open until training is over; not to look costs a sixth less.
            module.use_clipped_linears = False
    return Speller(tower)


def loss_of(
    spelled: Spelling, batch: Batch, progress: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """``progress`` 0-1: phonemes lead at first, then words, at last the words before."""
    phonemes = _ctc(spelled.phonemes, batch.phonemes, batch.phoneme_lengths, batch)
    words = _ctc(spelled.words, batch.words, batch.word_lengths, batch)
    turned = min(1.0, progress / _PHONEMES_UNTIL)
    loss = (1.0 - 0.7 * turned) * phonemes + (0.4 + 0.6 * turned) * words
    numbers = {"phonemes": phonemes.item(), "words": words.item()}
    if progress >= _PHONEMES_UNTIL:
        previous, right = _previous_word(spelled, batch)
        loss = loss + PREVIOUS_WEIGHT * previous
        numbers |= {"previous": previous.item(), "previous right": right}
    return loss, numbers


def _ctc(
    log_probabilities: torch.Tensor, targets: torch.Tensor, lengths: torch.Tensor, batch: Batch
) -> torch.Tensor:
    """Per letter of the batch: a mean per clip would be ruled by the few clips without words."""
    total = F.ctc_loss(
        log_probabilities.transpose(0, 1),
        targets,
        batch.token_lengths,
        lengths,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return total / max(1, int(lengths.sum()))


def first_tokens(words: torch.Tensor, length: int) -> torch.Tensor:
    """Where the greedy path ``words`` ``[T, letters]`` starts a word, as positions."""
    path = words[:length].argmax(-1)
    before = F.pad(path[:-1], (1, 0), value=BLANK)
    return torch.nonzero((path != BLANK) & (path != before)).flatten()


def words_read(words: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The words of the greedy path ``words`` ``[T, letters]``: where each starts, and its id."""
    tokens = first_tokens(words, length)
    return tokens, words[tokens].argmax(-1)


def _previous_word(spelled: Spelling, batch: Batch) -> tuple[torch.Tensor, float]:
    """Of the clips whose words are right; nothing (the blank) comes before the first word."""
    losses, right, start = [], [], 0
    for row, length in enumerate(batch.word_lengths.tolist()):
        target = batch.words[start : start + length]
        start += length
        tokens, heard = words_read(spelled.words[row], int(batch.token_lengths[row]))
        if length == 0 or not torch.equal(heard, target):
            continue
        before = F.pad(target[:-1], (1, 0), value=BLANK)
        said = spelled.previous[row, tokens]
        losses.append(F.nll_loss(said, before, reduction="none"))
        right.append(said.argmax(-1) == before)
    if not losses:
        return spelled.previous.sum() * 0.0, 0.0
    return torch.cat(losses).mean(), torch.cat(right).float().mean().item()


@torch.no_grad()
def errors_in(speller: Speller, clips: list[StoredClip]) -> tuple[int, int, int]:
    """Wrong words, words that were said, and clips without any error; greedy CTC."""
    wrong = said = exact = 0
    for indices in by_length([len(clip.mel) for clip in clips]):
        group = [clips[index] for index in indices]
        batch = placed(collated(group))
        spelled = speller(batch.features, batch.mask)
        for row, clip in enumerate(group):
            _, heard = words_read(spelled.words[row], int(batch.token_lengths[row]))
            errors = word_errors(heard.tolist(), clip.words.tolist())
            wrong, said, exact = wrong + errors, said + len(clip.words), exact + (errors == 0)
    return wrong, said, exact


def report(speller: Speller, held_out: Mapping[str, list[StoredClip]]) -> dict[str, float]:
    """Word error rates by set; of the clips without words the words heard per clip."""
    rates = {}
    for name, clips in held_out.items():
        wrong, said, _ = errors_in(speller, clips)
        rates[f"wer {name}"] = wrong / (said or len(clips))
    return rates


def head_rows(work: Path, head: str) -> torch.Tensor:
    """The weights ``[words, width]`` of the head "words" or "previous", as the alphabet goes."""
    return trained(work / FOLDER, head)["weight"][BLANK + 1 :]


def train(
    work: Path,
    steps: int,
    shards: int,
    *,
    start: Path | None = None,
    kept_heads: Path | None = None,
    watch_every: int = 400,
) -> None:
    speller = new_speller()
    if start is not None:
        start_from(speller.tower, start, "model.audio_tower.")
    heads = {name: speller.get_submodule(name) for name in HEADS}
    if kept_heads is not None:
        heads_from(heads, kept_heads, FOLDER)
    schedule = Schedule(steps=steps, peak=1.5e-3, warmup=150, decay_from=0.6)
    loop = Loop(
        work / FOLDER,
        {"tower": speller.tower, **heads},
        schedule if start is None else schedule.learning_on(),
        matrices=matrices_of(speller.tower.layers),
    )
    # A tower that learns on knows its phonemes.
    learnt = 0.0 if start is None else _PHONEMES_UNTIL
    batches = TrainingBatches(work, shards)
    held_out = {name: read_shard(work, name, 0)[:WATCHED_CLIPS] for name in HELD_OUT_COUNTS}

    def loss_of_step(step: int) -> tuple[torch.Tensor, Mapping[str, float]]:
        batch = placed(collated(batches.clips(step)))
        features = masked_in_places(batch, generator("audio tower", "masks", step))
        spelled = speller(features, batch.mask)
        loss, numbers = loss_of(spelled, batch, progress(step, steps, learnt))
        if (step + 1) % watch_every == 0:
            numbers |= report(speller, held_out)
        return loss, numbers

    loop.run(loss_of_step)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the audio tower.")
    parser.add_argument("work", type=Path, help="folder for working data")
    parser.add_argument("--steps", type=int, default=RECIPE.audio_tower)
    parser.add_argument("--clips", type=int, default=RECIPE.clips, help="clips of the training set")
    parser.add_argument("--start", type=Path, help="a checkpoint whose tower learns on")
    parser.add_argument("--heads", type=Path, help="that tower's heads, by training.kept_heads")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train(
        arguments.work,
        arguments.steps,
        arguments.clips // CLIPS_PER_SHARD,
        start=arguments.start,
        kept_heads=arguments.heads,
    )


if __name__ == "__main__":
    main()
