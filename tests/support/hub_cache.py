"""Folders as huggingface_hub's cache has them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def cached(cache: Path, repo: str, content: Path | None = None) -> Path:
    """The snapshot of a repository in a cache, new: empty, or with a copy of ``content``."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / "0123abcd"
    if content is None:
        snapshot.mkdir(parents=True)
    else:
        shutil.copytree(content, snapshot)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(snapshot.name)
    return snapshot


def cached_files(cache: Path, repo: str, *, kind: str = "gemma4", size: int = 10) -> Path:
    """``cached`` with files named like a model's; its weights are ``size`` bytes of zeros."""
    snapshot = cached(cache, repo)
    (snapshot / "config.json").write_text(json.dumps({"model_type": kind}))
    (snapshot / "tokenizer.json").write_text("{}")
    with (snapshot / "model.safetensors").open("wb") as file:
        file.truncate(size)
    return snapshot
