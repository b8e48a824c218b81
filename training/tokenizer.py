"""The tokenizer: byte-pair encoding as Gemma 4 has it, learnt from all that the model will say.

python -m training.tokenizer WORK
python -m training.tokenizer WORK --start CHECKPOINT
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from gemma4cli import prompts
from gemma4cli.processing.tokenizer import Tokenizer

from .language import small_talk
from .pictures.captions import caption
from .pictures.questions import questions
from .pictures.scenes import picture
from .seeds import generator
from .special_tokens import SPECIAL_TOKENS
from .words.sentence import LANGUAGES, sentence, spoken_words

VOCABULARY = 2048
FILE = "tokenizer/tokenizer.json"
CHECKPOINT_FILE = "tokenizer.json"
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_CHARACTERS = tuple(chr(code) for code in range(33, 127)) + tuple("äöüÄÖÜßéèñ▁\n")
_SENTENCES = 20_000
_PICTURES = 3_000
_REPEATED_WORDS = 40
_REPEATED_PROMPTS = 300
_REPEATED_TALK = 25


def texts() -> Iterator[str]:
    """What the merges are learnt from; texts that matter more come more often."""
    rng = generator("tokenizer")
    for language in LANGUAGES:
        for _ in range(_SENTENCES):
            yield sentence(rng, language).written
        for word in spoken_words(language):
            yield from [f" {word}"] * _REPEATED_WORDS
    for _ in range(_PICTURES):
        seen = picture(rng)
        if not seen.lettering:
            yield caption(seen)
            for question in questions(seen, rng, 4):
                yield f"{question.text} {question.answer}"
    asked = [
        prompts.DESCRIBE_IMAGE,
        prompts.DESCRIBE_IMAGES,
        prompts.DESCRIBE_VIDEO,
        prompts.transcription(),
        prompts.transcription("English"),
        prompts.transcription("German"),
        prompts.translation("German", "English"),
        prompts.translation(None, "English"),
        "user\nmodel\nsystem\nthought\n",
        "The first image shows. The second image shows.",
        "At 00:00 a. At 00:03 the. When does the star appear? How many scenes are there?",
    ]
    for _ in range(_REPEATED_PROMPTS):
        yield from asked
    for topic in small_talk.TOPICS:
        for _ in range(_REPEATED_TALK):
            yield from topic.questions
            yield from [topic.answer] * 4
    for _ in range(40 * _REPEATED_TALK):
        yield " ".join(small_talk.anything_else(rng))


def train() -> Backend:
    """Merges within words only, digits and capital letters of a word of their own alone."""
    backend = Backend(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    alone = pre_tokenizers.Split(Regex(r"[0-9]|\n|▁?[^\W\d_▁]+|[^\w▁]|[_▁]"), behavior="isolated")
    backend.pre_tokenizer = alone
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[*SPECIAL_TOKENS, *_BYTES],
        initial_alphabet=list(_CHARACTERS),
        show_progress=False,
    )
    backend.train_from_iterator(texts(), trainer)
    return backend


def gemma_like(trained: Backend) -> Backend:
    """The same merges in the shape of Gemma 4's file: no split in use, bytes as plain tokens."""
    vocabulary = trained.get_vocab()
    merges = _merges(trained)
    backend = Backend(
        models.BPE(
            vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS]
    )
    return backend


def _merges(trained: Backend) -> list[tuple[str, str]]:
    pairs = json.loads(trained.to_str())["model"]["merges"]
    return [(left, right) for left, right in pairs]


def load(work: Path, start: Path | None = None) -> Tokenizer:
    """The tokenizer of WORK.

    Raises ValueError if ``start``, a checkpoint that learns on, has another one: its embeddings
    would stand for other tokens, and it would first have to learn all words anew.
    """
    tokenizer = Tokenizer.from_file(work / FILE)
    if start is not None:
        other = Tokenizer.from_file(start / CHECKPOINT_FILE)
        if other.serialized() != tokenizer.serialized():
            raise ValueError(f"{work / FILE} is not the tokenizer of {start}, which learns on")
    return tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--start", type=Path, help="a checkpoint that learns on: take its own")
    arguments = parser.parse_args()
    start: Path | None = arguments.start
    backend = (
        gemma_like(train()) if start is None else Backend.from_file(str(start / CHECKPOINT_FILE))
    )
    path: Path = arguments.work / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    backend.save(str(partial))
    os.replace(partial, path)


if __name__ == "__main__":
    main()
