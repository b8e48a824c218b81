"""Which processes share cores, by what each says of its place."""

from __future__ import annotations

import os

import pytest

from gemma4cli.distributed import place as module
from gemma4cli.distributed.place import on_one_machine, place, sharing


def at(monkeypatch: pytest.MonkeyPatch, cores: set[int]) -> list[int]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores, raising=False)
    return place()


def test_processes_that_may_use_the_same_cores_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    free, other = at(monkeypatch, {0, 1}), at(monkeypatch, {1, 500})
    bound = at(monkeypatch, {500})
    assert sharing(free, [free, other, bound]) == 2
    assert sharing(other, [free, other, bound]) == 3
    assert sharing(bound, [free, bound]) == 1
    assert all(0 <= number < 2**31 for number in (*free, *other))


def test_other_machines_have_cores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    here = place()
    monkeypatch.setattr(module, "_BOOT", module._BOOT.with_name("uuid"))  # another at each reading
    assert sharing(here, [here, place()]) == 1


def test_without_masks_all_processes_of_a_machine_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert sharing(place(), [place(), place(), place()]) == 3


def test_all_are_on_one_machine_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    here = place()
    assert on_one_machine([here, place()])
    monkeypatch.setattr(module, "_BOOT", module._BOOT.with_name("uuid"))
    assert not on_one_machine([here, place()])
