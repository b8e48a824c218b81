"""Pictures are shown in sRGB, whatever color space their files name."""

from __future__ import annotations

import gc
import io
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow
from PIL import ImageCms
from test_display import BT709_TO_2020, BT709_TO_P3, MUTED, PATCHES, hlg, linear, pq, srgb

from gemma4cli.media.pictures import profiles
from gemma4cli.media.pictures.images import load_image
from gemma4cli.media.pictures.video import iter_frames
from gemma4cli.messages import Source

Floats = npt.NDArray[np.float64]

PROPHOTO_TO_XYZ = ((0.7977, 0.1352, 0.0314), (0.2880, 0.7119, 0.0001), (0.0, 0.0, 0.8249))
BT709_TO_XYZ_D50 = np.array([
    [0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169],
    [0.0139322, 0.0971045, 0.7141733],
])  # fmt: skip


def s15(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def matrix_profile(columns: Floats, gamma: float, space: bytes = b"RGB ") -> bytes:
    """An ICC profile of version 2 with these colorants (XYZ at D50, in columns) and a power."""
    curve = b"curv" + bytes(4) + struct.pack(">IH2x", 1, round(gamma * 256))
    white = b"XYZ " + bytes(4) + s15(0.9642) + s15(1) + s15(0.8249)
    tags = {b"wtpt": white, b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for name, column in zip((b"r", b"g", b"b"), np.transpose(columns), strict=True):
            tags[name + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(s15, column))
            tags[name + b"TRC"] = curve
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += padded
    size = at + len(body)
    head = struct.pack(
        ">I4sI4s4s4s12x4s", size, bytes(4), 0x02400000, b"mntr", space, b"XYZ ", b"acsp"
    )
    head = head.ljust(68, b"\0") + s15(0.9642) + s15(1) + s15(0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


ADOBE_TO_XYZ = (
    (0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457),
)  # fmt: skip


def patches(signal: Floats) -> Pillow.Image:
    """A column of 16 pixels for each color."""
    row = np.round(np.clip(signal, 0, 1) * 255).astype(np.uint8).repeat(16, axis=0)
    return Pillow.fromarray(np.broadcast_to(row, (16, *row.shape)).copy())


def encoded(image: Pillow.Image, file_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format=file_format, **options)
    return out.getvalue()


def shown(data: bytes) -> npt.NDArray[np.uint8]:
    return load_image(Source.of(data)).pixels[8, 8::16]


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
        ("TIFF", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_icc_profiles_are_applied(file_format: str, options: dict[str, object]) -> None:
    to_prophoto = np.linalg.inv(np.array(PROPHOTO_TO_XYZ)) @ BT709_TO_XYZ_D50
    signal = np.clip(linear(PATCHES) @ to_prophoto.T, 0, 1) ** (1 / 1.8)
    profile = matrix_profile(np.array(PROPHOTO_TO_XYZ), 1.8)
    data = encoded(patches(signal), file_format, icc_profile=profile, **options)
    np.testing.assert_allclose(shown(data), PATCHES, atol=9)


def test_the_profile_of_a_transparent_picture_is_applied() -> None:
    profile = matrix_profile(BT709_TO_XYZ_D50, 1.0)
    picture = patches(linear(MUTED)).convert("RGBA")
    picture.putalpha(Pillow.new("L", picture.size, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 16, 16))
    found = shown(encoded(picture, "PNG", icc_profile=profile))
    np.testing.assert_allclose(found, [(255, 255, 255), *MUTED[1:]], atol=2)


def test_the_profile_of_a_palette_is_applied() -> None:
    profile = matrix_profile(BT709_TO_XYZ_D50, 1.0)
    picture = patches(linear(MUTED)).quantize(16)
    np.testing.assert_allclose(shown(encoded(picture, "PNG", icc_profile=profile)), MUTED, atol=2)


def test_the_profile_of_gray_is_applied() -> None:
    grays = [(level,) * 3 for level in (0, 64, 128, 255)]
    picture = patches(linear(grays)).convert("L")
    profile = matrix_profile(BT709_TO_XYZ_D50, 1.0, b"GRAY")
    np.testing.assert_allclose(shown(encoded(picture, "PNG", icc_profile=profile)), grays, atol=2)


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile at all",
        matrix_profile(BT709_TO_XYZ_D50, 1.0)[:200],
        matrix_profile(BT709_TO_XYZ_D50, 1.0, b"GRAY"),
    ],
    ids=["noise", "cut", "gray"],
)
def test_a_profile_that_does_not_fit_changes_nothing(profile: bytes) -> None:
    data = encoded(patches(np.array(PATCHES) / 255), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(shown(data), PATCHES)


def test_pixels_with_the_profile_of_srgb_stay_as_they_are() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(patches(np.array(PATCHES) / 255), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(shown(data), PATCHES)


def test_cmyk_without_a_profile_has_plain_inks() -> None:
    picture = Pillow.new("CMYK", (16, 16), (0, 255, 255, 0))
    found = shown(encoded(picture, "TIFF"))
    assert found.tolist() == [[255, 0, 0]]
    found = shown(encoded(picture, "JPEG", quality=100))
    np.testing.assert_allclose(found, [[255, 0, 0]], atol=3)


def test_an_rgb_profile_in_a_cmyk_picture_is_ignored() -> None:
    profile = matrix_profile(BT709_TO_XYZ_D50, 1.0)
    picture = Pillow.new("CMYK", (16, 16), (0, 0, 0, 127))
    assert shown(encoded(picture, "TIFF", icc_profile=profile)).tolist() == [[128, 128, 128]]


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """A PNG file with one more chunk after its header."""
    chunk = struct.pack(">I", len(content)) + name + content
    return data[:33] + chunk + struct.pack(">I", zlib.crc32(name + content)) + data[33:]


@pytest.mark.parametrize(
    ("primaries", "transfer", "signal"),
    [
        (9, 16, pq(linear(PATCHES) @ BT709_TO_2020.T)),
        (9, 18, hlg(linear(PATCHES) @ BT709_TO_2020.T)),
        (12, 13, srgb(linear(PATCHES) @ BT709_TO_P3.T)),
        (1, 13, np.array(PATCHES) / 255),
    ],
    ids=["PQ", "HLG", "P3", "sRGB"],
)
def test_code_points_of_a_png_are_applied(primaries: int, transfer: int, signal: Floats) -> None:
    data = encoded(patches(signal), "PNG")
    data = with_chunk(data, b"cICP", bytes([primaries, transfer, 0, 1]))
    np.testing.assert_allclose(shown(data), PATCHES, atol=8)


def test_gamma_of_a_png_is_applied() -> None:
    data = encoded(patches(linear(MUTED)), "PNG")
    linear_png = with_chunk(data, b"gAMA", struct.pack(">I", 100_000))
    np.testing.assert_allclose(shown(linear_png), MUTED, atol=2)


def test_primaries_of_a_png_are_applied() -> None:
    data = encoded(patches(srgb(linear(MUTED) @ BT709_TO_P3.T)), "PNG")
    points = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    data = with_chunk(data, b"cHRM", struct.pack(">8I", *points))
    data = with_chunk(data, b"gAMA", struct.pack(">I", 45_455))
    np.testing.assert_allclose(shown(data), MUTED, atol=2)


@pytest.mark.parametrize("gamma", [45_455, 45_000])
def test_the_usual_gamma_of_a_png_changes_nothing(gamma: int) -> None:
    data = with_chunk(
        encoded(patches(np.array(PATCHES) / 255), "PNG"), b"gAMA", struct.pack(">I", gamma)
    )
    np.testing.assert_array_equal(shown(data), PATCHES)


def test_a_gamma_beside_the_mark_of_srgb_is_ignored() -> None:
    data = with_chunk(
        encoded(patches(np.array(PATCHES) / 255), "PNG"), b"gAMA", struct.pack(">I", 100_000)
    )
    np.testing.assert_array_equal(shown(with_chunk(data, b"sRGB", b"\0")), PATCHES)


def test_hdr_of_an_avif_is_shown_in_sdr() -> None:
    data = encoded(
        patches(pq(linear(MUTED) @ BT709_TO_2020.T)), "AVIF", quality=100, subsampling="4:4:4"
    )
    at = data.index(b"colrnclx") + 8
    named = data[:at] + struct.pack(">HHH", 9, 16, 6) + data[at + 6 :]
    np.testing.assert_allclose(shown(named), MUTED, atol=12)


def test_hdr_of_a_heic_is_shown_in_sdr(tmp_path: Path) -> None:
    import pillow_heif

    heif = pillow_heif.from_pillow(patches(pq(linear(MUTED) @ BT709_TO_2020.T)))
    path = tmp_path / "a.heic"
    heif.save(path, quality=-1, chroma=444, color_primaries=9, transfer_characteristics=16,
              matrix_coefficients=9, full_range_flag=1)  # fmt: skip
    np.testing.assert_allclose(shown(path.read_bytes()), MUTED, atol=12)


def deep_png(levels: npt.NDArray[np.uint16], code_points: bytes) -> bytes:
    """A PNG of 16 bits, ``levels`` ``[H, W, 3 or 4]``."""
    height, width, channels = levels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    chunks = ((b"IHDR", header), (b"cICP", code_points), (b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (*chunks, (b"IEND", b""))
    )


def deep_patches(signal: Floats) -> npt.NDArray[np.uint16]:
    row = np.round(np.clip(signal, 0, 1) * 65535).astype("<u2").repeat(16, axis=0)
    return np.broadcast_to(row, (16, *row.shape)).copy()


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize(("transfer", "curve"), [(16, pq), (18, hlg)], ids=["PQ", "HLG"])
def test_hdr_of_a_png_keeps_its_bits(transfer: int, curve: type[pq], opaque: bool) -> None:
    levels = deep_patches(curve(linear(PATCHES) @ BT709_TO_2020.T))
    if opaque:
        levels = np.dstack((levels, np.full(levels.shape[:2], 65535, np.uint16)))
    found = shown(deep_png(levels, bytes([9, transfer, 0, 1])))
    np.testing.assert_allclose(found, PATCHES, atol=3)


@pytest.mark.parametrize("full", [0, 1])
@pytest.mark.parametrize(("transfer", "curve"), [(16, pq), (18, hlg)], ids=["PQ", "HLG"])
def test_hdr_of_a_heic_keeps_its_bits(
    tmp_path: Path, transfer: int, curve: type[pq], full: int
) -> None:
    import pillow_heif

    levels = deep_patches(curve(linear(PATCHES) @ BT709_TO_2020.T))
    size = (levels.shape[1], levels.shape[0])
    heif = pillow_heif.from_bytes("RGB;16", size, levels.tobytes())
    path = tmp_path / "a.heic"
    heif.save(path, quality=-1, chroma=444, color_primaries=9, transfer_characteristics=transfer,
              matrix_coefficients=9, full_range_flag=full)  # fmt: skip
    np.testing.assert_allclose(shown(path.read_bytes()), PATCHES, atol=6)


def in_adobe_rgb(colors: Sequence[Sequence[int]]) -> Floats:
    to_adobe = np.linalg.inv(np.array(ADOBE_TO_XYZ)) @ BT709_TO_XYZ_D50
    return np.clip(linear(colors) @ to_adobe.T, 0, 1) ** (256 / 563)


def test_a_camera_names_adobe_rgb_without_a_profile() -> None:
    exif = Pillow.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    picture = patches(in_adobe_rgb(PATCHES))
    data = encoded(picture, "JPEG", quality=100, subsampling=0, exif=exif)
    np.testing.assert_allclose(shown(data), PATCHES, atol=5)


@pytest.mark.parametrize("padding", [0, 9000])
@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ],
)
def test_the_profile_of_an_animation_is_applied(
    file_format: str, options: dict[str, object], padding: int
) -> None:
    noise = np.random.default_rng(1).bytes(padding)
    profile = matrix_profile(np.array(ADOBE_TO_XYZ), 563 / 256) + noise
    picture = patches(in_adobe_rgb(PATCHES))
    data = encoded(
        picture, file_format, icc_profile=profile, save_all=True, duration=100,
        append_images=[picture.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)], **options,
    )  # fmt: skip
    found = list(iter_frames(Source.of(data), [0.0, 0.1]))
    for frame, colors in zip(found, (PATCHES, PATCHES[::-1]), strict=True):
        np.testing.assert_allclose(frame.pixels[8, 8::16], colors, atol=9)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_named_profile_does_not_end_the_process(tmp_path: Path, mode: str) -> None:
    space = b"GRAY" if mode == "L" else b"RGB "
    profile = matrix_profile(BT709_TO_XYZ_D50, 1.0, space)
    pictures = [patches(linear(colors)).convert(mode) for colors in (MUTED, MUTED[::-1])]
    data = encoded(
        pictures[0], "PNG", icc_profile=profile, save_all=True, append_images=pictures[1:]
    )
    assert len(list(iter_frames(Source.of(data), [0.0, 9.0]))) == 2
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=5)
        stream.width, stream.height, stream.pix_fmt = *pictures[0].size, "rgb24"
        packet = av.Packet(encoded(pictures[0], "PNG", icc_profile=profile))
        packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 5), 0, 0
        container.mux(packet)
    assert len(list(iter_frames(Source.of(tmp_path / "a.mov"), [0.0]))) == 1
    gc.collect()


@pytest.mark.parametrize("name", ["a.mov", "a.mkv"])
def test_the_profile_of_motion_jpeg_is_applied(tmp_path: Path, name: str) -> None:
    profile = matrix_profile(np.array(ADOBE_TO_XYZ), 563 / 256)
    picture = patches(in_adobe_rgb(PATCHES))
    data = encoded(picture, "JPEG", quality=100, subsampling=0, icc_profile=profile)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("mjpeg", rate=5)
        stream.width, stream.height, stream.pix_fmt = *picture.size, "yuvj444p"
        for index in range(3):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 5)
            packet.pts = packet.dts = index
            container.mux(packet)
    (frame,) = iter_frames(Source.of(tmp_path / name), [0.0])
    np.testing.assert_allclose(frame.pixels[8, 8::16], PATCHES, atol=5)


def test_the_profile_of_jpeg_2000_is_applied() -> None:
    profile = matrix_profile(np.array(ADOBE_TO_XYZ), 563 / 256)
    data = encoded(patches(in_adobe_rgb(PATCHES)), "JPEG2000")
    header, box = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    (size,), (old,) = (struct.unpack_from(">I", data, at) for at in (header, box))
    new = struct.pack(">I4sBBB", len(profile) + 11, b"colr", 2, 0, 0) + profile
    data = (
        data[:header] + struct.pack(">I", size + len(new) - old)
        + data[header + 4 : box] + new + data[box + old :]
    )  # fmt: skip
    np.testing.assert_allclose(shown(data), PATCHES, atol=5)


def test_a_plain_picture_costs_no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(profiles, "to_srgb", never)
    monkeypatch.setattr(profiles, "_applied", never)
    assert shown(encoded(patches(np.array(PATCHES) / 255), "PNG")).tolist() == [*map(list, PATCHES)]
