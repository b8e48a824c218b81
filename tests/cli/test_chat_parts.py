"""Files among the words of a message."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.samples import sample

from gemma4cli.cli.chat.attachments import (
    find_dropped,
    media_kind,
    read_text_file,
    with_attached_text,
)
from gemma4cli.errors import ConversationError


@pytest.fixture
def spaced(tmp_path: Path) -> Path:
    """A picture in a folder, both with awkward names."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    return Path(shutil.copy(sample("image00.png"), folder / "it's é.png"))


def ways_to_write(path: Path) -> list[str]:
    escaped = str(path).replace(" ", "\\ ").replace("'", "\\'")
    return [str(path), escaped, f'"{path}"', path.as_uri(), f"{escaped} "]


@pytest.mark.parametrize("way", range(5))
def test_a_dropped_file_is_the_whole_message(spaced: Path, way: int) -> None:
    dropped = find_dropped(ways_to_write(spaced)[way])
    assert (dropped.text, dropped.files) == ("", (("image", spaced),))


@pytest.mark.parametrize("way", [1, 2, 3])
def test_a_dropped_file_is_a_word(spaced: Path, way: int) -> None:
    dropped = find_dropped(f"What is {ways_to_write(spaced)[way].strip()}?")
    assert dropped.text == "What is it's é.png?"
    assert dropped.files == (("image", spaced),)


def test_several_dropped_files_without_words(spaced: Path) -> None:
    clip = Path(sample("speech00.wav"))
    dropped = find_dropped(f"'{clip}' {spaced.as_uri()}")
    assert (dropped.text, dropped.files) == ("", (("audio", clip), ("image", spaced)))


def test_a_file_of_this_folder() -> None:
    shutil.copy(sample("video00.mp4"), "ball.mp4")
    assert find_dropped("Describe ball.mp4.").files == (("video", Path("ball.mp4")),)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            ["'", '"', "\\", " ", "\n", "/", "~", "file://", "it's", "a.png", "?", "\0"]
        ),
        max_size=12,
    ).map("".join)
    | st.sampled_from(["look at /nowhere/a.png", "~nobody/x", "~\0", "file:///nowhere", "x" * 5000])
)
def test_words_that_do_not_name_a_file_stay_as_they_are(text: str) -> None:
    dropped = find_dropped(text)
    assert (dropped.text, dropped.files) == (text if text.strip() else "", ())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(["What", "is", "isn't", "that?", '"so"']), max_size=5),
    at=st.integers(0, 5),
)
def test_the_words_around_a_dropped_file_stay(words: list[str], at: int) -> None:
    shutil.copy(sample("image00.png"), "ball.png")
    dropped = find_dropped(" ".join([*words[:at], "ball.png", *words[at:]]))
    assert dropped.files == (("image", Path("ball.png")),)
    expected = [*words[:at], "ball.png", *words[at:]] if words else []
    assert dropped.text == " ".join(expected)


def test_a_text_file_is_not_a_medium(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    assert media_kind(tmp_path / "a.txt") is None
    assert media_kind(tmp_path / "a.pdf") is None
    assert media_kind(tmp_path) is None


@pytest.mark.parametrize(("name", "kind"), [("a.mp3", "audio"), ("a.m4a", "audio"), ("a", None)])
def test_the_suffix_decides_if_the_content_is_unknown(
    tmp_path: Path, name: str, kind: str | None
) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfb\x90\x00")
    assert media_kind(tmp_path / name) == kind


def test_material_is_headed_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("One.\nTwo.\n")
    material = read_text_file(tmp_path / "notes.txt", "notes.txt")
    assert with_attached_text("Sum up:", [material]) == "Sum up:\n\nnotes.txt:\nOne.\nTwo."


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"\xff\xfe\x00", "is not text"), (b"a" * (1 << 21), "longer than any")],
)
def test_a_file_that_is_not_text_cannot_be_material(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConversationError, match=problem):
        read_text_file(tmp_path / "file", "file")
    with pytest.raises(ConversationError, match="No such file"):
        read_text_file(tmp_path / "nowhere", "nowhere")
