"""Frames of a clip as PNG files at full size, and a contact sheet of all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ...decoded import VideoFrame
from ...errors import OutputError
from ...messages import Source
from ...own_files import shared_mode, whole_file
from ...times import file_time
from .video import iter_frames

SHEET = "contact-sheet.png"
_THUMBNAIL = (320, 240)
"""The largest width and height of a frame on the sheet, in pixels."""
_GAP, _LABEL = 8, 20
_GROUND, _INK = (24, 24, 24), (235, 235, 235)


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameFile:
    """A written frame; ``seconds`` is its time from the clip's start."""

    path: Path
    seconds: float


def save_frames(source: Source, timestamps: Sequence[float], folder: Path) -> list[FrameFile]:
    """Write the frames on screen at ``timestamps`` as PNG files, and a contact sheet.

    Files are named by number and time, ``frame-0003-00m04.500s.png``. Raises the errors of
    ``iter_frames``, and OutputError if the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files, thumbnails = _written(iter_frames(source, timestamps), folder)
        _save(contact_sheet(thumbnails, [file.seconds for file in files]), folder / SHEET)
    except OSError as exc:
        raise OutputError(folder, exc.strerror or str(exc)) from exc
    return files


def _written(
    frames: Iterable[VideoFrame], folder: Path
) -> tuple[list[FrameFile], list[Image.Image]]:
    """Each frame's file and thumbnail; holds one full-size frame in memory at a time."""
    files: list[FrameFile] = []
    thumbnails: list[Image.Image] = []
    for number, frame in enumerate(frames, 1):
        picture = Image.fromarray(frame.pixels)
        path = folder / f"frame-{number:04d}-{file_time(frame.seconds)}.png"
        _save(picture, path)
        files.append(FrameFile(path=path, seconds=frame.seconds))
        picture.thumbnail(_THUMBNAIL, Image.Resampling.LANCZOS)
        thumbnails.append(picture)
    return files, thumbnails


def _save(picture: Image.Image, path: Path) -> None:
    with whole_file(path, mode=shared_mode()) as file:
        picture.save(file, "PNG")


def contact_sheet(thumbnails: Sequence[Image.Image], seconds: Sequence[float]) -> Image.Image:
    """Thumbnails in rows, in reading order, each with its time below."""
    columns = max(1, math.ceil(math.sqrt(len(thumbnails))))
    rows = math.ceil(len(thumbnails) / columns)
    width = max((each.width for each in thumbnails), default=0) + _GAP
    height = max((each.height for each in thumbnails), default=0) + _LABEL + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _GROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for index, (picture, second) in enumerate(zip(thumbnails, seconds, strict=True)):
        left = _GAP + index % columns * width
        top = _GAP + index // columns * height
        sheet.paste(picture, (left, top))
        draw.text((left, top + picture.height + 2), file_time(second), fill=_INK, font=font)
    return sheet
