"""A picture, a sound and a clip for the built-in model, as the bytes of files."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

_SPEECH = Path(__file__).with_name("speech.flac")
_SIDE = 192
_FRAMES = 8
_RED, _BLUE, _WHITE = (220, 30, 30), (30, 60, 220), (255, 255, 255)

Pixels = npt.NDArray[np.uint8]


def _circle(color: tuple[int, int, int], row: float, column: float) -> Pixels:
    """A filled circle on white ``[H, W, 3]``; its center in fractions of the sides."""
    ys, xs = np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE
    inside = (ys - row) ** 2 + (xs - column) ** 2 < 0.15**2
    return np.where(inside[..., None], color, _WHITE).astype(np.uint8)


def picture() -> bytes:
    """A red circle at the top left, as PNG."""
    out = io.BytesIO()
    Image.fromarray(_circle(_RED, 0.25, 0.25)).save(out, "PNG")
    return out.getvalue()


def sound() -> bytes:
    """Two seconds of speech by espeak-ng: "i have 7 red books", as FLAC."""
    return _SPEECH.read_bytes()


def clip() -> bytes:
    """Two seconds of a blue circle at the bottom right, as MPEG-4 video."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        # The only video encoder that every FFmpeg has.
        track = file.add_stream("mpeg4", rate=Fraction(_FRAMES // 2))
        track.width = track.height = _SIDE
        track.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(_circle(_BLUE, 0.75, 0.75), format="rgb24")
        for i in range(_FRAMES):
            frame.pts = i
            file.mux(track.encode(frame))
        file.mux(track.encode())
    return out.getvalue()
