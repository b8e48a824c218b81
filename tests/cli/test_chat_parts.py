"""Text files that go with a question."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from cli_runs import environment

from gemma4cli.cli.chat.material import LONGEST_TEXT, read_text_file, with_attached_text
from gemma4cli.errors import ConversationError


def read(path: Path, name: str) -> str:
    env = environment()
    text = read_text_file(env, path, name)
    assert isinstance(env.stderr, io.StringIO) and env.stderr.getvalue() == ""
    return text


def test_material_is_headed_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("One.\nTwo.\n")
    material = read(tmp_path / "notes.txt", "notes.txt")
    assert with_attached_text("Sum up:", [material]) == "Sum up:\n\nnotes.txt:\nOne.\nTwo."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (bytes(range(256)), "is not text"),
        (
            b"\x89PNG\r\n\x1a\n" + bytes(99),
            "is not text but an image: attach it with --image or /image",
        ),
        (b"a" * (LONGEST_TEXT + 1), "is longer than 16 MB, more than any context"),
    ],
)
def test_a_file_that_is_not_text_cannot_be_material(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConversationError, match=problem):
        read(tmp_path / "file", "file")
    with pytest.raises(ConversationError, match="nowhere: no such file"):
        read(tmp_path / "nowhere", "nowhere")
