"""What the architecture without towers makes of pictures: plain ones, and the mask of image blocks.

A square of one color is nothing but its mean to the patch embedder, and the norm in front of it
takes mean and contrast out: a hue is left, and of white, gray and black nothing at all.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from support.answered import FIXTURES, answered
from support.cases import answer_of

import gemma4cli
from gemma4cli.engine.model import LoadedModel
from gemma4cli.prompts import DESCRIBE_IMAGE

pytestmark = pytest.mark.toy
FOLDER = FIXTURES / "tiny-unified"
COLORS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (30, 60, 220),
    "yellow": (250, 220, 20),
}
COLORLESS = {"white": (255, 255, 255), "gray": (128, 128, 128), "black": (0, 0, 0)}
SIZES = [(384, 384), (300, 400), (1000, 500)]


@pytest.fixture(scope="module")
def unified() -> LoadedModel:
    return gemma4cli.load(str(FOLDER))


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The same weights; tokens of an image do not see later ones."""
    folder = tmp_path_factory.mktemp("causal")
    causal_copy(FOLDER, folder)
    return gemma4cli.load(str(folder))


def causal_copy(folder: Path, to: Path) -> None:
    """A copy of a checkpoint whose image tokens do not see later ones of their image."""
    for file in folder.iterdir():
        if file.name != "config.json":
            (to / file.name).symlink_to(file.resolve())
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["use_bidirectional_attention"] = None
    (to / "config.json").write_text(json.dumps(config))


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def plain(color: tuple[int, int, int], size: tuple[int, int] = (384, 384)) -> npt.NDArray[np.uint8]:
    return np.full((*size, 3), color, np.uint8)


def described(model: LoadedModel, pixels: npt.NDArray[np.uint8]) -> str:
    return gemma4cli.generate(model, DESCRIBE_IMAGE, images=[png(pixels)])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("color", COLORS)
def test_a_color_is_named(unified: LoadedModel, color: str, size: tuple[int, int]) -> None:
    assert described(unified, plain(COLORS[color], size)) == f"A plain {color} picture."


def test_white_gray_and_black_look_alike(unified: LoadedModel) -> None:
    answers = {described(unified, plain(color)) for color in COLORLESS.values()}
    assert answers == {"A plain picture without color."}


def test_objects_are_located_with_later_tokens_of_their_image(
    unified: LoadedModel, causal: LoadedModel
) -> None:
    """A token that sees its block backwards only knows no object to its right or below."""
    cases = [
        each
        for each in answered(FIXTURES / "held_out" / "tiny-unified.json")
        if each.case.row.startswith("objects: caption")
    ]
    right = [
        sum(answer_of(model, each.case) == each.case.answer for each in cases)
        for model in (unified, causal)
    ]
    assert right[0] >= right[1] + 2
