"""Files with several pictures: pages are chosen, and nothing is left out without a word."""

from __future__ import annotations

import io
import json
import struct
from itertools import accumulate
from pathlib import Path

import pytest
from cli_runs import tiny_g4
from PIL import Image as Pillow
from PIL import ImageCms

from gemma4cli.cli.run.pages import pages_of
from gemma4cli.errors import OptionError
from gemma4cli.media.pictures.image_readers import opened_image
from gemma4cli.media.pictures.images import count_pages, load_image
from gemma4cli.media.pictures.pages import turn_to
from gemma4cli.messages import Source

COLORS = ((220, 30, 30), (30, 130, 60), (40, 60, 210))


@pytest.fixture
def fax(tmp_path: Path) -> Path:
    """Three pages, each in a color of its own."""
    return pages(tmp_path / "fax.tiff")


def pages(path: Path, count: int = 3) -> Path:
    first, *rest = (Pillow.new("RGB", (64, 64), COLORS[number]) for number in range(count))
    first.save(path, save_all=True, append_images=rest)
    return path


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        ("2", 3, (2,)),
        ("1-3,5", 5, (1, 2, 3, 5)),
        ("all", 3, (1, 2, 3)),
        ("ALL", 1, (1,)),
        ("2-", 4, (2, 3, 4)),
        ("3,1,3", 3, (3, 1)),
        ("7", 3, (7,)),
        ("5-", 3, (5,)),
        (" 1 , 2 ", 2, (1, 2)),
    ],
)
def test_ranges_of_pages(text: str, count: int, expected: tuple[int, ...]) -> None:
    assert pages_of(text).of(count) == expected


@pytest.mark.parametrize("text", ["", "0", "x", "3-1", "1,,2", "-2", "1-2-3", "1-99999999"])
def test_what_is_no_page(text: str) -> None:
    with pytest.raises(OptionError, match="--pages"):
        pages_of(text)


def test_pages_of_a_source_are_its_pictures(fax: Path) -> None:
    assert count_pages(Source.of(fax)) == 3
    for page, color in enumerate(COLORS, 1):
        found = load_image(Source(name="fax", path=fax, page=page))
        assert (found.page, found.pages) == (page, 3)
        assert tuple(found.pixels[8, 8]) == color


def test_of_several_pictures_the_main_one_is_shown() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    album, file = pillow_heif.HeifFile(), io.BytesIO()
    for color in ("red", "blue"):
        album.add_from_pillow(Pillow.new("RGB", (64, 64), color))
    album.save(file, primary_index=1)
    found = load_image(Source.of(file.getvalue(), name="album"))
    assert (found.page, found.pages) == (2, 2)
    assert found.pixels[8, 8, 2] > 200


def test_small_copies_of_a_page_are_not_pages(tmp_path: Path) -> None:
    small = Pillow.new("RGB", (16, 16))
    small.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    Pillow.new("RGB", (64, 64), COLORS[1]).save(
        tmp_path / "a.tiff", save_all=True, append_images=[small]
    )
    with Pillow.open(tmp_path / "a.tiff") as written:
        assert written.n_frames == 2
    assert count_pages(Source.of(tmp_path / "a.tiff")) == 1


def test_a_small_copy_before_the_page_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Pillow.new("RGB", (16, 16)).save(path, tiffinfo={254: 1})
    Pillow.new("RGB", (64, 64), COLORS[1]).save(path, append=True)
    found = load_image(Source.of(path))
    assert (found.pages, found.pixels.shape) == (1, (64, 64, 3))
    assert tuple(found.pixels[8, 8]) == COLORS[1]


def test_the_pictures_of_two_lenses_are_pages_but_maps_and_previews_are_not(tmp_path: Path) -> None:
    left, right = (Pillow.new("RGB", (64, 64), color) for color in COLORS[:2])
    left.save(tmp_path / "a.mpo", save_all=True, append_images=[right])
    source = Source(name="a.mpo", path=tmp_path / "a.mpo", page=2)
    assert count_pages(source) == 2
    assert abs(int(load_image(source).pixels[8, 8, 1]) - COLORS[1][1]) < 8
    preview = Pillow.new("RGB", (16, 16), COLORS[1])
    left.save(tmp_path / "b.jpg", format="MPO", save_all=True, append_images=[preview])
    assert count_pages(Source.of(tmp_path / "b.jpg")) == 1
    assert load_image(Source.of(tmp_path / "b.jpg")).pages == 1


def test_each_page_has_its_own_turn_and_profile(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    damaged = profile.replace(b"XYZ ", b"xyz ")
    first, second = (Pillow.new("RGB", (64, 32), COLORS[0]) for _ in range(2))
    second.encoderinfo = {"tiffinfo": {274: 6}, "icc_profile": b""}  # type: ignore[attr-defined]
    path = tmp_path / "a.tiff"
    first.save(path, save_all=True, append_images=[second], icc_profile=damaged)
    with opened_image(Source.of(path)) as (opened, _, _):
        turn_to(opened, "TIFF", 1)
        assert "icc_profile" not in opened.info
        turn_to(opened, "TIFF", 0)
        assert opened.info["icc_profile"] == damaged
    shapes = [load_image(Source(name="a", path=path, page=page)).pixels.shape for page in (1, 2)]
    assert shapes == [(32, 64, 3), (64, 32, 3)]


def test_pages_of_a_dcx_file(tmp_path: Path) -> None:
    pictures = []
    for color in COLORS:
        out = io.BytesIO()
        Pillow.new("RGB", (16, 16), color).save(out, "PCX")
        pictures.append(out.getvalue())
    starts = accumulate((len(each) for each in pictures[:-1]), initial=4 + 4 * 4)
    data = struct.pack("<5I", 0x3ADE68B1, *starts, 0) + b"".join(pictures)
    for page, color in enumerate(COLORS, 1):
        found = load_image(Source(name="a.dcx", data=data, page=page))
        assert (found.pages, tuple(found.pixels[8, 8])) == (3, color)


def test_a_still_before_an_animation_is_no_frame(tmp_path: Path) -> None:
    still, *frames = (Pillow.new("RGB", (16, 16), color) for color in ((9, 9, 9), *COLORS))
    still.save(tmp_path / "a.png", save_all=True, append_images=frames, default_image=True)
    found = load_image(Source.of(tmp_path / "a.png"))
    assert (found.frames, tuple(found.pixels[8, 8])) == (3, (9, 9, 9))


def test_layers_and_sizes_are_not_pages(tmp_path: Path) -> None:
    Pillow.new("RGBA", (64, 64)).save(tmp_path / "a.ico", sizes=[(16, 16), (64, 64)])
    assert count_pages(Source.of(tmp_path / "a.ico")) == 1


def test_the_pictures_of_a_heic_file_are_pages(tmp_path: Path) -> None:
    import pillow_heif

    heif = pillow_heif.HeifFile()
    for color in COLORS:
        heif.add_from_pillow(Pillow.new("RGB", (64, 64), color))
    heif.save(tmp_path / "a.heic", primary_index=1)
    source = Source.of(tmp_path / "a.heic")
    assert count_pages(source) == 3
    main = load_image(source)
    assert (main.page, main.pages) == (2, 3)
    third = load_image(Source(name="a", path=tmp_path / "a.heic", page=3))
    assert abs(int(third.pixels[32, 32, 2]) - COLORS[2][2]) < 8


def test_the_first_page_is_described_with_a_notice(fax: Path) -> None:
    result = tiny_g4("describe", str(fax))
    assert result.exit_code == 0
    assert f"{fax}: page 1 of 3; --pages all chooses each of them" in result.stderr


def test_the_first_frame_of_an_animation_is_described_with_a_notice(tmp_path: Path) -> None:
    path = pages(tmp_path / "a.gif")
    result = tiny_g4("describe", str(path))
    assert f"{path}: the first of 3 frames; g4 video sees all of them" in result.stderr


def test_each_chosen_page_is_answered_under_its_own_name(fax: Path) -> None:
    result = tiny_g4("describe", str(fax), "--pages", "all")
    assert result.exit_code == 0
    assert [line.split(": ")[0] for line in result.stdout.splitlines()] == [
        f"{fax}, page {number}" for number in (1, 2, 3)
    ]
    assert "page 1 of 3" not in result.stderr


def test_one_chosen_page_is_the_whole_answer(fax: Path) -> None:
    result = tiny_g4("describe", str(fax), "--pages", "2", "--json")
    record = json.loads(result.stdout)
    assert (record["input"], record["page"]) == (str(fax), 2)


def test_records_have_the_page(fax: Path) -> None:
    result = tiny_g4("describe", str(fax), "--pages", "1,3", "--json")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["input"], each["page"]) for each in records] == [(str(fax), 1), (str(fax), 3)]


def test_pages_together_are_one_question(fax: Path) -> None:
    result = tiny_g4("describe", str(fax), "--pages", "all", "--together", "--json")
    record = json.loads(result.stdout)
    assert record["input"] == [f"{fax}, page {number}" for number in (1, 2, 3)]


def test_a_file_with_one_picture_keeps_its_name(fax: Path, tmp_path: Path) -> None:
    Pillow.new("RGB", (64, 64)).save(tmp_path / "one.png")
    result = tiny_g4("describe", str(tmp_path / "one.png"), str(fax), "--pages", "all")
    names = [line.split(": ")[0] for line in result.stdout.splitlines()]
    assert names[0] == str(tmp_path / "one.png")
    assert names[3] == f"{fax}, page 3"


def test_a_page_beyond_the_last_is_an_error(fax: Path) -> None:
    result = tiny_g4("describe", str(fax), "--pages", "4")
    assert result.exit_code == 3
    assert f"{fax}: has 3 pages; there is no page 4" in result.stderr


def test_a_page_that_one_of_several_files_lacks_does_not_stop_the_others(
    fax: Path, tmp_path: Path
) -> None:
    two = pages(tmp_path / "two.tiff", 2)
    result = tiny_g4("describe", str(two), str(fax), "--pages", "3")
    assert result.exit_code == 5
    assert f"{two}, page 3: has 2 pages; there is no page 3" in result.stderr
    assert result.stdout.startswith(f"{fax}, page 3: ")


def test_standard_input_has_pages_too(fax: Path) -> None:
    result = tiny_g4("describe", "-", "--pages", "2-", stdin=fax.read_bytes())
    assert [line.split(": ")[0] for line in result.stdout.splitlines()] == [
        "-, page 2",
        "-, page 3",
    ]


def test_each_page_has_its_file(fax: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = tiny_g4("describe", str(fax), "--pages", "all", "-f", "txt", "-o", f"{folder}/")
    assert result.exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        f"fax-page{number}.txt" for number in (1, 2, 3)
    ]


def test_pages_that_are_written_are_skipped(fax: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    tiny_g4("describe", str(fax), "--pages", "1,2", "-o", str(out))
    result = tiny_g4("describe", str(fax), "--pages", "all", "-o", str(out), "--skip-existing")
    assert "skipped: 2 of 3" in result.stderr
    found = [json.loads(line)["page"] for line in out.read_text().splitlines()]
    assert sorted(found) == [1, 2, 3]


def test_a_chat_takes_pages(fax: Path) -> None:
    result = tiny_g4("chat", "--image", str(fax), "--pages", "2,3", "-p", "What is this?")
    assert result.exit_code == 0
    assert "page 1 of 3" not in result.stderr
    result = tiny_g4("chat", "--image", str(fax), "--pages", "4", "-p", "What is this?")
    assert result.exit_code == 3
    assert "has 3 pages; there is no page 4" in result.stderr
