"""Gemma 4's tokenizer, and the small one of the built-in model."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
import tokenizers

from gemma4cli.processing.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "fixtures" / "tokenizer"
TINY = ROOT / "gemma4cli" / "builtin" / "tiny" / "tokenizer.json"


@pytest.fixture(scope="session")
def gemma() -> Tokenizer:
    """The tokenizer of all Gemma 4 checkpoints; takes 2 s to load."""
    data = lzma.decompress((FOLDER / "gemma4.tokenizer.json.xz").read_bytes())
    return Tokenizer.from_bytes(data, "gemma4")


@pytest.fixture(scope="session")
def tiny() -> Tokenizer:
    """1,272 tokens; the control tokens have Gemma 4's names and other ids."""
    return Tokenizer.from_file(TINY)


@pytest.fixture(scope="session")
def rendered_ids() -> tokenizers.Tokenizer:
    """The small tokenizer as the reference uses it, with control tokens parsed from text."""
    return tokenizers.Tokenizer.from_file(str(TINY))
