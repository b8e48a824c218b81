"""Conversations on disk: what comes back, what others may see of it, what a crash leaves."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from gemma4cli.conversations.file import Conversation, read_conversation
from gemma4cli.conversations.saved_list import list_saved, remove_abandoned
from gemma4cli.conversations.store import SavedConversation, check_name, save_copy
from gemma4cli.errors import ConversationError, OptionError, SavedConversationError
from gemma4cli.messages import (
    AudioPart,
    ImagePart,
    Message,
    Source,
    TextPart,
    ToolCall,
)

SAMPLES = Path(__file__).parents[2] / "fixtures" / "samples"


def talk(*parts: object, answer: str = "A cat.") -> Conversation:
    content = (*parts, TextPart(text="What is this?"))
    return Conversation(
        messages=(
            Message(role="system", content="Be brief."),
            Message(role="user", content=content),  # type: ignore[arg-type]
            Message(role="assistant", content=answer, thoughts="Hm."),
        )
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return Path(shutil.copy(SAMPLES / "image00.png", tmp_path / "cat.png"))


def source_in(conversation: Conversation) -> Source:
    (part,) = [part for part in conversation.messages[1].parts if isinstance(part, ImagePart)]
    return part.source


def test_everything_comes_back(tmp_path: Path) -> None:
    call = ToolCall(name="look", arguments={"at": ["é", 1]}, id="c1")
    conversation = Conversation(
        messages=(
            *talk().messages,
            Message(role="assistant", content="", tool_calls=(call,)),
            Message(role="tool", content="seen", tool_call_id="c1", name="look"),
        ),
        think=True,
        max_soft_tokens=140,
        video_max_frames=8,
        tools=({"type": "function", "function": {"name": "look"}},),
    )
    with SavedConversation(tmp_path / "one") as saved:
        saved.write(conversation, model="tiny")
    with SavedConversation(tmp_path / "one") as saved:
        assert saved.read() == conversation
        assert saved.model == "tiny"


def test_media_survive_their_files(tmp_path: Path, picture: Path) -> None:
    content = picture.read_bytes()
    sources = (ImagePart(source=Source.of(picture, "cat.png")),)
    with SavedConversation(tmp_path / "one") as saved:
        saved.write(talk(*sources), model="tiny")
        picture.unlink()
        # What is kept already is not looked for again.
        saved.write(talk(*sources, answer="A dog."), model="tiny")
    with SavedConversation(tmp_path / "one") as saved:
        found = saved.read()
    assert found is not None
    source = source_in(found)
    assert source.name == "cat.png"
    assert source.path is not None and source.path.read_bytes() == content


def test_a_file_attached_again_after_a_change_is_copied_twice(
    tmp_path: Path, picture: Path
) -> None:
    with SavedConversation(tmp_path / "one") as saved:
        first = ImagePart(source=Source.of(picture))
        saved.write(talk(first), model="tiny")
        shutil.copy(SAMPLES / "image01.png", picture)
        saved.write(talk(first, ImagePart(source=Source.of(picture))), model="tiny")
        assert len(list((tmp_path / "one" / "media").iterdir())) == 2


def test_bytes_are_kept_and_unused_media_are_removed(tmp_path: Path) -> None:
    clip = AudioPart(source=Source.of(b"RIFF", name="recording 1.wav"))
    with SavedConversation(tmp_path / "one") as saved:
        saved.write(talk(clip), model="tiny")
        (kept,) = (tmp_path / "one" / "media").iterdir()
        assert (kept.read_bytes(), kept.suffix) == (b"RIFF", ".wav")
        saved.write(talk(), model="tiny")
        assert list((tmp_path / "one" / "media").iterdir()) == []


def test_a_resumed_conversation_keeps_its_media(tmp_path: Path, picture: Path) -> None:
    with SavedConversation(tmp_path / "one") as saved:
        saved.write(talk(ImagePart(source=Source.of(picture))), model="tiny")
    with SavedConversation(tmp_path / "one") as saved:
        found = saved.read()
        assert found is not None
        saved.write(found, model="tiny")
        again = saved.read()
    assert again is not None
    path = source_in(again).path
    assert path is not None and path.is_file()


def test_only_the_owner_may_read_a_conversation(tmp_path: Path, picture: Path) -> None:
    before = os.umask(0)
    try:
        with SavedConversation(tmp_path / "sessions" / "one") as saved:
            saved.write(talk(ImagePart(source=Source.of(picture))), model="tiny")
    finally:
        os.umask(before)
    for path in (tmp_path / "sessions" / "one").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "sessions" / "one").stat().st_mode) == 0o700


def test_a_crash_while_writing_leaves_the_turns_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SavedConversation(tmp_path / "one") as saved:
        saved.write(talk(), model="tiny")

        def crash(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            saved.write(talk(answer="A dog."), model="tiny")
        assert saved.read() == talk()
        assert sorted(os.listdir(tmp_path / "one")) == ["conversation.json", "lock"]


def test_a_turn_is_synced_before_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("sync"), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("rename"), rename(*a)))
    with SavedConversation(tmp_path / "one") as saved:
        saved.write(talk(), model="tiny")
    assert calls == ["sync", "rename", "sync"]


def test_a_second_process_cannot_open_a_conversation(tmp_path: Path) -> None:
    refused = pytest.raises(SavedConversationError, match="one: another g4 has it open")
    with SavedConversation(tmp_path / "one"), refused:
        SavedConversation(tmp_path / "one")
    SavedConversation(tmp_path / "one").close()


def test_a_conversation_without_turns_leaves_no_files(tmp_path: Path) -> None:
    SavedConversation(tmp_path / "one").close()
    SavedConversation.create(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_new_conversations_have_different_names(tmp_path: Path) -> None:
    with SavedConversation.create(tmp_path) as first, SavedConversation.create(tmp_path) as second:
        assert first.name != second.name


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SavedConversationError, match="cannot be saved"):
        SavedConversation(tmp_path / "file" / "one")


def test_a_name_that_no_file_could_have_is_refused(subtests: pytest.Subtests) -> None:
    for name in ["", ".", "..", "a/b", "../a", "-a", ".hidden", "a\nb", "x" * 201]:
        with subtests.test(name=name), pytest.raises(OptionError):
            check_name(name)


def test_list_has_the_last_one_first(tmp_path: Path) -> None:
    for number, name in enumerate(("old", "new"), 1):
        with SavedConversation(tmp_path / name) as saved:
            saved.write(talk(), model="tiny")
        os.utime(tmp_path / name / "conversation.json", (number, number))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "conversation.json").write_text("{")
    new, old, broken = list_saved(tmp_path)
    assert (new.name, new.turns, new.first_words, new.model) == ("new", 1, "What is this?", "tiny")
    assert (old.name, old.used) == ("old", 1)
    assert (broken.name, broken.first_words) == ("broken", "(cannot be read)")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with SavedConversation(tmp_path / "one") as saved:
        saved.path.write_text('{"messages": 1}')
        with pytest.raises(
            ConversationError, match=r"conversation\.json: messages: must be a list"
        ):
            saved.read()


def test_a_copy_is_a_conversation_file(tmp_path: Path, picture: Path) -> None:
    save_copy(tmp_path / "talk.json", talk(ImagePart(source=Source.of(picture))), model="tiny")
    picture.unlink()
    found = read_conversation(tmp_path / "talk.json")
    path = source_in(found).path
    assert path is not None and path.parent == tmp_path / "talk.media" and path.is_file()
    assert json.loads((tmp_path / "talk.json").read_text())["model"] == "tiny"


# What g4 did not write stays


def saved_with(folder: Path, *parts: object) -> None:
    with SavedConversation(folder) as saved:
        saved.write(talk(*parts), model="tiny")


def test_nothing_behind_a_linked_media_folder_is_removed(tmp_path: Path, picture: Path) -> None:
    part = ImagePart(source=Source.of(picture))
    saved_with(tmp_path / "one", part)
    elsewhere = (tmp_path / "one" / "media").rename(tmp_path / "elsewhere")
    (tmp_path / "one" / "media").symlink_to(elsewhere)
    (elsewhere / "holiday.jpg").write_bytes(b"mine")
    before = sorted(elsewhere.iterdir())
    saved_with(tmp_path / "one")
    assert sorted(elsewhere.iterdir()) == before


def test_what_others_put_into_the_media_folder_stays(tmp_path: Path, picture: Path) -> None:
    saved_with(tmp_path / "one", ImagePart(source=Source.of(picture)))
    media = tmp_path / "one" / "media"
    (copy,) = media.iterdir()
    (media / "folder").mkdir()
    (media / "holiday.jpg").write_bytes(b"mine")
    (media / f"{'0' * 32}.jpg").write_bytes(b"named like a copy")
    saved_with(tmp_path / "one")
    assert {path.name for path in media.iterdir()} == {"folder", "holiday.jpg", f"{'0' * 32}.jpg"}
    assert not copy.exists()


@pytest.mark.parametrize("new_name", ["conversation.json.bak", "../mended.json"])
def test_a_conversation_whose_file_was_renamed_keeps_all_else(
    tmp_path: Path, picture: Path, new_name: str
) -> None:
    folder = tmp_path / "one"
    saved_with(folder, ImagePart(source=Source.of(picture)))
    (copy,) = (folder / "media").iterdir()
    moved = (folder / "conversation.json").rename(folder / new_name)
    SavedConversation(folder).close()
    remove_abandoned(tmp_path)
    assert copy.exists()
    assert moved.exists()
    # A new conversation of this name does not own what the old one refers to.
    saved_with(folder)
    assert copy.exists()
    moved.replace(folder / "conversation.json")
    with SavedConversation(folder) as saved:
        found = saved.read()
    assert found is not None
    assert source_in(found).path == copy


def test_deleting_leaves_what_g4_did_not_write(tmp_path: Path, picture: Path) -> None:
    folder = tmp_path / "one"
    saved_with(folder, ImagePart(source=Source.of(picture)))
    (folder / "notes.txt").write_text("mine")
    with SavedConversation(folder) as saved:
        assert not saved.delete()
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "lock"}
    (folder / "notes.txt").unlink()
    with SavedConversation(folder) as saved:
        assert saved.delete()
    assert not folder.exists()


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    saved_with(folder)
    (folder / "media").mkdir()
    left = [folder / ".new.abcd1234", folder / "media" / ".g4-host-12-abcd1234"]
    foreign = folder / ".newsrc"
    for path in (*left, foreign):
        path.write_text("half")
    SavedConversation(folder).close()
    assert [path.exists() for path in (*left, foreign)] == [False, False, True]


def test_only_the_owner_may_enter_the_folder_of_all_conversations(tmp_path: Path) -> None:
    """Also one that an earlier g4 left open to others."""
    before = os.umask(0)
    try:
        sessions = tmp_path / "state" / "sessions"
        saved_with(sessions / "one")
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        sessions.chmod(0o755)
        saved_with(sessions / "one")
    finally:
        os.umask(before)
    assert stat.S_IMODE(sessions.stat().st_mode) == 0o700
    files = [path for path in sessions.rglob("*") if path.is_file()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    """Neither by the list, nor by what continues or deletes it."""
    folder = tmp_path / "odd"
    folder.mkdir()
    path = folder / "conversation.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    (found,) = list_saved(tmp_path)
    assert found.problem
    with SavedConversation(folder) as saved:
        with pytest.raises(ConversationError, match="cannot be read"):
            saved.read()
        assert saved.delete() == (kind != "folder")
