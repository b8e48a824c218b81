"""Names that look the same name the same file; similar ones are suggested."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma4cli.errors import MediaNotFoundError
from gemma4cli.media.near_names import existing, suggestion
from gemma4cli.media.sources import open_source
from gemma4cli.messages import Source


@pytest.mark.parametrize(
    ("on_disk", "typed"),
    [
        ("at 10.14\u202fPM.png", "at 10.14 PM.png"),
        ("at 10.14 PM.png", "at 10.14\u00a0PM.png"),
        ("cafe\u0301.png", "café.png"),
        ("café.png", "cafe\u0301.png"),
        ("a\u200bb.png", "ab.png"),
        ("wide\u3000space/a b", "wide space/a\u2009b"),
    ],
)
def test_a_name_that_looks_the_same_is_found(tmp_path: Path, on_disk: str, typed: str) -> None:
    path = tmp_path / on_disk
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert existing(tmp_path / typed) == path
    assert existing(path) == path


def test_a_name_that_looks_like_two_files_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a\u2009b").touch()
    (tmp_path / "a\u202fb").touch()
    assert existing(tmp_path / "a b") == tmp_path / "a b"


def test_a_similar_name_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "Holiday.JPG").touch()
    assert suggestion(tmp_path / "holidays.jpg") == "Holiday.JPG"
    assert suggestion(tmp_path / "other.png") is None
    assert suggestion(tmp_path / "nowhere" / "other.png") is None
    with pytest.raises(MediaNotFoundError, match=r"no such file; did you mean Holiday\.JPG\?"):
        open_source(Source.of(tmp_path / "holliday.jpg"))
