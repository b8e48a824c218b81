"""Fixtures of the tests about the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fake_hub import set_constants


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of huggingface_hub's cache, empty."""
    folder = tmp_path / "hub"
    folder.mkdir()
    set_constants(monkeypatch, HF_HUB_CACHE=str(folder))
    return folder
