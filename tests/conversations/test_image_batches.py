"""One question about each of many images: batches change nothing but the time it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from gemma4cli import api
from gemma4cli.conversations.image_batches import ImageEvent, ImageFailed
from gemma4cli.engine import local
from gemma4cli.engine.answering import BatchEvent, Prompt
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.seeds import seed_of
from gemma4cli.errors import Gemma4Error, MediaDecodeError, NonFiniteError
from gemma4cli.events import Finished, PicturesDecoded
from gemma4cli.messages import Media, Source
from gemma4cli.options import GenerateOptions, MediaOptions

SIZES = ((64, 64), (96, 48), (64, 64), (48, 200), (200, 200))
GREEDY = GenerateOptions(max_tokens=6, temperature=0)
SAMPLED = GenerateOptions(max_tokens=6, temperature=3, top_k=0, top_p=1, seed=7)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Of several grids, some of them the same."""
    rng = np.random.default_rng(0)
    paths = []
    for number, size in enumerate(SIZES):
        path = tmp_path / f"{number}.png"
        Pillow.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
        paths.append(path)
    return paths


def outcomes(
    model: LoadedModel, images: Sequence[Media], options: GenerateOptions, **more: Any
) -> dict[int, tuple[int, ...] | Gemma4Error]:
    """The tokens of each answer, or what went wrong."""
    found: dict[int, tuple[int, ...] | Gemma4Error] = {}
    for each in api.stream_each(model, "What?", images, options=options, **more):
        if isinstance(each, ImageFailed):
            found[each.image] = each.error
        elif isinstance(each.event, Finished):
            found[each.image] = each.event.token_ids
    return found


@pytest.mark.parametrize("options", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_answers_do_not_depend_on_the_batch(
    tiny: LoadedModel, images: list[Path], options: GenerateOptions
) -> None:
    alone = outcomes(tiny, images, options, batch=1)
    assert sorted(alone) == list(range(len(images)))
    for batch in (2, 5, None):
        assert outcomes(tiny, images, options, batch=batch) == alone


def test_equal_images_draw_for_themselves(tiny: LoadedModel, images: list[Path]) -> None:
    answers = outcomes(tiny, [images[0]] * 3, SAMPLED, batch=3)
    assert len(set(answers.values())) == 3


def test_seeds_of_neighbors_have_nothing_in_common() -> None:
    assert seed_of(None, 3) is None
    assert seed_of(5, 0) == 5
    seeds = {seed_of(seed, number) for seed in range(20) for number in range(1, 20)}
    assert len(seeds) == 20 * 19
    assert all(0 <= seed < 1 << 64 for seed in seeds if seed is not None)


def test_bad_image_leaves_the_others_alone(
    tiny: LoadedModel, images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_text("no image")
    expected = outcomes(tiny, images[:2], GREEDY, batch=1)
    given = [images[0], tmp_path / "bad.png", images[1]]
    found = outcomes(tiny, given, GREEDY, batch=3)
    assert isinstance(found[1], MediaDecodeError)
    assert (found[0], found[2]) == (expected[0], expected[1])


def test_at_most_one_batch_of_images_is_open_and_a_few_ahead(
    tiny: LoadedModel, images: list[Path]
) -> None:
    asked: list[str] = []

    def opened(image: Media) -> Source:
        asked.append(str(image))
        return Source.of(image)

    options = GenerateOptions(max_tokens=1, temperature=0)
    when: list[int] = []
    many = images * 8
    for each in api.stream_each(tiny, "?", many, options=options, batch=2, opened=opened):
        if isinstance(each, ImageEvent) and isinstance(each.event, Finished):
            when.append(len(asked))
    begun = [2 + answered // 2 * 2 for answered in range(len(many))]
    assert all(least <= found <= least + 2 * 4 for least, found in zip(begun, when, strict=True))


def test_pictures_that_wait_are_no_larger_than_the_model_sees_them(
    tiny: LoadedModel, tmp_path: Path
) -> None:
    for number in range(3):
        Pillow.new("RGB", (2000, 1500), "red").save(tmp_path / f"{number}.png")
    names = [str(tmp_path / f"{number}.png") for number in range(3)]
    seen = [
        picture.pixels.shape
        for each in api.stream_each(tiny, "?", names, options=GREEDY, batch=2)
        if isinstance(each, ImageEvent) and isinstance(each.event, PicturesDecoded)
        for picture in each.event.pictures
    ]
    assert len(seen) == 3
    assert all(height < 1500 and width < 2000 for height, width, _ in seen)


def test_a_row_with_nan_fails_alone(
    tiny: LoadedModel, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = GenerateOptions(max_tokens=1, temperature=0)
    stream_batch = local.stream_batch

    def failing(model: LoadedModel, prompts: Sequence[Prompt]) -> Iterator[tuple[int, BatchEvent]]:
        if any(prompt.inputs.budgets == (140,) for prompt in prompts):
            raise NonFiniteError("decoding")
        yield from stream_batch(model, prompts)

    monkeypatch.setattr(local, "stream_batch", failing)
    media = MediaOptions(budget="auto")
    large = images[0].with_name("large.png")
    Pillow.new("RGB", (500, 500)).save(large)
    found = outcomes(tiny, [images[0], large, images[1]], options, batch=3, media=media)
    assert isinstance(found[1], NonFiniteError)
    assert isinstance(found[0], tuple) and isinstance(found[2], tuple)


def test_each_image_reports_its_budget(tiny: LoadedModel, images: list[Path]) -> None:
    """Whoever chose it, and however the images are answered."""
    large = images[0].with_name("large.png")
    Pillow.new("RGB", (500, 500)).save(large)
    options = GenerateOptions(max_tokens=1, temperature=0)

    def budgets(media: MediaOptions, batch: int) -> list[tuple[int, ...]]:
        events = api.stream_each(
            tiny, "Who?", [images[0], large], options=options, media=media, batch=batch
        )
        return [
            each.event.budgets
            for each in events
            if isinstance(each, ImageEvent) and isinstance(each.event, Finished)
        ]

    own = tiny.processor.config.vision.image_budget
    for batch in (1, 2):
        assert set(budgets(MediaOptions(budget="auto"), batch)) == {(70,), (140,)}
        assert budgets(MediaOptions(), batch) == [(own,), (own,)]
