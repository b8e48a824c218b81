"""The formats that docs/describe.md names are read, whatever the file is called."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from gemma4cli.errors import MediaDecodeError
from gemma4cli.media.pictures.image_readers import opened_image
from gemma4cli.media.pictures.images import load_image
from gemma4cli.media.pictures.video import probe_video
from gemma4cli.media.recognition import kind_of
from gemma4cli.messages import Source

DOCS = Path(__file__).parents[2] / "docs" / "describe.md"
SIDE = 32


def picture(mode: str = "RGB") -> Pillow.Image:
    """Four quarters: red, green, blue, white."""
    colors = np.array([[(220, 20, 20), (20, 160, 60)], [(40, 60, 210), (255, 255, 255)]], np.uint8)
    return Pillow.fromarray(colors.repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)).convert(mode)


def saved(file_format: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    image = picture().quantize(4) if mode == "P" else picture(mode)
    image.save(out, format=file_format, **options)
    return out.getvalue()


def heic() -> bytes:
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(picture()).save(out, quality=-1)
    return out.getvalue()


def cur() -> bytes:
    """An icon of BMP type with a hot spot."""
    data = bytearray(saved("ICO", "RGBA", sizes=[(SIDE, SIDE)], bitmap_format="bmp"))
    data[2] = 2
    return bytes(data)


def dcx() -> bytes:
    page = saved("PCX")
    return struct.pack("<III", 0x3ADE68B1, 12, 0) + page


def fits() -> bytes:
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8",
             "NAXIS   =                    2", f"NAXIS1  = {SIDE:>20}", f"NAXIS2  = {SIDE:>20}",
             "END"]  # fmt: skip
    header = "".join(card.ljust(80) for card in cards).ljust(2880).encode()
    rows = np.asarray(picture("L"))[::-1]
    return header + rows.tobytes().ljust(2880, b"\0")


def sun() -> bytes:
    header = struct.pack(">8I", 0x59A66A95, SIDE, SIDE, 24, SIDE * SIDE * 3, 3, 0, 0)
    return header + picture().tobytes()


def xpm() -> bytes:
    palette = picture().quantize(4)
    names = "abcd"
    found = palette.palette.colors.items()
    colors = [f'"{names[index]} c #{bytes(color).hex()}",' for color, index in found]
    rows = ['"' + "".join(names[v] for v in row) + '",' for row in np.asarray(palette)]
    head = ["/* XPM */", "static char *p[] = {", f'"{SIDE} {SIDE} {len(colors)} 1",']
    return "\n".join([*head, *colors, *rows, "};", ""]).encode()


def fli() -> bytes:
    """One frame: its palette, then the lines without compression."""
    palette = picture().quantize(4)
    colors = np.zeros((256, 3), np.uint8)
    for color, index in palette.palette.colors.items():
        colors[index] = color
    parts = [
        (4, struct.pack("<HBB", 1, 0, 0) + colors.tobytes()),
        (16, np.asarray(palette).tobytes()),
    ]
    chunks = b"".join(struct.pack("<IH", len(data) + 6, kind) + data for kind, data in parts)
    frame = struct.pack("<IHH8x", len(chunks) + 16, 0xF1FA, len(parts)) + chunks
    head = struct.pack("<IHHHHHHI", 128 + len(frame), 0xAF12, 1, SIDE, SIDE, 8, 3, 100)
    return head.ljust(80, b"\0") + struct.pack("<II", 128, 128).ljust(48, b"\0") + frame


def psd() -> bytes:
    """The composite without layers."""
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, SIDE, SIDE, 8, 3) + bytes(12)
    planes = np.asarray(picture()).transpose(2, 0, 1)
    return head + struct.pack(">H", 0) + planes.tobytes()


FORMATS: dict[str, tuple[Callable[[], bytes], float]] = {
    "AVIF": (lambda: saved("AVIF", quality=100, subsampling="4:4:4"), 6),
    "BLP": (lambda: saved("BLP", "P"), 0),
    "BMP": (lambda: saved("BMP"), 0),
    "CUR": (cur, 0),
    "DCX": (dcx, 0),
    "DDS": (lambda: saved("DDS"), 0),
    "FITS": (fits, 0),
    "FLI": (fli, 0),
    "GIF": (lambda: saved("GIF"), 0),
    "HEIC": (heic, 6),
    "ICNS": (lambda: saved("ICNS", "RGBA"), 0),
    "ICO": (lambda: saved("ICO", "RGBA", sizes=[(SIDE, SIDE)]), 0),
    "JPEG": (lambda: saved("JPEG", quality=100, subsampling=0), 6),
    "JPEG 2000": (lambda: saved("JPEG2000"), 0),
    "MSP": (lambda: saved("MSP", "1"), 0),
    "PCX": (lambda: saved("PCX"), 0),
    "PNG": (lambda: saved("PNG"), 0),
    "PNM": (lambda: saved("PPM"), 0),
    "PSD": (psd, 0),
    "QOI": (lambda: saved("QOI"), 0),
    "SGI": (lambda: saved("SGI"), 0),
    "Sun raster": (sun, 0),
    "TGA": (lambda: saved("TGA", compression="tga_rle"), 0),
    "TIFF": (lambda: saved("TIFF"), 0),
    "WebP": (lambda: saved("WEBP", lossless=True), 0),
    "XBM": (lambda: saved("XBM", "1"), 0),
    "XPM": (xpm, 0),
}
"""By each format's name a file and how far its levels may be off."""


def expected(name: str) -> npt.NDArray[np.uint8]:
    mode = {"FITS": "L", "MSP": "1", "XBM": "1"}.get(name, "RGB")
    return np.asarray(picture(mode).convert("RGB"))


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_read(name: str) -> None:
    make, tolerance = FORMATS[name]
    found = load_image(Source.of(make(), name="picture.tga" if name == "TGA" else "picture"))
    if name == "ICNS":
        assert found.pixels.shape == (1024, 1024, 3)
        return
    np.testing.assert_allclose(found.pixels.astype(int), expected(name), atol=tolerance)


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_is_known_by_its_content(name: str) -> None:
    source = Source.of(FORMATS[name][0](), name="picture.tga" if name == "TGA" else "picture")
    with opened_image(source) as (_, format_name, _):
        assert format_name == name


@pytest.mark.parametrize("name", FORMATS)
def test_half_a_file_is_an_error_or_a_picture(name: str) -> None:
    data = FORMATS[name][0]()
    source = Source.of(data[: len(data) // 2], name="picture.tga")
    try:
        assert load_image(source).pixels.shape[2] == 3
    except MediaDecodeError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"TGA"}))
def test_a_still_is_not_a_clip(name: str) -> None:
    with pytest.raises(MediaDecodeError, match=r"is an image \(.+\): use g4 describe"):
        probe_video(Source.of(FORMATS[name][0](), name="picture"))


def test_a_flic_animation_is_a_clip() -> None:
    data = fli()
    head, frame = bytearray(data[:128]), data[128:]
    head[:8] = struct.pack("<IHH", 128 + 2 * len(frame), 0xAF12, 2)
    source = Source.of(bytes(head) + 2 * frame)
    assert (kind_of(source), kind_of(Source.of(data))) == ("video", "image")
    assert probe_video(source).duration == pytest.approx(0.2)
    assert load_image(source).frames == 2


def test_the_documentation_names_these_formats() -> None:
    text = DOCS.read_text("utf-8").partition("## Input formats")[2].partition("\n## ")[0]
    listed = re.search(r"PNG,.*?Sun raster", text, re.DOTALL)
    assert listed is not None
    names = {name.strip() for name in re.split(r",| and |;", listed[0].replace("\n", " "))}
    assert names == set(FORMATS) - {"HEIC"}


def test_an_icon_is_shown_at_its_largest_size() -> None:
    data = saved("ICO", "RGBA", sizes=[(16, 16), (SIDE, SIDE), (24, 24)])
    assert load_image(Source.of(data)).pixels.shape == (SIDE, SIDE, 3)


def test_a_new_tga_is_known_by_its_end() -> None:
    data = saved("TGA")
    assert data.endswith(b"TRUEVISION-XFILE.\0")
    np.testing.assert_array_equal(load_image(Source.of(data)).pixels, expected("TGA"))


def test_a_header_file_in_c_is_not_a_picture() -> None:
    with pytest.raises(MediaDecodeError, match="not an image"):
        load_image(Source.of(b"#define LIMIT 20\n" * 20))
