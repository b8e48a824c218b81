"""A Xet storage that says what is not so of a file: one error, and nothing gets the file's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import fake_hub
from support.fake_hub import FakeHub, running, set_constants

from gemma4cli.errors import DownloadError
from gemma4cli.hub import transfer
from gemma4cli.hub.catalog import BUILTIN
from gemma4cli.hub.download import fetch, plan

REPO = "someone/gemma"
WEIGHTS = bytes(range(256)) * 200


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub that offers its weights by Xet."""
    with running(monkeypatch, tmp_path / "hub") as fake:
        set_constants(monkeypatch, HF_HUB_DISABLE_XET=False)
        monkeypatch.setattr(transfer, "pause", lambda seconds: None)
        monkeypatch.setattr(transfer, "_XET_SECONDS", 2.0)
        fake.xet = True
        fake.repos[REPO] = {
            "config.json": (BUILTIN["tiny"] / "config.json").read_bytes(),
            "model.safetensors": WEIGHTS,
        }
        yield fake


def infos(answer: dict[str, Any]) -> list[dict[str, Any]]:
    (found,) = answer["fetch_info"].values()
    return list(found)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no terms": lambda it: it.update(terms=[]),
    "terms null": lambda it: it.update(terms=None),
    "half of the terms": lambda it: it.update(terms=it["terms"][::2]),
    "terms twice": lambda it: it.update(terms=it["terms"] * 2),
    "terms in another order": lambda it: it["terms"].reverse(),
    "an offset": lambda it: it.update(offset_into_first_range=500),
    "a huge offset": lambda it: it.update(offset_into_first_range=2**63),
    "a negative offset": lambda it: it.update(offset_into_first_range=-1),
    "a huge length": lambda it: it["terms"][0].update(unpacked_length=2**32 - 1),
    "no length": lambda it: it["terms"][0].update(unpacked_length=0),
    "a range backward": lambda it: it["terms"][0].update(range={"start": 4, "end": 0}),
    "a range past the end": lambda it: it["terms"][0].update(range={"start": 0, "end": 2**32 - 1}),
    "bytes past the end": lambda it: infos(it)[0].update(url_range={"start": 0, "end": 2**62}),
    "bytes backward": lambda it: infos(it)[0].update(url_range={"start": 99, "end": 0}),
    "no places": lambda it: it.update(fetch_info={}),
    "another host": lambda it: infos(it)[0].update(url="http://127.0.0.1:1/x"),
    "a file as a place": lambda it: infos(it)[0].update(url="file:///etc/passwd"),
    "no address": lambda it: infos(it)[0].update(url="x"),
    "a wrong hash": lambda it: it["terms"][0].update(hash="../../x"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_reconstruction_that_is_wrong(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
) -> None:
    plain = fake_hub._reconstruction

    def changed(*args: Any) -> dict[str, Any]:
        answer = plain(*args)
        CHANGES[change](answer)
        return answer

    monkeypatch.setattr(fake_hub, "_reconstruction", changed)
    with pytest.raises(DownloadError) as caught:
        fetch(plan(REPO), lambda done: None)
    assert "\n" not in str(caught.value)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(sizes) < 10 * len(WEIGHTS)
    assert not list(tmp_path.rglob("model.safetensors"))
