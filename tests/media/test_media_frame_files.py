"""Frames of a clip as files, and the contact sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gemma4cli.errors import OutputError
from gemma4cli.media.pictures.frame_files import SHEET, contact_sheet, save_frames
from gemma4cli.media.pictures.video import iter_frames
from gemma4cli.messages import Source

CLIP = Source.of(Path(__file__).parents[2] / "fixtures" / "samples" / "video00.mp4")


def test_files_hold_the_frames_and_are_named_by_their_times(tmp_path: Path) -> None:
    files = save_frames(CLIP, [0.0, 1.0, 2.5], tmp_path / "new" / "frames")
    assert [file.path.name for file in files] == [
        "frame-0001-00m00.000s.png",
        "frame-0002-00m01.000s.png",
        "frame-0003-00m02.500s.png",
    ]
    for file, frame in zip(files, iter_frames(CLIP, [0.0, 1.0, 2.5]), strict=True):
        assert file.seconds == frame.seconds
        with Image.open(file.path) as picture:
            assert np.array_equal(np.asarray(picture), frame.pixels)


def test_the_sheet_has_every_frame(tmp_path: Path) -> None:
    save_frames(CLIP, [0.0, 1.0, 2.5], tmp_path)
    with Image.open(tmp_path / SHEET) as sheet:
        columns, rows = 2, 2
        assert sheet.width > columns * 240
        assert sheet.height > rows * 240


def test_thumbnails_are_in_reading_order_above_their_times() -> None:
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    pictures = [Image.new("RGB", (40, 30), color) for color in colors]
    sheet = contact_sheet(pictures, [0.0, 1.5, 61.0])
    centers = [(28, 23), (76, 23), (28, 81)]
    assert [sheet.getpixel(center) for center in centers] == colors
    label = np.asarray(sheet)[40:58, 8:48]
    assert (label > 150).all(axis=-1).any()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        save_frames(CLIP, [0.0], tmp_path / "file" / "frames")
