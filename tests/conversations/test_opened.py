"""What a conversation keeps of a picture: no more pixels than the model sees."""

from __future__ import annotations

import logging
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from gemma4cli.conversations.opened import OpenedMedium
from gemma4cli.engine.model import LoadedModel
from gemma4cli.media.pictures.images import load_image
from gemma4cli.messages import Source


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    levels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Pillow.fromarray(levels).resize((1500, 1000)).save(path)
    return path


def digests(medium: OpenedMedium, model: LoadedModel, budget: int) -> list[str]:
    prepared = medium.prepared(model.processor, budget)
    return [feature.digest for feature in prepared.features]


def opened(source: Source) -> OpenedMedium:
    return OpenedMedium(load_image(source), source, "What is this?")


def test_a_photo_is_not_kept_at_its_own_size(tiny: LoadedModel, photo: Path) -> None:
    source = Source.of(photo)
    image = load_image(source)
    pixels = weakref.ref(image.pixels)
    medium = OpenedMedium(image, source, "What is this?")
    medium.prepared(tiny.processor, 70)
    del image
    assert pixels() is None


@pytest.mark.parametrize("as_bytes", [False, True])
def test_another_budget_sees_what_a_new_conversation_would(
    tiny: LoadedModel, photo: Path, as_bytes: bool
) -> None:
    source = Source.of(photo.read_bytes() if as_bytes else photo)
    medium = opened(source)
    for budget in (70, 280, 70):
        assert digests(medium, tiny, budget) == digests(opened(source), tiny, budget)


@pytest.mark.parametrize("change", ["removed", "replaced", "a pipe"])
def test_a_photo_whose_file_has_changed_stays_in_the_conversation(
    tiny: LoadedModel, photo: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    medium = opened(Source.of(photo))
    first = digests(medium, tiny, 70)
    photo.unlink()
    if change == "replaced":
        Pillow.new("RGB", (900, 900)).save(photo)
    elif change == "a pipe":  # opening it would wait for a writer
        os.mkfifo(photo)
    with caplog.at_level(logging.WARNING):
        prepared = medium.prepared(tiny.processor, 140)
        assert digests(medium, tiny, 70) == first
    assert prepared.budget == 140
    assert f"{photo}: cannot be opened again" in caplog.text


def test_a_small_picture_is_kept_as_it_is(tiny: LoadedModel, tmp_path: Path) -> None:
    """What the model sees of it has more pixels."""
    path = tmp_path / "small.png"
    Pillow.new("RGB", (30, 20), "red").save(path)
    medium, source = opened(Source.of(path)), Source.of(path)
    digests(medium, tiny, 70)
    again = opened(source)
    path.unlink()
    assert digests(medium, tiny, 280) == digests(again, tiny, 280)
