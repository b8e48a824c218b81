"""What folders and files as arguments stand for: order, names, and what stays in memory."""

from __future__ import annotations

import os
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.cli.run.inputs import Input, Kind, check_named_once
from gemma4cli.cli.run.listing import Listing, distinct
from gemma4cli.cli.run.names import folded, repeated, suffix_of_name
from gemma4cli.cli.run.shards import shard_of
from gemma4cli.cli.run.shares import Share, share_of
from gemma4cli.errors import OptionError

IMAGES = Kind(plural="images", suffixes={".png", ".jpg"})


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def share(*arguments: str, shard: str | None = None) -> Share:
    return share_of(shard_of(shard), Listing(arguments, IMAGES, lambda line: None))


def found(*arguments: str) -> list[str]:
    return [each.given for each in share(*arguments).inputs]


def labels(*arguments: str, shard: str | None = None) -> dict[str, str]:
    return {each.given: each.label for each in share(*arguments, shard=shard).inputs}


def test_the_order_is_that_of_paths_compared_folder_by_folder() -> None:
    draw = random.Random(5)
    names = ("a", "a.b", "a-b", "A", "B", "10", "9", "é", "a b")
    for _ in range(150):
        folders = "/".join(draw.choices(names, k=draw.randrange(4)))
        touch(f"x/{folders}/{draw.choice(names)}.{draw.choice(('png', 'JPG'))}")
    every = [str(path) for path in sorted(Path("x").rglob("*.*")) if path.is_file()]
    assert found("x") == every
    for count in (1, 3):
        shards = [share("x", shard=f"{n}/{count}") for n in range(1, count + 1)]
        placed = sorted(
            (position, each.given)
            for each_share in shards
            for position, each in zip(each_share.positions, each_share.inputs, strict=True)
        )
        assert placed == list(enumerate(every))


def test_what_systems_leave_in_folders_is_no_input() -> None:
    touch("x/a.png", "x/._a.png", "x/.DS_Store", "x/Thumbs.db", "x/desktop.ini", "x/.git/b.png")
    touch("x/@eaDir/a.png/SYNOPHOTO_THUMB_XL.jpg", "x/in/@eaDir/b.jpg", "x/#recycle/gone.png")
    touch("x/$RECYCLE.BIN/gone.png", "x/.@__thumb/a.png", "x/__MACOSX/._a.png")
    assert found("x") == ["x/a.png"]
    # Named itself, a folder is read whatever it is called.
    assert found("x/#recycle", "x/._a.png") == ["x/#recycle/gone.png", "x/._a.png"]


def test_links_to_folders_are_not_followed_and_those_to_nothing_are_inputs() -> None:
    touch("x/a.png", "elsewhere/b.png")
    os.symlink("../elsewhere", "x/linked")
    os.symlink("..", "x/up")
    os.symlink("loop.png", "x/loop.png")
    os.symlink("nothing", "x/gone.png")
    os.symlink("../elsewhere/b.png", "x/other.png")
    assert found("x") == ["x/a.png", "x/gone.png", "x/loop.png", "x/other.png"]
    os.symlink("x", "named")
    assert found("named")[0] == "named/a.png"


@pytest.mark.parametrize("folder", ["x", "x/", "./x", "x//", "x/../x"])
def test_a_folder_is_called_as_it_was_named(folder: str) -> None:
    touch("x/in/a.png")
    (only,) = share(folder).inputs
    assert (only.given, only.place) == (f"{Path(folder)}/in/a.png", "in/a.png")
    os.chdir("x")
    (only,) = share(".").inputs
    assert (only.given, only.place, only.path) == ("in/a.png", "in/a.png", Path("in/a.png"))


def test_names_in_one_folder_and_case() -> None:
    touch("x/a.png", "x/b.png", "x/b.jpg", "x/C.png", "x/c.jpg", "x/d.PNG", "x/d.png.jpg")
    touch("x/n/E.png", "x/N/e.png")
    every = labels("x")
    assert len({folded(each) for each in every.values()}) == len(every)
    assert (every["x/a.png"], every["x/b.png"], every["x/b.jpg"]) == ("a", "b.png", "b.jpg")
    assert (every["x/C.png"], every["x/c.jpg"]) == ("C.png", "c.jpg")
    assert every["x/n/E.png"].startswith("n/E~")
    parts = [labels("x", shard=f"{number}/3") for number in (1, 2, 3)]
    assert parts[0] | parts[1] | parts[2] == every


def test_names_of_two_folders_do_not_depend_on_the_shard() -> None:
    touch(*[f"{folder}/{number}.png" for folder in ("p", "q/p") for number in range(9)])
    every = labels("p", "q")
    assert len(set(every.values())) == 18
    parts = [labels("p", "q", shard=f"{number}/4") for number in (1, 2, 3, 4)]
    assert parts[0] | parts[1] | parts[2] | parts[3] == every
    assert distinct(list(share("p", "q").listing)) == list(share("p", "q").inputs)


def test_a_file_of_any_shard_that_is_named_twice_is_an_error() -> None:
    touch("x/in/a.png", "x/b.png")
    for number in (1, 2):
        overlapping = share("x", "x/in", shard=f"{number}/2")
        with pytest.raises(OptionError, match=r"x/in/a\.png: is named 2 times"):
            overlapping.check_named_once()
        share("x", shard=f"{number}/2").check_named_once()
    check_named_once(share("x/in", "x/b.png").inputs)


def test_lines_of_other_shards_are_known_by_their_names_alone() -> None:
    touch("x/a.png", "x/b.png", "x/c.png")
    parts = [share("x", shard=f"{number}/2") for number in (1, 2)]
    names = ["x/a.png", "x/b.png", "x/c.png", "x/removed.png", "y/a.png"]
    assert sum(each.count_others(names) for each in parts) == 4  # each name below x, once
    assert all(each.count_others(map(str, (i.given for i in each.inputs))) == 0 for each in parts)
    assert share("x").count_others(names) == 0


def test_what_is_in_memory_grows_with_a_shards_own_files() -> None:
    touch(*[f"x/{folder:03}/{number:05}.png" for folder in range(20) for number in range(100)])
    share("x", shard="1/2")  # imports

    def peak(shard: str | None) -> int:
        tracemalloc.start()
        try:
            kept = share("x", shard=shard)
            assert kept.count == 2000
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    whole, part = peak(None), peak("1/20")
    assert whole < 2000 * 500
    assert part < 2000 * 150


@given(st.lists(st.text(alphabet="aAbB.é", max_size=3)))
def test_texts_that_come_more_than_once(texts: list[str]) -> None:
    assert repeated(lambda: texts) == {text for text in texts if texts.count(text) > 1}


@given(st.text(alphabet="aB.é ", min_size=1, max_size=6))
def test_a_suffix_is_that_of_the_path(name: str) -> None:
    if Path(name).name == name and not name.endswith("."):
        assert suffix_of_name(name) == Path(name).suffix.lower()


def test_an_input_takes_little() -> None:
    one = Input(given="photos/000/000001.png", label="000/000001", below="photos/")
    assert not hasattr(one, "__dict__")
    assert one.source.name == one.given
