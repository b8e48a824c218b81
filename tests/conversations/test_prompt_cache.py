"""Prompt caches on disk: they save computing, and change no answer whatever is in the file.

The window of the parity checkpoints is 32 tokens, so every conversation here is longer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from support.goldens import FOLDER, inputs_of
from support.models import narrow

from gemma4cli.api import load
from gemma4cli.conversations.chat import Chat
from gemma4cli.conversations.prompt_cache import PromptCache
from gemma4cli.conversations.saved_list import drop_prompt_caches, remove_abandoned
from gemma4cli.conversations.store import SavedConversation
from gemma4cli.engine.generate import generate
from gemma4cli.engine.loading import load_drafter
from gemma4cli.engine.model import LoadedModel
from gemma4cli.engine.turn_cache import TurnCache
from gemma4cli.engine.turn_cache import content_of as turn_content
from gemma4cli.errors import OptionError
from gemma4cli.events import EncodeProgress, Finished, Notice
from gemma4cli.hub.resolved import ResolvedModel
from gemma4cli.messages import Message, Part, content_of
from gemma4cli.options import GenerateOptions, LoadOptions, MediaOptions

ParityModel = Callable[[str], LoadedModel]
Content = str | tuple[Part, ...]

GREEDY = GenerateOptions(max_tokens=6, temperature=0)
SMALL = MediaOptions(budget=70)
LONG = "Tell me about the colors, from the left to the right, and then of the shapes. " * 4
SHORT = "And now?"


@dataclass(frozen=True)
class Turn:
    """An answer, what was said about the file, and how many media were encoded."""

    finished: Finished
    notices: tuple[str, ...]
    encoded: int

    @property
    def cached(self) -> int:
        return self.finished.usage.cached_tokens

    @property
    def new(self) -> int:
        return self.finished.usage.prompt_tokens - self.cached

    @property
    def answer(self) -> tuple[int, ...]:
        return self.finished.token_ids


def ask(chat: Chat, content: Content, options: GenerateOptions = GREEDY) -> Turn:
    events = list(chat.send(content, options))
    last = events[-1]
    assert isinstance(last, Finished)
    return Turn(
        last,
        tuple(event.text for event in events if isinstance(event, Notice)),
        max([event.total for event in events if isinstance(event, EncodeProgress)], default=0),
    )


def chat_with(
    model: LoadedModel,
    path: Path | None,
    before: Sequence[Message] = (),
    *,
    shared: bool = True,
) -> Chat:
    """A chat as another process starts it."""
    chat = Chat(model, media=SMALL)
    if path is not None:
        chat.use_prompt_cache(PromptCache(model, path, shared=shared))
    assert list(chat.load(before)) is not None
    return chat


def written(
    model: LoadedModel, path: Path, content: Content = LONG, *, shared: bool = True
) -> Chat:
    """A chat with one turn, whose prompt cache is in a file."""
    chat = chat_with(model, path, shared=shared)
    ask(chat, content)
    assert chat.write_prompt_cache() is None
    return chat


def image(text: str) -> Content:
    return content_of(text, images=[FOLDER / "media" / "square.png"])


def sound(text: str) -> Content:
    return content_of(text, audio=[FOLDER / "media" / "short.wav"])


# Answers


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("arch", ["e2b", "12b", "31b"])
def test_another_process_continues_a_conversation(
    arch: str, shared: bool, parity_model: ParityModel, tmp_path: Path
) -> None:
    """With an image, and text past the window: only what is new is computed."""
    model = parity_model(arch)
    first = written(model, tmp_path / "cache", image(LONG), shared=shared)
    within = ask(first, SHORT)

    history = first.history[:2]
    continued = ask(chat_with(model, tmp_path / "cache", history, shared=shared), SHORT)
    alone = ask(chat_with(model, None, history), SHORT)
    assert (continued.notices, continued.encoded) == ((), 0)
    assert continued.cached == within.cached > 100
    assert continued.new < 60
    assert (alone.cached, alone.encoded) == (0, 1)
    assert continued.answer == within.answer == alone.answer


@pytest.mark.parametrize("arch", ["e2b", "e4b", "26b"])
def test_a_conversation_goes_on_over_many_processes(
    arch: str, parity_model: ParityModel, tmp_path: Path
) -> None:
    model, path = parity_model(arch), tmp_path / "cache"
    history: tuple[Message, ...] = ()
    for number, content in enumerate((LONG, SHORT, image(SHORT), SHORT)):
        chat = chat_with(model, path, history, shared=False)
        turn = ask(chat, content)
        assert turn.answer == ask(chat_with(model, None, history), content).answer
        assert turn.cached > 60 if number else turn.cached == 0
        assert chat.write_prompt_cache() is None
        history = chat.history


@pytest.mark.parametrize("arch", ["e2b", "12b"])
def test_another_question_about_the_same_text_computes_the_question(
    arch: str, parity_model: ParityModel, tmp_path: Path
) -> None:
    model, path = parity_model(arch), tmp_path / "cache"
    written(model, path, f"{LONG}\n\nWhat is on the left?")
    for question in ("How many are there?", "Why?", "What is on the right?"):
        chat = chat_with(model, path)
        turn = ask(chat, f"{LONG}\n\n{question}")
        assert turn.cached > 150
        assert turn.new <= 64 + 60
        assert turn.answer == ask(chat_with(model, None), f"{LONG}\n\n{question}").answer
        assert chat.write_prompt_cache() is None


def test_another_question_about_the_same_image_does_not_encode_it(
    parity_model: ParityModel, tmp_path: Path
) -> None:
    model, path = parity_model("e2b"), tmp_path / "cache"
    written(model, path, image("What is on the left?"))
    turn = ask(chat_with(model, path), image("Why?"))
    assert turn.cached > 0 and turn.encoded == 0
    assert turn.answer == ask(chat_with(model, None), image("Why?")).answer


def test_another_image_is_not_taken_for_the_one_before(
    parity_model: ParityModel, tmp_path: Path
) -> None:
    model, path = parity_model("e2b"), tmp_path / "cache"
    other = content_of("What?", images=[FOLDER / "media" / "wide.png"])
    written(model, path, image("What?"))
    turn = ask(chat_with(model, path), other)
    assert turn.encoded == 1
    assert turn.answer == ask(chat_with(model, None), other).answer


def test_media_of_several_kinds(parity_model: ParityModel, tmp_path: Path) -> None:
    model, path = parity_model("e2b"), tmp_path / "cache"
    first = written(model, path, (*image(LONG), *sound("And this?"), *image("Again?")))
    continued = ask(chat_with(model, path, first.history), SHORT)
    assert (continued.notices, continued.encoded) == ((), 0)
    assert continued.answer == ask(first, SHORT).answer


def test_text_that_differs_early_is_computed_without_a_notice(
    parity_model: ParityModel, tmp_path: Path
) -> None:
    model, path = parity_model("e2b"), tmp_path / "cache"
    written(model, path)
    turn = ask(chat_with(model, path), f"Please: {LONG}")
    assert (turn.cached, turn.notices) == (0, ())
    assert turn.answer == ask(chat_with(model, None), f"Please: {LONG}").answer


def test_long_answers_turn_the_window(parity_model: ParityModel, tmp_path: Path) -> None:
    """Decoding writes sliding layers as a ring; the file has them in order."""
    model, path = parity_model("e2b"), tmp_path / "cache"
    inputs = inputs_of(model, "text")
    long = replace(GREEDY, max_tokens=45, repetition_guard=False)
    turns = TurnCache()
    *_, last = generate(model, inputs, long, turns)
    assert isinstance(last, Finished) and len(last.token_ids) == 45
    assert PromptCache(model, path, shared=False).write(turns) is None

    longer = replace(inputs, ids=(*inputs.ids, *last.token_ids[:44], 5, 6, 7))
    restored = TurnCache()
    cache = PromptCache(model, path, shared=False)
    assert cache.read(restored, turn_content(longer)) is None
    *_, continued = generate(model, longer, long, restored)
    *_, alone = generate(model, longer, long)
    assert isinstance(continued, Finished) and isinstance(alone, Finished)
    assert continued.token_ids == alone.token_ids
    assert continued.usage.cached_tokens == len(inputs.ids) + 44


@pytest.mark.parametrize("arch", ["e2b", "12b", "31b"])
def test_what_a_drafter_helped_to_compute(
    arch: str, parity_model: ParityModel, tmp_path: Path
) -> None:
    """Wrong guesses are taken back from the layers before they are written."""
    model, path = parity_model(arch), tmp_path / "cache"
    helped = load_drafter(ResolvedModel.of(arch, FOLDER / "drafters" / arch), model)
    inputs = inputs_of(model, "text")
    long = replace(GREEDY, max_tokens=45, repetition_guard=False)
    turns = TurnCache()
    *_, last = generate(helped, inputs, long, turns)
    assert isinstance(last, Finished) and last.usage.guessed_tokens > 0
    assert PromptCache(helped, path, shared=False).write(turns) is None

    longer = replace(inputs, ids=(*inputs.ids, *last.token_ids[:40], 5, 6, 7))
    *_, alone = generate(model, longer, long)
    for each in (model, helped):
        restored = TurnCache()
        cache = PromptCache(each, path, shared=False)
        assert cache.read(restored, turn_content(longer)) is None
        *_, continued = generate(each, longer, long, restored)
        assert isinstance(continued, Finished) and isinstance(alone, Finished)
        assert continued.token_ids == alone.token_ids
        assert continued.usage.cached_tokens > len(inputs.ids) - 40


def test_nothing_is_written_without_a_turn(parity_model: ParityModel, tmp_path: Path) -> None:
    chat = chat_with(parity_model("e2b"), tmp_path / "cache")
    assert chat.write_prompt_cache() is None
    assert list(tmp_path.iterdir()) == []


# The file


def test_the_file_is_private_and_safetensors(parity_model: ParityModel, tmp_path: Path) -> None:
    path = tmp_path / "new" / "cache.safetensors"
    written(parity_model("e2b"), path, image(LONG))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    with safe_open(str(path), framework="numpy") as file:
        metadata = file.metadata()
        content = file.get_tensor("content")
        positions = json.loads(metadata["positions"])
        names = set(file.keys())
    assert metadata["format"] == "g4 prompt cache"
    assert len(content) == positions[-1]
    assert len(json.loads(metadata["media"])) == 1
    assert (content == -1).sum() > 30
    assert {f"{positions[0]}.0.keys", f"{positions[-1]}.0.values"} <= names


def test_a_conversation_of_its_own_keeps_fewer_checkpoints(
    parity_model: ParityModel, tmp_path: Path
) -> None:
    model = parity_model("e2b")
    sizes = {}
    for shared in (False, True):
        path = tmp_path / f"{shared}"
        chat = written(model, path, shared=shared)
        for _ in range(4):
            ask(chat, SHORT)
        chat.write_prompt_cache()
        sizes[shared] = path.stat().st_size
        assert len(positions_in(path)) == (6 if shared else 2)
    assert sizes[False] < sizes[True]


def positions_in(path: Path) -> list[int]:
    with safe_open(str(path), framework="numpy") as file:
        found: list[int] = json.loads(file.metadata()["positions"])
    return found


def test_a_limit_drops_checkpoints_and_then_the_file(
    parity_model: ParityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = parity_model("e2b"), tmp_path / "cache"
    written(model, path)
    whole = path.stat().st_size
    before = path.read_bytes()
    monkeypatch.setenv("G4_PROMPT_CACHE_MB", str(0.9 * whole / 2**20))
    other = tmp_path / "other"
    written(model, other)
    assert 1 <= len(positions_in(other)) < len(positions_in(path))

    monkeypatch.setenv("G4_PROMPT_CACHE_MB", "0.001")
    chat = chat_with(model, path)
    (notice,) = ask(chat, LONG).notices
    assert notice.startswith(f"{path}: is larger than 0.0009")
    assert re.fullmatch(
        r"\S+: would take more than 0.0009\d* MB, so it is not kept; "
        r"G4_PROMPT_CACHE_MB allows more",
        str(chat.write_prompt_cache()),
    )
    assert path.read_bytes() == before


def test_a_limit_of_nothing_reads_and_writes_nothing(
    parity_model: ParityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = parity_model("e2b"), tmp_path / "cache"
    written(model, path)
    monkeypatch.setenv("G4_PROMPT_CACHE_MB", "0")
    chat = chat_with(model, path)
    turn = ask(chat, LONG)
    assert (turn.cached, turn.notices, chat.write_prompt_cache()) == (0, (), None)


@pytest.mark.parametrize("given", ["x", "-1", "nan", "inf"])
def test_what_is_no_limit(
    given: str, tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G4_PROMPT_CACHE_MB", given)
    with pytest.raises(OptionError, match="G4_PROMPT_CACHE_MB must be a number of MB, not"):
        PromptCache(tiny, tmp_path / "cache", shared=True)


# Files that are not used


Damage = Callable[[bytes], bytes]


def header_of(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    return header


def with_header(content: bytes, header: Mapping[str, Any]) -> bytes:
    """The file with another header, and the digest that belongs to it."""
    length = int.from_bytes(content[:8], "little")
    return signed(content[8 + length :], header)


def signed(data: bytes, header: Mapping[str, Any]) -> bytes:
    metadata = {**header["__metadata__"], "digest": "0" * 64}
    text = json.dumps({**header, "__metadata__": metadata}).encode()
    text += b" " * (-len(text) % 8)
    blank = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(blank + data).hexdigest()
    return blank.replace(b"0" * 64, digest.encode(), 1) + data


def changed(name: str, **fields: Any) -> Damage:
    """Fields of a tensor's entry, or of the metadata, set by who knows the format."""

    def damage(content: bytes) -> bytes:
        header = header_of(content)
        found = next(key for key in header if key.endswith(name))
        header[found] = {**header[found], **fields}
        return with_header(content, header)

    return damage


def flipped(place: Callable[[bytes], int]) -> Damage:
    def damage(content: bytes) -> bytes:
        at = place(content)
        return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]

    return damage


def renamed(content: bytes) -> bytes:
    header = header_of(content)
    header["other"] = header.pop("content")
    return with_header(content, header)


def with_value(value: float) -> Damage:
    """A number in the keys of a full layer, under a right digest."""

    def damage(content: bytes) -> bytes:
        header = header_of(content)
        name = next(key for key in header if key.endswith(".keys") and key.count(".") == 1)
        start = header[name]["data_offsets"][0]
        data = content[8 + int.from_bytes(content[:8], "little") :]
        number = np.float32(value).tobytes()
        return signed(data[:start] + number + data[start + 4 :], header)

    return damage


def with_id(number: int) -> Damage:
    """A token at the start of the content, under a right digest."""

    def damage(content: bytes) -> bytes:
        data = content[8 + int.from_bytes(content[:8], "little") :]
        header = header_of(content)
        data = np.int32(number).tobytes() + data[4:]
        ids = data[slice(*header["content"]["data_offsets"])]
        header["__metadata__"]["content"] = hashlib.sha256(ids).hexdigest()
        return signed(data, header)

    return damage


DAMAGED: dict[str, Damage] = {
    "half of it": lambda content: content[: len(content) // 2],
    "all but a byte": lambda content: content[:-1],
    "a byte more": lambda content: content + b"\0",
    "the start": lambda content: content[:20],
    "the start of the header": lambda content: content[:200],
    "a bit in the length": flipped(lambda content: 1),
    "a high bit in the length": flipped(lambda content: 7),
    "a bit in the metadata": flipped(lambda content: content.index(b'"version"') + 13),
    "a bit in the digest": flipped(lambda content: content.index(b'"digest"') + 15),
    "a bit in a shape": flipped(lambda content: content.index(b'"shape"') + 10),
    "a bit in the content": flipped(lambda content: 8 + int.from_bytes(content[:8], "little")),
    "a bit in the middle": flipped(lambda content: len(content) // 2),
    "the last bit": flipped(lambda content: len(content) - 1),
    "another shape": changed("0.keys", shape=[1, 1, 1, 1]),
    "a huge shape": changed("0.keys", shape=[1, 1, 2**31 - 1, 2**31 - 1]),
    "a negative shape": changed("0.keys", shape=[-1, 1, 32, 16]),
    "another type": changed("0.keys", dtype="I32"),
    "no type": changed("0.keys", dtype="F4096"),
    "other offsets": changed("0.keys", data_offsets=[0, 2**60]),
    "another name": renamed,
    "no positions": changed("__metadata__", positions="[]"),
    "falling positions": changed("__metadata__", positions="[40, 20]"),
    "a position of 0": changed("__metadata__", positions="[0]"),
    "a position past the context": changed("__metadata__", positions="[2147483647]"),
    "positions that are none": changed("__metadata__", positions='[["a"]]'),
    "deep positions": changed("__metadata__", positions="[" * 5000),
    "many positions": changed("__metadata__", positions=json.dumps(list(range(1, 3000)))),
    "media that are none": changed("__metadata__", media="[1]"),
    "long media": changed("__metadata__", media=json.dumps(["x" * 100000])),
    "half a character": changed("__metadata__", key="\ud800"),
    "metadata that are no texts": changed("__metadata__", key=["a"]),
    "a version that is none": changed("__metadata__", version=None),
    "a format of another": changed("__metadata__", format="pt"),
    "NaN": with_value(float("nan")),
    "infinity": with_value(float("inf")),
    "a token that is not in the vocabulary": with_id(2**30),
    "a medium that is not there": with_id(-5),
    "a header of 1 GB": lambda content: (1 << 30).to_bytes(8, "little") + content[8:],
    "a header of zeros": lambda content: content[:60] + bytes(len(content) - 60),
}


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A conversation, the file of its prompt cache, and the next answer without that file."""

    history: tuple[Message, ...]
    content: bytes
    answer: tuple[int, ...]


@pytest.fixture(scope="module")
def kept(parity_model: ParityModel, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    model, path = parity_model("e2b"), tmp_path_factory.mktemp("kept") / "cache"
    history = written(model, path).history
    answer = ask(chat_with(model, None, history), SHORT).answer
    return Kept(history=history, content=path.read_bytes(), answer=answer)


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_said_ignored_and_written_anew(
    damage: Damage, kept: Kept, parity_model: ParityModel, tmp_path: Path
) -> None:
    model, path = parity_model("e2b"), tmp_path / "cache"
    path.write_bytes(damage(kept.content))
    chat = chat_with(model, path, kept.history)
    turn = ask(chat, SHORT)
    (notice,) = turn.notices
    assert notice.startswith(f"{path}: ") and "\n" not in notice and len(notice) < 250
    assert "the prompt is computed anew" in notice
    assert turn.cached == 0
    assert turn.answer == kept.answer
    assert chat.write_prompt_cache() is None
    again = ask(chat_with(model, path, chat.history), SHORT)
    assert again.cached > 100 and again.notices == ()


def test_every_cut_and_flip_in_the_header_is_noticed(
    parity_model: ParityModel, tmp_path: Path
) -> None:
    model, path = parity_model("e2b"), tmp_path / "cache"
    history = written(model, path).history
    chat = chat_with(model, path, history)
    assert ask(chat, SHORT).notices == ()
    prompt = chat._turns.held()
    assert prompt is not None
    whole = path.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")
    for number in range(9, length, 37):
        for content in (whole[:number], flipped(lambda _, at=number: at)(whole)):
            path.write_bytes(content)
            cache = PromptCache(model, path, shared=False)
            turns = TurnCache()
            assert cache.read(turns, [*prompt.content, 5]) is not None
            assert turns.held() is None


def test_an_empty_file_is_like_none(parity_model: ParityModel, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    path.touch()
    chat = chat_with(parity_model("e2b"), path)
    assert ask(chat, LONG).notices == ()
    assert chat.write_prompt_cache() is None and path.stat().st_size > 0


@pytest.mark.parametrize("content", [b"An answer.", b"{}" * 400, bytes(5000), b"\x93NUMPY" * 9])
def test_a_file_of_another_kind_is_said_and_stays(
    content: bytes, parity_model: ParityModel, tmp_path: Path
) -> None:
    path = tmp_path / "thesis"
    path.write_bytes(content)
    chat = chat_with(parity_model("e2b"), path)
    expected = f"{path}: is not a prompt cache; it is not used, and stays as it is"
    assert ask(chat, LONG).notices == (expected,)
    assert chat.write_prompt_cache() is None
    assert path.read_bytes() == content


def test_weights_are_no_prompt_cache(parity_model: ParityModel, tmp_path: Path) -> None:
    model = parity_model("e2b")
    path = tmp_path / "model.safetensors"
    weights = next(model.folder.glob("*.safetensors")).read_bytes()
    path.write_bytes(weights)
    chat = chat_with(model, path)
    assert "is not a prompt cache" in ask(chat, LONG).notices[0]
    chat.write_prompt_cache()
    assert path.read_bytes() == weights


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_not_waited_for(
    make: Callable[[Path], None], parity_model: ParityModel, tmp_path: Path
) -> None:
    path = tmp_path / "cache"
    make(path)
    chat = chat_with(parity_model("e2b"), path)
    (notice,) = ask(chat, LONG).notices
    assert notice.startswith(f"{path}: cannot be read (")
    assert "cannot be written" in str(chat.write_prompt_cache())


def test_a_folder_that_cannot_be_written(parity_model: ParityModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    chat = chat_with(parity_model("e2b"), tmp_path / "file" / "cache")
    ask(chat, LONG)
    assert "cannot be written (" in str(chat.write_prompt_cache())


# The key


@pytest.mark.parametrize("other", ["e4b", "26b"])
def test_two_models_take_turns(other: str, parity_model: ParityModel, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    written(parity_model("e2b"), path)
    for arch in (other, "e2b", other):
        model = parity_model(arch)
        chat = chat_with(model, path)
        turn = ask(chat, LONG)
        (notice,) = turn.notices
        assert "was computed by another model or with other settings" in notice
        assert (turn.cached, turn.answer) == (0, ask(chat_with(model, None), LONG).answer)
        assert chat.write_prompt_cache() is None
        assert ask(chat_with(model, path), LONG).cached > 100


def copy_of_e2b(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    copytree(FOLDER / "checkpoints" / "e2b", folder, copy_function=_copy_writable)
    folder.chmod(0o755)
    return folder


def _copy_writable(source: str, target: str) -> None:
    Path(target).write_bytes(Path(source).read_bytes())


def test_weights_that_change_in_place_are_noticed(tmp_path: Path) -> None:
    """Also with the same size, and the date that they had."""
    folder, path = copy_of_e2b(tmp_path), tmp_path / "cache"
    options = LoadOptions(dtype="float32")
    written(load(str(folder), options=options), path)
    (weights,) = folder.glob("*.safetensors")
    status = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    turn = ask(chat_with(load(str(folder), options=options), path), LONG)
    assert turn.cached == 0 and "another model" in turn.notices[0]


def test_weights_that_change_while_the_model_runs_are_not_taken_for_its_own(tmp_path: Path) -> None:
    folder, path = copy_of_e2b(tmp_path), tmp_path / "cache"
    chat = chat_with(load(str(folder), options=LoadOptions(dtype="float32")), path)
    ask(chat, LONG)
    os.utime(next(folder.glob("*.safetensors")))
    assert chat.write_prompt_cache() is None
    assert not path.exists()


@pytest.mark.parametrize(
    "options",
    [
        LoadOptions(dtype="float16"),
        LoadOptions(dtype="float32", unified_full_attention_blocks=True),
    ],
)
def test_other_options_of_loading_are_noticed(
    options: LoadOptions, parity_model: ParityModel, tmp_path: Path
) -> None:
    path = tmp_path / "cache"
    model = parity_model("12b")
    written(model, path)
    other = load(str(model.folder), options=options)
    turn = ask(chat_with(other, path), LONG)
    assert turn.cached == 0 and "other settings" in turn.notices[0]


def test_another_way_of_computing_is_noticed(
    parity_model: ParityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "cache", parity_model("e2b")
    written(model, path)
    from gemma4cli.engine import prompt_cache as engine_module

    for name, value in (("native_in_use", lambda dtype: None), ("__version__", "9.9")):
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, name, value)
            assert "other settings" in ask(chat_with(model, path), LONG).notices[0]


def test_another_version_of_the_format_is_noticed(
    parity_model: ParityModel, tmp_path: Path
) -> None:
    path, model = tmp_path / "cache", parity_model("e2b")
    written(model, path)
    path.write_bytes(changed("__metadata__", version="2")(path.read_bytes()))
    (notice,) = ask(chat_with(model, path), LONG).notices
    assert notice.startswith(f"{path}: was written by another version of g4; ")


def test_a_context_that_has_shrunk(
    parity_model: ParityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "cache", parity_model("e2b")
    written(model, path)
    narrow(model, 60, monkeypatch)
    assert "is damaged" in ask(chat_with(model, path), "Hello").notices[0]


# Writing


def test_a_disk_that_is_full_leaves_the_file_as_it_was(
    parity_model: ParityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "cache", parity_model("e2b")
    chat = written(model, path)
    before = path.read_bytes()
    ask(chat, SHORT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert chat.write_prompt_cache() == f"{path}: cannot be written (No space left on device)"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


_KILLED = """
import os, signal, sys
from pathlib import Path
from gemma4cli.api import load
from gemma4cli.conversations.chat import Chat
from gemma4cli.conversations.prompt_cache import PromptCache
from gemma4cli.engine import prompt_cache
from gemma4cli.options import GenerateOptions
model = load("tiny")
chat = Chat(model)
chat.use_prompt_cache(PromptCache(model, Path(sys.argv[1]), shared=True))
list(chat.send("word " * int(sys.argv[2]), GenerateOptions(max_tokens=2, temperature=0)))
if sys.argv[3] == "killed":
    real = prompt_cache.in_order
    def dying(state):
        os.kill(os.getpid(), signal.SIGKILL)
    prompt_cache.in_order = dying
print(chat.write_prompt_cache())
"""


def test_killed_while_writing_the_old_file_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "cache"

    def run(words: int, how: str) -> int:
        command = [sys.executable, "-c", _KILLED, str(path), str(words), how]
        return subprocess.run(command, check=False, capture_output=True).returncode

    assert run(40, "") == 0
    before = path.read_bytes()
    assert run(60, "killed") == -signal.SIGKILL
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2  # and the unfinished one
    assert run(60, "") == 0
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() != before


# Kept conversations


def saved(sessions: Path, name: str) -> SavedConversation:
    return SavedConversation(sessions / name)


def test_the_oldest_caches_of_kept_conversations_go_first(tmp_path: Path) -> None:
    for number, name in enumerate("abc"):
        with saved(tmp_path, name) as conversation:
            conversation.path.write_text("{}" * 4000)
            conversation.prompt_cache.write_bytes(bytes(1000))
            os.utime(conversation.prompt_cache, (number, number))
    newest = tmp_path / "a" / "prompt-cache.safetensors"
    drop_prompt_caches(tmp_path, 2500, newest)
    left = {each.parent.name for each in tmp_path.glob("*/prompt-cache.safetensors")}
    assert left == {"a", "c"}
    drop_prompt_caches(tmp_path, 10, newest)
    assert [each.parent.name for each in tmp_path.glob("*/prompt-cache.safetensors")] == ["a"]
    assert len(list(tmp_path.glob("*/conversation.json"))) == 3


def test_unfinished_caches_of_killed_processes_are_removed(tmp_path: Path) -> None:
    """At the next start, since they are large and their conversation may not be opened again."""
    with saved(tmp_path, "a") as conversation:
        conversation.path.write_text("{}" * 4000)
    ended = subprocess.run(
        [sys.executable, "-c", "from gemma4cli.leftovers import prefix; print(prefix())"],
        capture_output=True,
        check=True,
    )
    unfinished = tmp_path / "a" / f"{ended.stdout.decode().strip()}abcdefgh"
    unfinished.touch()
    remove_abandoned(tmp_path)
    assert not unfinished.exists() and conversation.path.exists()


def test_links_among_the_caches_are_left(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_bytes(bytes(5000))
    sessions = tmp_path / "sessions"
    with saved(sessions, "a") as conversation:
        conversation.prompt_cache.symlink_to(treasure)
        drop_prompt_caches(sessions, 10, sessions / "none")
        assert conversation.prompt_cache.is_symlink()
        assert conversation.delete()
    assert treasure.exists() and not (sessions / "a").exists()
