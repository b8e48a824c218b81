"""The memory that the C library manages."""

from __future__ import annotations

import ctypes

import pytest

from gemma4cli.machine.heap import give_back_memory, share_one_heap


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    give_back_memory()
    share_one_heap()
