"""Text files that go with a question."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma4cli.cli.chat.attachments import (
    read_text_file,
    with_attached_text,
)
from gemma4cli.errors import ConversationError


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
