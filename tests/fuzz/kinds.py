"""The kinds of input: each makes a folder with one damaged input, and the command that reads it.

A case is made from random numbers alone, so that its kind, seed and number make it again.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from gemma4cli.journal_file import journal_name, with_sum

from .model_damage import damage_drafter, damage_model
from .mutations import damaged_bytes, damaged_json, damaged_text
from .probes import PROBE
from .seeds import CLIPS, PICTURES, ROOT, SAMPLES, SOUNDS, STATE, TINY, WIRE

WORK = "in"
"""The folder of a case that is current when its command runs."""

CASE_FILE = "case.json"
"""In the folder of a case that failed: what ``load_case`` reads."""

_SHORT = ("-m", "tiny", "--max-tokens", "1")
_SEEN = (*_SHORT, "--budget", "70")
_PICTURE = str(SAMPLES / "image03.png")
_PARITY = ROOT / "fixtures" / "parity"
_CONFIGS = ROOT / "fixtures" / "gemma4" / "configs"
_FORMATS = ROOT / "fixtures" / "formats"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command of g4, or a probe, to be run in the folder ``WORK`` of ``folder``.

    ``stdin`` is a file there. ``allowed`` are the statuses it may end with, and its output
    contains ``must_say``. If it succeeds, its output is that of the command ``same_as``, which
    reads nothing that differs between cases.
    """

    folder: Path
    args: tuple[str, ...]
    stdin: str | None = None
    allowed: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    must_say: str = ""
    same_as: tuple[str, ...] = ()

    @property
    def work(self) -> Path:
        return self.folder / WORK

    def put(self, name: str, data: bytes) -> Path:
        """Write a file of this case; ``name`` is relative to its folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


Kind = Callable[[Random, Case, Path], Case]
"""Fills a new case's folder, given the folder of seeds, and returns it with its command."""


def make_case(kind: str, seed: int, number: int, *, folder: Path, seeds: Path) -> Case:
    """Input ``number`` of a kind, in a new ``folder``."""
    if folder.exists():
        shutil.rmtree(folder)
    (folder / WORK).mkdir(parents=True)
    rng = Random(f"{kind}/{seed}/{number}")
    return KINDS[kind](rng, Case(folder=folder, args=()), seeds)


def save_case(case: Case, name: str, **more: object) -> None:
    """Write a case's command and ``more`` into its folder, for ``load_case``."""
    about = {
        "name": name,
        "command": ["g4", *case.args],
        "stdin": case.stdin,
        "allowed": case.allowed,
        "must_say": case.must_say,
        "same_as": case.same_as,
    }
    text = json.dumps({**about, **more}, indent=1) + "\n"
    (case.folder / CASE_FILE).write_text(text, encoding="utf-8")


def load_case(folder: Path) -> Case:
    """The case that was saved in ``folder``. Its journals are of this folder's path."""
    about = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
    return Case(
        folder=folder,
        args=tuple(about["command"][1:]),
        stdin=about["stdin"],
        allowed=tuple(about["allowed"]),
        must_say=about["must_say"],
        same_as=tuple(about["same_as"]),
    )


@cache
def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.iterdir()))


@cache
def _bytes(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _json(path: Path) -> Any:
    return json.loads(_bytes(path))


def _media(rng: Random, case: Case, folder: Path) -> str:
    """A damaged file of ``folder``, sometimes under the name of another kind."""
    source = rng.choice(_files(folder))
    suffix = source.suffix if rng.random() < 0.9 else rng.choice((".png", ".wav", ".mp4", ""))
    name = f"input{suffix}"
    case.put(f"{WORK}/{name}", damaged_bytes(rng, _bytes(source)))
    return name


def _asked(rng: Random, case: Case, name: str, *, command: tuple[str, ...]) -> Case:
    """``case`` with a command about a file: by its name, or through a pipe."""
    if rng.random() < 0.2:
        return replace(case, args=(*command, "-", *_SEEN), stdin=name)
    return replace(case, args=(*command, name, *_SEEN))


def pictures(rng: Random, case: Case, seeds: Path) -> Case:
    name = _media(rng, case, seeds / PICTURES)
    match rng.randrange(5):
        case 0:
            return replace(case, args=("chat", "-p", "What?", "--image", name, *_SEEN))
        case 1:
            return replace(case, args=("describe", name, _PICTURE, *_SEEN))
        case _:
            return _asked(rng, case, name, command=("describe",))


def sounds(rng: Random, case: Case, seeds: Path) -> Case:
    name = _media(rng, case, seeds / SOUNDS)
    match rng.randrange(5):
        case 0:
            return replace(case, args=("chat", "-p", "What?", "--audio", name, *_SHORT))
        case 1:
            return replace(case, args=("transcribe", "-", "-m", "tiny"), stdin=name)
        case _:
            return replace(case, args=("transcribe", name, "-m", "tiny"))


def clips(rng: Random, case: Case, seeds: Path) -> Case:
    name = _media(rng, case, seeds / CLIPS)
    match rng.randrange(6):
        case 0:
            return replace(case, args=("chat", "-p", "What?", "--video", name, *_SEEN))
        case 1:
            return replace(case, args=("transcribe", name, "-m", "tiny"))
        case _:
            return _asked(rng, case, name, command=("video", "--video-max-frames", "3"))


_CHECKPOINT_JSON = (
    "config.json",
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer_config.json",
)


def checkpoints(rng: Random, case: Case, seeds: Path) -> Case:
    """A config, an index, a template or a header of tensors; as a folder, or in the hub's cache."""
    snapshot = "hub/models--g4--damaged/snapshots/0123456789abcdef0123456789abcdef01234567"
    cached = rng.random() < 0.2
    model = snapshot if cached else f"{WORK}/model"
    for path in _files(TINY):
        target = case.folder / model / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(path, target)
    _damage_checkpoint(rng, case.folder / model)
    if cached:
        case.put(f"{Path(snapshot).parents[1]}/refs/main", Path(snapshot).name.encode())
        command = rng.choice((("models", "list"), ("doctor",), ("chat", "-p", "Hi", *_SHORT[2:])))
        return replace(case, args=command)
    asked = ("-m", "model", "--max-tokens", "2")
    return replace(
        case,
        args=rng.choice(
            (
                ("models", "info", "model"),
                ("chat", "-p", "Hi", *asked),
                ("describe", _PICTURE, *asked),
                ("transcribe", str(SAMPLES / "speech04.wav"), "-m", "model"),
            )
        ),
    )


def _damage_checkpoint(rng: Random, folder: Path) -> None:
    kind = rng.random()
    if kind < 0.6:
        name = rng.choice(_CHECKPOINT_JSON)
        _replace(folder / name, damaged_json(rng, _json(TINY / name)))
    elif kind < 0.75:
        header, tensors = _split_weights()
        damaged = damaged_json(rng, json.loads(header))
        _replace(folder / "model.safetensors", struct.pack("<Q", len(damaged)) + damaged + tensors)
    elif kind < 0.8:
        header, tensors = _split_weights()
        size = rng.choice((0, 1, len(header) - 1, len(header) + 1, 2**31, 2**63, 2**64 - 1))
        _replace(folder / "model.safetensors", struct.pack("<Q", size) + header + tensors)
    elif kind < 0.85:
        names = dict.fromkeys(json.loads(_split_weights()[0]), "model.safetensors")
        index = {"metadata": {"total_size": 1}, "weight_map": names}
        _replace(folder / "model.safetensors.index.json", damaged_json(rng, index))
    elif kind < 0.9:
        name = "chat_template.jinja"
        _replace(folder / name, damaged_text(rng, _bytes(TINY / name)))
    elif kind < 0.95:
        for name in ("config.json", "processor_config.json"):
            source = rng.choice(sorted(_CONFIGS.glob(f"*/{name}")))
            _replace(folder / name, damaged_json(rng, _json(source)))
    else:
        name = rng.choice(_CHECKPOINT_JSON)
        (folder / name).unlink()
        if rng.random() < 0.5:
            os.symlink("nowhere", folder / name)


@cache
def _split_weights() -> tuple[bytes, bytes]:
    data = _bytes(TINY / "model.safetensors")
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return data[8:end], data[end:]


def _replace(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def models(rng: Random, case: Case, seeds: Path) -> Case:
    """A checkpoint with several changes, asked about text, a picture, a clip or a sound."""
    source = rng.choice((TINY, ROOT / "fixtures" / "tiny-unified"))
    model = case.work / "model"
    model.mkdir()
    for path in _files(source):
        os.symlink(path, model / path.name)
    damage_model(rng, source, model)
    asked = ("-m", "model", "--max-tokens", "3")
    seen = (_PICTURE, *asked, "--budget", "70")
    sound = str(SAMPLES / "speech04.wav")
    case.put(f"{WORK}/schema.json", b'{"type": "integer"}')
    schema = ("--schema", "schema.json")
    args = rng.choice(
        (
            ("chat", "-p", "Hi, who are you? aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", *asked),
            ("chat", "-p", "How many?", *asked, "--temperature", "1", *schema),
            ("describe", *seen),
            ("describe", *seen),
            ("chat", "-p", "What?", "--audio", sound, *asked),
            ("transcribe", sound, "-m", "model"),
            ("video", "--video-max-frames", "2", str(seeds / CLIPS / "mpeg4.mp4"), *asked),
        )
    )
    return replace(case, args=args)


def drafters(rng: Random, case: Case, seeds: Path) -> Case:
    """A damaged drafter for a model that is whole, which answers as without it or not at all."""
    name = rng.choice(("e2b", "e4b", "12b", "26b", "31b"))
    source, drafter = _PARITY / "drafters" / name, case.work / "drafter"
    drafter.mkdir()
    for path in _files(source):
        os.symlink(path, drafter / path.name)
    damage_drafter(rng, source, drafter)
    tokens, warmth = rng.choice(("2", "9", "30")), rng.choice(("0", "1"))
    case.put(f"{WORK}/schema.json", b'{"type": "array", "items": {"type": "integer"}}')
    schema = rng.choice(((), (), ("--schema", "schema.json")))
    model = ("-m", str(_PARITY / "checkpoints" / name))
    asked = ("--max-tokens", tokens, "--temperature", warmth, "--seed", "1", *schema)
    alone = ("chat", "-p", "Hi, who?", *model, *asked)
    return replace(case, args=(*alone, "--draft", "drafter"), same_as=alone)


def tokenizer(rng: Random, case: Case, seeds: Path) -> Case:
    for path in _files(TINY):
        target = case.folder / WORK / "model" / path.name
        target.parent.mkdir(exist_ok=True)
        os.symlink(path, target)
    _replace(
        case.work / "model" / "tokenizer.json", damaged_json(rng, _json(TINY / "tokenizer.json"))
    )
    asked = ("-m", "model", "--max-tokens", "2")
    command = rng.choice((("chat", "-p", "Hi <|image|>!", *asked), ("describe", _PICTURE, *asked)))
    return replace(case, args=command)


def conversations(rng: Random, case: Case, seeds: Path) -> Case:
    folder = _FORMATS / "conversation"
    shutil.copytree(folder / "media", case.work / "media")
    data = damaged_json(rng, _json(folder / "conversation.json"))
    case.put(f"{WORK}/talk.json", data)
    return replace(
        case,
        args=rng.choice(
            (
                ("chat", "--messages", "talk.json", *_SHORT),
                ("chat", "--messages", "talk.json", "-p", "And?", *_SHORT),
                ("trace", "talk.json", "-m", "tiny"),
            )
        ),
    )


def sessions(rng: Random, case: Case, seeds: Path) -> Case:
    """A damaged conversation beside a good one, which no command may lose.

    What was computed of the good one may be damaged too.
    """
    saved = seeds / STATE / "g4" / "sessions" / "seed"
    folder = case.folder / "state" / "g4" / "sessions"
    for name in ("bad", "good"):
        shutil.copytree(saved, folder / name)
    data = damaged_json(rng, _json(saved / "conversation.json"))
    (folder / "bad" / "conversation.json").write_bytes(data)
    computed = folder / "good" / "prompt-cache.safetensors"
    if rng.random() < 0.5:
        computed.write_bytes(damaged_bytes(rng, computed.read_bytes()))
    kind = rng.randrange(5)
    if kind == 0:
        return replace(case, args=("chat", "--list"), allowed=(0,), must_say="good")
    if kind == 1:
        return replace(case, args=("chat", "--delete", "good", "--yes"), allowed=(0,))
    if kind == 2:
        os.utime(folder / "good" / "conversation.json", (1, 1))
        return replace(case, args=("chat", "-c", "-p", "And?", "--max-tokens", "1"))
    if kind == 3:
        args = ("chat", "--session", "good", "-p", "And?", "--max-tokens", "1")
        return replace(case, args=args, allowed=(0,))
    return replace(case, args=("chat", "--session", "bad", "-p", "And?", "--max-tokens", "1"))


def journals(rng: Random, case: Case, seeds: Path) -> Case:
    """A damaged journal of a run that is started again; the run must end as without it."""
    state = seeds / STATE
    kind = rng.choice(("transcripts", "answers"))
    (found,) = (state / "g4" / kind).glob("*.jsonl")
    for name in ("image03.png", "image07.png", "speech04.wav"):
        shutil.copy2(state / name, case.work / name)
    lines = found.read_text(encoding="utf-8").replace(str(state), str(case.work)).splitlines()
    name = journal_name(json.loads(lines[0])["job"])
    items = [json.loads(line) for line in lines[1:]]
    for item in items:
        del item["sum"]
    lines[1:] = [_journal_line(item) for item in items]
    if rng.random() < 0.1:
        lines[0] = damaged_json(rng, json.loads(lines[0])).decode("utf-8", "surrogateescape")
    else:
        at = rng.randrange(len(items))
        damaged = damaged_json(rng, items[at]).decode("utf-8", "surrogateescape")
        lines[1 + at] = _with_right_sum(damaged) if rng.random() < 0.7 else damaged
    data = "\n".join([*lines, ""]).encode("utf-8", "surrogateescape")
    case.put(f"state/g4/{kind}/{name}", damaged_text(rng, data) if rng.random() < 0.1 else data)
    if kind == "answers":
        args = ("describe", "image03.png", "image07.png", "-m", "tiny", "--max-tokens", "2")
        return replace(case, args=args, allowed=(0,))
    return replace(case, args=("transcribe", "speech04.wav", "-m", "tiny"), allowed=(0,))


def _with_right_sum(line: str) -> str:
    """A damaged line of a journal whose checksum fits, so that its values are read."""
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        return line
    return json.dumps(with_sum(item)) if isinstance(item, dict) else line


def _journal_line(item: dict[str, Any]) -> str:
    return json.dumps(with_sum(item), ensure_ascii=False)


_SETTINGS = (
    b'model = "tiny"\nmax-tokens = 1\nquiet = false\n\n'
    b'[describe]\njson = true\nbudget = 70\n\n[transcribe]\nformat = ["srt"]\n'
    b'vocabulary = "Zoe"\n\n[chat]\nsystem = "Be brief."\ntemperature = 0.5\n'
)


def settings(rng: Random, case: Case, seeds: Path) -> Case:
    """Settings of the user or of a project."""
    found = [_SETTINGS, *(_bytes(path) for path in _files(_FORMATS / "settings"))]
    text = rng.choice(found)
    for _ in range(rng.choice((1, 1, 2))):
        text = _damaged_setting(rng, text)
    case.put(rng.choice(("config/g4/config.toml", f"{WORK}/.g4.toml")), text)
    return replace(
        case,
        args=rng.choice(
            (
                ("config", "list"),
                ("config", "set", "chat.think", "true"),
                ("describe", _PICTURE, *_SHORT),
                ("chat", "-p", "Hi", *_SHORT),
                ("models", "list"),
            )
        ),
    )


_TOML_VALUES = (
    b"1e999",
    b"-1",
    b"nan",
    b"-inf",
    b"99999999999999999999999",
    b"2026-11-30T00:00:00Z",
    b'""',
    b'"\\u0000"',
    b'"\\u001b[2J"',
    b"[]",
    b"[[1], {a = 2}]",
    b"{}",
    b"true",
    b'"../../x"',
    b"0x7fffffffffffffff",
    b"[" * 2000,
    b"'''\n'''",
)


def _damaged_setting(rng: Random, text: bytes) -> bytes:
    lines = text.split(b"\n")
    at = rng.randrange(len(lines))
    name, equals, _ = lines[at].partition(b"=")
    if equals and rng.random() < 0.7:
        lines[at] = name + b"= " + rng.choice(_TOML_VALUES)
    elif rng.random() < 0.5:
        return damaged_text(rng, text)
    else:
        key = rng.choice((b"a" + b".a" * 500, b'"\\u202e"', b"describe", b"__class__", b"[x.y]\nz"))
        lines.insert(at, key + b" = " + rng.choice(_TOML_VALUES))
    return b"\n".join(lines)


_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 3, "pattern": "^[a-z]+$"},
        "kind": {"enum": ["a", "b", None, 1]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "more": {"type": "array", "items": {"$ref": "#/$defs/one"}, "maxItems": 2},
    },
    "required": ["name", "count"],
    "additionalProperties": False,
    "$defs": {"one": {"anyOf": [{"type": "boolean"}, {"const": "x"}]}},
}


def schemas(rng: Random, case: Case, seeds: Path) -> Case:
    case.put(f"{WORK}/schema.json", damaged_json(rng, _SCHEMA))
    asked = ("--schema", "schema.json", "-m", "tiny", "--max-tokens", "12")
    return replace(case, args=("chat", "-p", "Hi", *asked))


_CALL = (
    "<|tool_call>", "call:", "get", "weather", "{", "city", ":", '<|"|>', "Paris", '<|"|>', ",",
    "days", "3", "}", "<tool_call|>",
)  # fmt: skip
_IN_CALLS = (
    *_CALL, "<|channel>", "<channel|>", "<turn|>", "[", "]", '"', "\\", " ", "\n", "null", "1e999",
    "-", "0", "é", "<0xF0>",
)  # fmt: skip


def calls(rng: Random, case: Case, seeds: Path) -> Case:
    """Ids of an answer that calls functions, or nearly so; long ones take no more time per id."""
    ids = _vocabulary()
    said: list[str | int] = []
    for _ in range(rng.choice((1, 2, 5))):
        said += _CALL
    for _ in range(rng.choice((0, 1, 3, 30))):
        at = rng.randrange(len(said) + 1)
        match rng.randrange(5):
            case 0:
                del said[at : at + 1]
            case 1:
                said[at:at] = [rng.randrange(len(ids))]
            case 2:
                word = rng.choice(_IN_CALLS)
                said[at:at] = [word] * rng.choice((1, 2, 300, 20_000))
            case 3:
                said[at:at] = said[: rng.randrange(len(said) + 1)][:500]
            case _:
                said[at:at] = rng.choices(_IN_CALLS, k=rng.choice((1, 5, 100)))
    found = [token for each in said for token in _ids_of(each)]
    case.put(f"{WORK}/ids.json", json.dumps(found).encode())
    return replace(case, args=(PROBE, "calls", "ids.json"))


@cache
def _vocabulary() -> dict[str, int]:
    data = _json(TINY / "tokenizer.json")
    added = {each["content"]: each["id"] for each in data["added_tokens"]}
    return {**data["model"]["vocab"], **added}


@cache
def _ids_of(word: str | int) -> tuple[int, ...]:
    """Of a word in the vocabulary, or else of its bytes."""
    if isinstance(word, int):
        return (word,)
    ids = _vocabulary()
    if word in ids:
        return (ids[word],)
    return tuple(ids[f"<0x{byte:02X}>"] for byte in word.encode())


def wire(rng: Random, case: Case, seeds: Path) -> Case:
    """What a client and a server send each other, damaged under way."""
    source = rng.choice(_files(seeds / WIRE))
    content = _bytes(source)
    if content.startswith(b"{"):
        lines = content.splitlines(keepends=True)
        at = rng.randrange(len(lines))
        damaged = damaged_json(rng, json.loads(lines[at]))
        lines[at] = damaged_text(rng, lines[at]) if rng.random() < 0.3 else damaged
        content = b"".join(lines)
    elif rng.random() < 0.5:
        content = damaged_bytes(rng, content)
    else:
        end = 8 + struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:end])
        facts = json.loads(header["__metadata__"]["g4"])
        if rng.random() < 0.6:
            text = damaged_json(rng, facts).decode("utf-8", "surrogateescape")
            header["__metadata__"]["g4"] = text
            head = json.dumps(header).encode()
        else:
            head = damaged_json(rng, header)
        content = struct.pack("<Q", len(head)) + head + content[end:]
    case.put(f"{WORK}/{source.name}", content)
    return replace(case, args=(PROBE, source.name, source.name))


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        pictures,
        sounds,
        clips,
        checkpoints,
        models,
        drafters,
        tokenizer,
        conversations,
        sessions,
        journals,
        settings,
        schemas,
        calls,
        wire,
    )
}
"""Every kind of input by its name."""
