"""Buffers are given back in one place, which waits for a CPU's stream before it takes a lock."""

from __future__ import annotations

import ast
from pathlib import Path

import mlx.core as mx
import pytest

import gemma4cli
from gemma4cli.engine import freed_buffers
from gemma4cli.engine.freed_buffers import release_buffers

ROOT = Path(gemma4cli.__file__).parent


@pytest.mark.parametrize(("cpu", "steps"), [(True, ["eval", "clear"]), (False, ["clear"])])
def test_a_cpu_ends_its_work_before_buffers_are_freed(
    cpu: bool, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU must not: it would stand still until the next step."""
    seen: list[str] = []
    monkeypatch.setattr(freed_buffers, "on_cpu", lambda: cpu)
    monkeypatch.setattr(mx, "eval", lambda *_: seen.append("eval"))
    monkeypatch.setattr(mx, "clear_cache", lambda: seen.append("clear"))
    release_buffers()
    assert seen == steps


def test_nothing_else_clears_the_cache() -> None:
    callers = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "clear_cache"
    ]
    assert callers == ["engine/freed_buffers.py"]
