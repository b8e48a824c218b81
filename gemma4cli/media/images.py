"""Image files to upright RGB pixels at their original size. Color profiles are not applied."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.QoiImagePlugin import QoiImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..decoded import Image
from ..errors import MediaDecodeError
from ..messages import MediaKind, Source
from .kinds import HEAD_BYTES, FileKind, sniff
from .limits import check_size
from .recognition import kind_of_stream
from .sources import open_source


def _heif_reader(stream: BinaryIO) -> ImageFile:
    """HEIC by pillow-heif, from the extra ``heif``; its images are upright already."""
    from pillow_heif import HeifImageFile

    reader: ImageFile = HeifImageFile(stream)
    return reader


# Image.open would try formats that start other programs (EPS), and it warns about large images
# through the process-wide warning filters. So the reader is chosen here, by content.
_READERS: dict[str, Callable[[BinaryIO], ImageFile]] = {
    "AVIF": AvifImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "HEIC": _heif_reader,
    "JPEG": JpegImageFile,
    "JPEG 2000": Jpeg2KImageFile,
    "PNG": PngImageFile,
    "PNM": PpmImageFile,
    "QOI": QoiImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}
_PILLOW_ERRORS = (
    OSError,  # includes UnidentifiedImageError and truncation
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
    Pillow.DecompressionBombError,
    Pillow.DecompressionBombWarning,
)
"""Errors of Pillow's readers for damaged files; they have no common base class."""

_NO_HEIF = "HEIC needs an extra: pip install 'gemma4cli[heif]', or convert it to JPEG or PNG"
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}


def load_image(source: Source) -> Image:
    """The image as upright RGB, uint8 ``[H, W, 3]``; the first frame of an animation.

    Transparent pixels are blended onto white, deep gray is scaled to 8 bits. Raises
    MediaDecodeError unless the content is a readable image of at most ``limits.MAX_PIXELS``, and
    the errors of ``open_source``.
    """
    with open_source(source) as stream:
        kind = sniff(stream.read(HEAD_BYTES))
        stream.seek(0)
        if kind is None or kind.name not in _READERS:
            raise MediaDecodeError(source.name, _not_an_image(kind, kind_of_stream(stream)))
        try:
            opened = _READERS[kind.name](stream)
        except ModuleNotFoundError as exc:
            raise MediaDecodeError(source.name, _NO_HEIF) from exc
        except _PILLOW_ERRORS as exc:
            raise MediaDecodeError(source.name, _damage(kind.name, exc)) from exc
        with opened:
            check_size(source, *opened.size)
            try:
                opened.load()
                rgb = _to_rgb(opened)
            except _PILLOW_ERRORS as exc:
                raise MediaDecodeError(source.name, _damage(kind.name, exc)) from exc
            turn = _UPRIGHT.get(_orientation(opened))
    return Image(pixels=np.asarray(rgb if turn is None else rgb.transpose(turn)), name=source.name)


def _not_an_image(found: FileKind | None, kind: MediaKind | None) -> str:
    if found is not None and found.kind == "image":
        return f"{found.name} images are not supported; convert it to JPEG or PNG"
    what = "not an image" if found is None else f"not an image but {found.name}"
    match kind:
        case "audio" if found is not None and found.kind == "video":
            return "is a recording without pictures: use g4 transcribe"
        case "audio":
            return f"{what}: use g4 transcribe"
        case "video":
            return f"{what}: use g4 video"
    if found is not None:
        return f"{what}; convert it to JPEG or PNG"
    return f"{what}, or in an unsupported format"


def _damage(format_name: str, exc: Exception) -> str:
    """A one-line message about a damaged image; Pillow reports truncation in several ways."""
    text = " ".join(str(exc).split()).lower()
    if "not installed" in text or "not available" in text:  # Pillow was built without the codec
        return f"{format_name} is not supported by the installed Pillow; convert it to JPEG or PNG"
    cut = isinstance(exc, EOFError) or "truncated" in text or "end of file" in text
    state = "truncated" if cut else "damaged"
    return f"is a {state} {format_name} image: download or save it again"


def _orientation(image: ImageFile) -> int:
    """The EXIF orientation, 1 (upright) if there is none or the EXIF block is damaged."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _PILLOW_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Pillow.Image) -> Pillow.Image:
    """The image in mode RGB, transparent pixels on white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _deep_gray_to_8_bit(image)
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # a 16-bit PNG: Pillow keeps the high bytes of the pixels but the whole key
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Pillow.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _deep_gray_to_8_bit(image: Pillow.Image) -> Pillow.Image:
    """16-bit, 32-bit and float gray to mode L, or LA if one level is transparent.

    White is 65535 for integers and 1 for floats. Floats beyond 1 use the next common scale (255,
    65535) that contains them; any other values are scaled from their own minimum and maximum.
    """
    values = np.asarray(image)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
    gray = Pillow.fromarray(_scaled(values))
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return gray
    alpha = np.where(values == key, np.uint8(0), np.uint8(255))
    return Pillow.merge("LA", (gray, Pillow.fromarray(alpha)))


def _scaled(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Gray values ``[H, W]`` of any number type to 0..255."""
    low, high = float(values.min()), float(values.max())
    scales = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    top = next((scale for scale in scales if low >= 0 and high <= scale), None)
    if top is None:
        top = (high - low) or 1.0
    else:
        low = 0.0
    scaled = (values.astype(np.float64) - low) * (255.0 / top)
    return np.floor(scaled + 0.5).astype(np.uint8)
