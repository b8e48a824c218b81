"""Images: upright RGB with exact values, and errors that name the cause."""

from __future__ import annotations

import io
import math
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import AvifImagePlugin, ImageFile, features
from PIL import Image as Pillow

from gemma4cli.errors import MediaDecodeError
from gemma4cli.media.limits import MAX_PIXELS
from gemma4cli.media.pictures import images, large_pictures
from gemma4cli.messages import Source

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3


def encode(image: Pillow.Image, file_format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format=file_format, **options)
    return out.getvalue()


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    return images.load_image(Source.of(data, name="picture")).pixels


def noise(width: int = 20, height: int = 10) -> Pillow.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Pillow.fromarray(values)


def png(width: int, height: int, bits: int, color: int, data: bytes, *chunks: bytes) -> bytes:
    """A PNG of raw scan lines, each with its filter byte, for formats that Pillow cannot write."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *chunks,
            chunk(b"IDAT", zlib.compress(data)),
            chunk(b"IEND", b""),
        ]
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gray_rows(values: list[int]) -> npt.NDArray[np.uint8]:
    return np.array([[[value] * 3 for value in values]], np.uint8)


def test_lossless_formats_are_exact() -> None:
    for file_format in ("PNG", "BMP", "TIFF", "PPM", "QOI"):
        found = pixels(encode(noise(), file_format))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, np.asarray(noise()), err_msg=file_format)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_lossy_formats_come_close(file_format: str) -> None:
    if not features.check(
        {"AVIF": "avif", "WEBP": "webp", "JPEG2000": "jpg_2000"}.get(file_format, "jpg")
    ):
        pytest.skip(f"this Pillow does not support {file_format}")
    found = pixels(encode(Pillow.new("RGB", (32, 16), (200, 40, 90)), file_format, quality=95))
    assert found.shape == (16, 32, 3)
    np.testing.assert_allclose(
        found.astype(int), np.broadcast_to((200, 40, 90), found.shape), atol=4
    )


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "photo.txt"
    path.write_bytes(encode(noise()))
    found = images.load_image(Source.of(path))
    assert found.name == str(path)
    np.testing.assert_array_equal(found.pixels, np.asarray(noise()))


# EXIF orientation to the row and column of the quarter that is stored at the top left
ORIENTATIONS = {
    1: (0, 0),
    2: (0, 1),
    3: (1, 1),
    4: (1, 0),
    5: (0, 0),
    6: (0, 1),
    7: (1, 1),
    8: (1, 0),
}


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_exif_orientation_is_applied(file_format: str) -> None:
    stored = Pillow.new("RGB", (64, 32), BLUE)
    stored.paste(RED, (0, 0, 32, 16))
    options = {"quality": 100, "subsampling": 0} if file_format == "JPEG" else {}
    for orientation, (row, column) in ORIENTATIONS.items():
        exif = Pillow.Exif()
        exif[0x0112] = orientation
        found = pixels(encode(stored, file_format, exif=exif, **options))
        height, width = (32, 64) if orientation < 5 else (64, 32)
        expected = np.broadcast_to(np.array(BLUE), (height, width, 3)).copy()
        rows = slice(row * height // 2, (row + 1) * height // 2)
        columns = slice(column * width // 2, (column + 1) * width // 2)
        expected[rows, columns] = RED
        np.testing.assert_allclose(
            found.astype(int), expected, atol=3, err_msg=f"orientation {orientation}"
        )


def test_a_damaged_exif_block_does_not_spoil_the_picture() -> None:
    data = encode(noise(), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Pillow's own, about the block
        np.testing.assert_array_equal(pixels(data), np.asarray(noise()))


@given(alpha=st.integers(0, 255), level=st.integers(0, 255), mode=st.sampled_from(["RGBA", "LA"]))
@example(alpha=0, level=0, mode="RGBA")
@example(alpha=128, level=0, mode="LA")
def test_transparent_pixels_are_blended_onto_white(alpha: int, level: int, mode: str) -> None:
    color = (level, level, level, alpha) if mode == "RGBA" else (level, alpha)
    found = pixels(encode(Pillow.new(mode, (3, 2), color)))
    assert np.unique(found).size == 1
    assert found.shape == (2, 3, 3)
    blended = (level * alpha + 255 * (255 - alpha)) / 255
    assert int(found[0, 0, 0]) == pytest.approx(blended, abs=0.6)
    if alpha in (0, 255):
        assert found[0, 0, 0] == blended


def palette_image() -> Pillow.Image:
    image = Pillow.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    for column in range(3):
        image.putpixel((column, 0), column)
    return image


def test_a_palette_is_applied() -> None:
    np.testing.assert_array_equal(pixels(encode(palette_image())), [[RED, GREEN, BLUE]])


def test_a_transparent_palette_entry_lies_on_white() -> None:
    found = pixels(encode(palette_image(), transparency=1))
    np.testing.assert_array_equal(found, [[RED, WHITE, BLUE]])


def test_palette_alpha_lies_on_white() -> None:
    found = pixels(encode(palette_image(), transparency=bytes([255, 0, 128])))
    np.testing.assert_array_equal(found, [[RED, WHITE, (127, 127, 255)]])


def test_transparent_pixels_of_mode_pa_are_blended_onto_white() -> None:
    found = images.to_rgb(Pillow.new("PA", (1, 1), (0, 0)), None)
    assert found.getpixel((0, 0)) == WHITE


def test_a_transparent_color_of_rgb_lies_on_white() -> None:
    image = Pillow.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLACK)
    np.testing.assert_array_equal(pixels(encode(image, transparency=BLACK)), [[RED, WHITE]])


def test_a_transparent_level_of_gray_lies_on_white() -> None:
    image = Pillow.new("L", (2, 1), 7)
    image.putpixel((1, 0), 9)
    np.testing.assert_array_equal(pixels(encode(image, transparency=9)), gray_rows([7, 255]))


def test_a_transparent_level_of_16_bit_gray_lies_on_white() -> None:
    line = b"\0" + struct.pack(">HH", 257 * 7, 257 * 9)
    data = png(2, 1, 16, 0, line, chunk(b"tRNS", struct.pack(">H", 257 * 9)))
    np.testing.assert_array_equal(pixels(data), gray_rows([7, 255]))


def test_a_transparent_color_of_16_bit_rgb_lies_on_white() -> None:
    line = b"\0" + struct.pack(">6H", 0, 0, 0, 65535, 257, 514)
    data = png(2, 1, 16, 2, line, chunk(b"tRNS", struct.pack(">3H", 65535, 257, 514)))
    np.testing.assert_array_equal(pixels(data), [[BLACK, WHITE]])


def test_gray_and_one_bit_images() -> None:
    np.testing.assert_array_equal(pixels(encode(Pillow.new("L", (1, 1), 77))), gray_rows([77]))
    bits = Pillow.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    np.testing.assert_array_equal(pixels(encode(bits)), gray_rows([0, 255]))


LEVELS_16 = [0, 128, 129, 257, 256 * 128, 65534, 65535]
LEVELS_8 = [0, 0, 1, 1, 128, 255, 255]


def test_16_bit_png_is_scaled() -> None:
    image = Pillow.fromarray(np.array([LEVELS_16], np.uint16))
    assert image.mode == "I;16"
    np.testing.assert_array_equal(pixels(encode(image)), gray_rows(LEVELS_8))


def test_every_16_bit_level_keeps_its_order() -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = pixels(encode(Pillow.fromarray(ramp)))[..., 0].reshape(-1).astype(int)
    assert (np.diff(found) >= 0).all()
    np.testing.assert_array_equal(np.unique(found), np.arange(256))
    np.testing.assert_array_equal(found[::257], np.arange(256))


def test_big_endian_16_bit_tiff_is_scaled() -> None:
    values = np.array([LEVELS_16], ">u2")
    tags = [
        (256, 7),
        (257, 1),
        (258, 16),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 1),
        (279, 14),
    ]
    directory = struct.pack(">H", len(tags)) + b"".join(
        struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags
    )
    data = b"MM\0*" + struct.pack(">I", 8 + 14) + values.tobytes() + directory + b"\0\0\0\0"
    with Pillow.open(io.BytesIO(data)) as image:
        assert image.mode == "I;16B"
    np.testing.assert_array_equal(pixels(data), gray_rows(LEVELS_8))


def with_tag(data: bytes, tag: int, before: int, after: int) -> bytes:
    """A little-endian TIFF with another value of a tag with one short number."""
    entry = struct.pack("<HHI", tag, 3, 1)
    assert data.count(entry + struct.pack("<H", before)) == 1
    return data.replace(entry + struct.pack("<H", before), entry + struct.pack("<H", after))


@pytest.mark.parametrize("bits", [8, 16])
def test_gray_whose_white_is_zero(bits: int) -> None:
    levels = np.array([[0, 55, 255]], np.uint8)
    picture = Pillow.fromarray(levels if bits == 8 else levels.astype(np.uint16) * 257)
    data = with_tag(encode(picture, "TIFF"), 262, 1, 0)
    assert images.load_image(Source.of(data)).pixels[0, :, 0].tolist() == [255, 200, 0]


def test_a_variant_that_is_not_read_is_not_called_damaged() -> None:
    picture = Pillow.fromarray(np.zeros((4, 4), np.float32))
    data = with_tag(encode(picture, "TIFF"), 258, 32, 64)
    with pytest.raises(MediaDecodeError, match="of a kind that is not supported; convert it"):
        images.load_image(Source.of(data))


def test_16_bit_pgm_is_scaled() -> None:
    data = b"P5 7 1 65535\n" + np.array([LEVELS_16], ">u2").tobytes()
    with Pillow.open(io.BytesIO(data)) as image:
        assert image.mode == "I"
    np.testing.assert_array_equal(pixels(data), gray_rows(LEVELS_8))


FLOATS = [
    ([0.0, 0.5, 1.0], [0, 128, 255]),
    ([0.0, 100.0, 255.0], [0, 100, 255]),
    ([0.0, 257.0, 65535.0], [0, 1, 255]),
    ([-1.0, 0.0, 1.0], [0, 128, 255]),
    ([-0.2, -0.1, 0.0], [0, 128, 255]),
    ([np.nan, np.inf, 1.0], [0, 0, 255]),
]


def test_float_tiff_is_scaled() -> None:
    for values, expected in FLOATS:
        data = encode(Pillow.fromarray(np.array([values], np.float32)), "TIFF")
        np.testing.assert_array_equal(pixels(data), gray_rows(expected), err_msg=f"{values}")


@given(values=st.lists(st.floats(width=32) | st.floats(0, 1, width=32), min_size=1, max_size=9))
def test_any_float_image_is_read_and_keeps_its_order(values: list[float]) -> None:
    data = encode(Pillow.fromarray(np.array([values], np.float32)), "TIFF")
    found = pixels(data)[0, :, 0].tolist()
    finite = sorted(
        (value, level) for value, level in zip(values, found, strict=True) if math.isfinite(value)
    )
    assert [level for _, level in finite] == sorted(level for _, level in finite)


def test_32_bit_gray_is_stretched() -> None:
    image = Pillow.fromarray(np.array([[-100_000, 0, 100_000]], np.int32))
    np.testing.assert_array_equal(pixels(encode(image, "TIFF")), gray_rows([0, 128, 255]))


def test_cmyk_becomes_rgb() -> None:
    image = Pillow.new("CMYK", (2, 1), (0, 255, 255, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    np.testing.assert_array_equal(pixels(encode(image, "TIFF")), [[RED, BLACK]])


def test_lab_becomes_rgb() -> None:
    image = Pillow.new("LAB", (2, 1), (255, 128, 128))
    image.putpixel((1, 0), (0, 128, 128))
    found = pixels(encode(image, "TIFF")).astype(int)
    np.testing.assert_allclose(found, [[WHITE, BLACK]], atol=2)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_taken(file_format: str) -> None:
    first, *rest = (Pillow.new("RGB", (8, 4), color) for color in (RED, GREEN, BLUE))
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(first, file_format, save_all=True, append_images=rest, duration=100, **options)
    np.testing.assert_array_equal(pixels(data), np.broadcast_to(RED, (4, 8, 3)))


def test_text_is_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("just some words, long enough to be looked at\n" * 10)
    with pytest.raises(MediaDecodeError, match=r"notes\.png: not an image"):
        images.load_image(Source.of(path))


OTHER_FILES = [
    (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "is a damaged HEIC image"),
    (b"%PDF-1.7\n", "not an image but PDF"),
    (b"\xff\x0a\xfa\x1f\x41", "JPEG XL images are not supported; convert"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL images are not supported; convert"),
    (b"\x76\x2f\x31\x01\x02\x00\x00\x00", "OpenEXR images are not supported; convert"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image but SVG"),
    (b"RIFF\x24\x00\x00\x00WAVEfmt ", "WAV: use g4 transcribe"),
    (b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00mp41", "MP4 or MOV: use g4 video"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
]


def test_files_that_are_not_images_are_named() -> None:
    for head, message in OTHER_FILES:
        with pytest.raises(MediaDecodeError, match=message):
            pixels(head + bytes(100))


def test_a_truncated_image_is_reported_in_one_line() -> None:
    for file_format in ("PNG", "JPEG", "BMP", "TIFF", "GIF", "PPM"):
        data = encode(noise(200, 100), file_format)
        for share in (0.5, 0.9):
            with pytest.raises(MediaDecodeError, match="is a truncated") as caught:
                pixels(data[: int(len(data) * share)])
            assert "\n" not in str(caught.value)


def test_a_header_alone_is_an_error() -> None:
    for kept in (9, 20, 40):
        with pytest.raises(MediaDecodeError, match="PNG image"):
            pixels(encode(noise())[:kept])


def test_indices_without_a_palette_are_an_error() -> None:
    with pytest.raises(MediaDecodeError, match="damaged PNG"):
        pixels(png(1, 1, 8, 3, b"\0\0"))


def test_a_damaged_image_is_an_error() -> None:
    data = bytearray(encode(noise(200, 100)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(MediaDecodeError, match="is a damaged PNG image"):
        pixels(bytes(data))


def test_a_codec_that_pillow_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(noise(32, 32), "AVIF")
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    with pytest.raises(MediaDecodeError, match="AVIF is not supported by the installed Pillow"):
        pixels(data)


WHOLE = {name: encode(noise(32, 32), name) for name in ("PNG", "JPEG", "GIF", "BMP", "WEBP")}


@settings(max_examples=200)
@given(
    file_format=st.sampled_from(sorted(WHOLE)),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
    kept=st.just(1.0) | st.floats(0, 1),
)
def test_damage_anywhere_gives_an_image_or_a_media_error_of_one_line(
    file_format: str, damage: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(WHOLE[file_format])
    for position, value in damage:
        data[int(position * len(data))] = value
    try:
        pixels(bytes(data[: round(len(data) * kept)]))
    except MediaDecodeError as error:
        assert "\n" not in str(error)


def test_an_image_above_the_limit_is_an_error_before_it_is_decoded() -> None:
    limit, filters = Pillow.MAX_IMAGE_PIXELS, list(warnings.filters)
    for width, height in ((30_000, 30_000), (MAX_PIXELS + 1, 1), (65_535, 65_535)):
        with pytest.raises(MediaDecodeError, match=f"is too large: {width}x{height} pixels"):
            pixels(png(width, height, 8, 2, b"\0"))
    assert limit == Pillow.MAX_IMAGE_PIXELS
    assert filters == list(warnings.filters)


@pytest.mark.parametrize("limit", [150, 50], ids=["warning", "error"])
def test_pillows_own_limit_does_not_apply(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns above its limit and raises an error above twice as much."""
    data = encode(noise(20, 10))
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", limit)
    np.testing.assert_array_equal(pixels(data), np.asarray(noise(20, 10)))


@pytest.mark.slow
def test_a_size_that_pillow_warns_about_is_read() -> None:
    width, height = 9_500, 9_500
    assert Pillow.MAX_IMAGE_PIXELS is not None
    assert Pillow.MAX_IMAGE_PIXELS < width * height < MAX_PIXELS
    line = bytes(1 + (width + 7) // 8)
    found = pixels(png(width, height, 1, 0, line * height))
    assert found.shape == (height, width, 3)


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0)])
def test_an_image_without_pixels_is_an_error(width: int, height: int) -> None:
    with pytest.raises(MediaDecodeError):
        pixels(png(width, height, 8, 2, b"\0"))
    with pytest.raises(MediaDecodeError, match=r"has no pixels|GIF image"):
        pixels(b"GIF89a" + struct.pack("<HH", width, height) + b"\x00\x00\x00;")


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(encode(noise())))
    monkeypatch.setattr(sys, "stdin", stdin)
    found = images.load_image(Source(name="-"))
    assert found.name == "-"
    np.testing.assert_array_equal(found.pixels, np.asarray(noise()))


def heic(picture: Pillow.Image, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra `heif`")
    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file, quality=-1, **options)
    return file.getvalue()


def test_heic_is_read_by_the_extra() -> None:
    picture = Pillow.new("RGB", (48, 32), RED)
    picture.paste(BLUE, (0, 0, 24, 32))
    found = pixels(heic(picture))
    assert found.shape == (32, 48, 3)
    np.testing.assert_allclose(found[:, :20], np.broadcast_to(BLUE, (32, 20, 3)), atol=3)
    np.testing.assert_allclose(found[:, 28:], np.broadcast_to(RED, (32, 20, 3)), atol=3)


def test_heic_is_upright() -> None:
    """The container rotates the image and the EXIF block says so too; it is rotated once."""
    picture = Pillow.new("RGB", (48, 32), RED)
    picture.paste(BLUE, (0, 0, 24, 32))
    exif = Pillow.Exif()
    exif[0x0112] = 6
    assert pixels(heic(picture, exif=exif.tobytes())).shape == (48, 32, 3)


def test_heic_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(Pillow.new("RGB", (16, 16), RED))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MediaDecodeError, match=r"install pillow-heif.*JPEG or PNG"):
        pixels(data)


def decoded_bytes(data: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    """The pixels that Pillow's storage holds at most, times their bytes, while a file is read."""
    sizes: list[int] = []
    load = ImageFile.ImageFile.load

    def counting(image: ImageFile.ImageFile) -> object:
        found = load(image)
        sizes.append(image.width * image.height * 4)
        return found

    monkeypatch.setattr(ImageFile.ImageFile, "load", counting)
    pixels(data)
    return max(sizes)


def test_a_huge_jpeg_is_decoded_at_a_fraction_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_pictures, "WHOLE_PIXELS", 10_000)
    monkeypatch.setattr(large_pictures, "SHRUNK_PIXELS", 5_000)
    data = encode(Pillow.new("RGB", (400, 200), "red"), "JPEG")
    assert decoded_bytes(data, monkeypatch) <= 4 * 5_000
    found = pixels(data)
    assert found.shape == (50, 100, 3)
    assert found[25, 50].tolist() == pytest.approx([254, 0, 0], abs=2)


@pytest.mark.parametrize("size", [(400, 200), (401, 201), (405, 201)])
def test_a_jpeg_2000_image_is_halved_until_memory_holds_it(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_pictures, "DECODING_BYTES", 20 * 25_000)
    data = encode(Pillow.new("RGB", size, "blue"), "JPEG2000")
    assert decoded_bytes(data, monkeypatch) <= 4 * 25_000
    assert pixels(data)[10, 10].tolist() == [0, 0, 255]


@pytest.mark.parametrize("name", ["WEBP", "AVIF", "PNG", "TIFF", "GIF"])
def test_what_takes_too_much_memory_is_refused_before_it_is_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_pictures, "DECODING_BYTES", 5_000)
    data = encode(noise(100, 100), name)

    def never(image: object) -> None:
        raise AssertionError("decodes it")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(MediaDecodeError, match=r"too large: 100x100 pixels; the limit for such a"):
        pixels(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "F", "I;16", "1"])
def test_a_picture_in_bands_equals_the_same_in_one(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = noise(60, 50)
    if mode in ("F", "I;16"):
        picture = Pillow.fromarray(np.asarray(picture)[..., 0].astype(np.float32) * 300)
        if mode == "I;16":
            picture = Pillow.fromarray(np.asarray(picture).astype(np.uint16))
    else:
        picture = picture.convert(mode)
    whole = images.srgb_pixels(picture, None)
    monkeypatch.setattr(images, "_BAND", 7 * 60)
    np.testing.assert_array_equal(images.srgb_pixels(picture, None), whole)


def test_a_huge_file_is_not_read_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(large_pictures, "_MOST_FILE_BYTES", 1 << 20)
    data = encode(noise(8, 8), "WEBP") + bytes(1 << 20)
    with pytest.raises(MediaDecodeError, match="the limit for WebP is 1 MB"):
        pixels(data)
