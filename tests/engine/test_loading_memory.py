"""What loading a model leaves behind in memory."""

from __future__ import annotations

import pytest

from gemma4cli.api import load
from gemma4cli.engine import loading
from gemma4cli.processing.tokenizer import Tokenizer


def test_what_reading_a_vocabulary_took_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    from_file = Tokenizer.from_file
    monkeypatch.setattr(
        Tokenizer, "from_file", lambda path: (steps.append("read"), from_file(path))[1]
    )
    monkeypatch.setattr(loading, "give_back_memory", lambda: steps.append("given back"))
    load("tiny")
    assert steps == ["read", "given back"]
