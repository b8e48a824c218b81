"""Buffers are given back in one place, which waits for no thread while it has Python's lock."""

from __future__ import annotations

import ast
from pathlib import Path
from threading import Thread

import mlx.core as mx
import pytest

import gemma4cli
from gemma4cli.engine.freed_buffers import release_buffers
from gemma4cli.machine.backend import on_cpu
from gemma4cli.machine.streams import end_streams
from gemma4cli.native.extension import extension

ROOT = Path(gemma4cli.__file__).parent


def test_buffers_are_freed_while_other_threads_compute_with_the_native_part() -> None:
    """Their streams drop objects of Python, and MLX waits for all streams."""
    module = extension().module
    if module is None or not on_cpu():
        pytest.skip("the native part is not in use")

    def compute() -> None:
        try:
            x = mx.ones((64, 256))
            mx.eval(x)
            recording = module.Recording([x], [module.softcap(x, 30.0)])
            for _ in range(1000):
                mx.async_eval(recording([x]))
        finally:
            end_streams()

    threads = [Thread(target=compute, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        release_buffers()


def test_nothing_else_clears_the_cache() -> None:
    callers = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "clear_cache"
    ]
    assert callers == ["engine/freed_buffers.py"]
