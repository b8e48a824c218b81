"""Conversations that earlier versions saved: every later one reads them and loses nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gemma4cli.conversations.chat import Chat
from gemma4cli.conversations.store import SavedConversation
from gemma4cli.engine.model import LoadedModel
from gemma4cli.events import Finished
from gemma4cli.media.pictures.images import load_image
from gemma4cli.messages import ImagePart, Message, TextPart, ToolCall, VideoPart
from gemma4cli.options import GenerateOptions

SAVED = Path(__file__).parents[2] / "fixtures" / "formats" / "conversation"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAVED, tmp_path / "talk"))


def test_a_conversation_of_version_0_1_is_read(folder: Path) -> None:
    with SavedConversation(folder) as saved:
        found = saved.read()
        assert saved.model == "tiny"
    assert found is not None
    assert (found.think, found.max_soft_tokens, found.video_max_frames) == (True, 70, 8)
    assert [tool["function"]["name"] for tool in found.tools] == ["look"]
    system, asked, answered, clip, call, result, last = found.messages
    assert system == Message(role="system", content="Be brief.")
    image, text = asked.parts
    assert isinstance(image, ImagePart) and image.source.name == "my pictures/räd 1.png"
    assert load_image(image.source).pixels[0, 0].tolist() == [255, 0, 0]
    assert text == TextPart(text="What is this? 这是什么")
    thoughts = "It is plain.\nAnd red."
    assert answered == Message(role="assistant", content="A red picture.", thoughts=thoughts)
    video, _ = clip.parts
    assert isinstance(video, VideoPart) and video.timestamps == (0.0, 61.5)
    assert [load_image(frame).pixels[0, 0].tolist() for frame in video.frames] == [
        [0, 0, 255],
        [0, 128, 0],
    ]
    arguments = {"at": [0, 61.5], "what": '"color" 🎨'}
    assert call.tool_calls == (ToolCall(name="look", arguments=arguments, id="c1"),)
    assert result == Message(
        role="tool", content='{"changed": true}', tool_call_id="c1", name="look"
    )
    assert last == Message(role="assistant", content="At 01:01.")


def test_a_conversation_of_version_0_1_is_written_back_equal(folder: Path) -> None:
    with SavedConversation(folder) as saved:
        found = saved.read()
        assert found is not None
        saved.write(found, model="tiny")
    assert files_of(folder) == files_of(SAVED)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_a_conversation_of_version_0_1_is_continued(folder: Path, tiny: LoadedModel) -> None:
    with SavedConversation(folder) as saved:
        found = saved.read()
    assert found is not None
    chat = Chat(tiny)
    list(chat.load(found.messages))
    options = GenerateOptions(max_tokens=1, temperature=0)
    *_, last = chat.send("And now?", options)
    assert isinstance(last, Finished)
    assert chat.history[: len(found.messages)] == found.messages
    assert last.usage.soft_tokens > 3 * 32
