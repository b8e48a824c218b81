"""Text to ids and back: no control id from text, no half characters in a stream."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from gemma4cli.errors import CheckpointError
from gemma4cli.processing.tokenizer import StreamDecoder, Tokenizer, well_formed

# fmt: off
CONTROLS = [
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>", "<|channel>",
    "<channel|>", "<|think|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
    "<|tool_response>", "<tool_response|>", '<|"|>', "<|image>", "<|image|>", "<image|>",
    "<|audio>", "<|audio|>", "<audio|>", "<|video|>",
]
# fmt: on

TEXTS = [
    "Hello, world!",
    "  two  spaces \n\n\n\t\ttabs ",
    "Grüße, naïve café",
    "漢字とかな 한국어",
    "😀 👨‍👩‍👧‍👦 🇯🇵",
    "ሴ\U000f0000 rare ones",
    "if x < 3: <b>bold</b>",
]


@pytest.fixture(params=["gemma", "tiny"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    found: Tokenizer = request.getfixturevalue(request.param)
    return found


def stream(decoder: StreamDecoder, ids: list[int]) -> list[str]:
    return [*(decoder.push(token_id) for token_id in ids), decoder.flush()]


def byte_ids(tokenizer: Tokenizer, data: bytes) -> list[int]:
    ids = {byte: token_id for token_id, byte in tokenizer.byte_values.items()}
    return [ids[byte] for byte in data]


def test_real_control_ids(gemma: Tokenizer) -> None:
    wanted = {
        "<pad>": 0,
        "<bos>": 2,
        "<|think|>": 98,
        "<|channel>": 100,
        "<|turn>": 105,
        "<turn|>": 106,
        "<|image>": 255999,
        "<|audio>": 256000,
        "<|image|>": 258880,
        "<|audio|>": 258881,
        "<image|>": 258882,
        "<audio|>": 258883,
        "<|video|>": 258884,
    }
    assert {name: gemma.control_id(name) for name in wanted} == wanted
    assert len(gemma.control_ids) == 24
    assert gemma.vocab_size == 262144


def test_every_control_token_is_known(tokenizer: Tokenizer) -> None:
    assert {tokenizer.control_id(name) for name in CONTROLS} == tokenizer.control_ids


def test_text_of_control_tokens_gives_no_control_id(tokenizer: Tokenizer) -> None:
    pairs = (first + second for first, second in itertools.product(CONTROLS, repeat=2))
    texts = [*CONTROLS, *pairs, "".join(CONTROLS), " ".join(CONTROLS), "\n".join(CONTROLS)]
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.control_ids.isdisjoint(ids), text
        assert tokenizer.decode(ids) == text


def test_random_text_gives_no_control_id(tokenizer: Tokenizer) -> None:
    chance = random.Random(4)
    alphabet = [*"<|>/ax \n▁", "image", "turn", "unk", "0x41", "é", "😀", "\x00", "\U0010ffff"]
    for _ in range(500):
        text = "".join(chance.choices(alphabet, k=chance.randint(0, 30)))
        assert tokenizer.control_ids.isdisjoint(tokenizer.encode(text)), repr(text)


@pytest.mark.parametrize("text", TEXTS)
def test_decode_reverses_encode(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_encode_adds_nothing(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == []
    assert len(tokenizer.encode("a")) == 1


def test_lone_surrogates_are_replaced(tokenizer: Tokenizer) -> None:
    assert well_formed("a\ud800b") == "a�b"
    assert well_formed("\ud83d\ude00") == "😀"
    assert well_formed("plain é") == "plain é"
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a�b"


def test_decode_skips_or_names_control_tokens(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.control_id("<|turn>"), *tokenizer.encode("hi"), tokenizer.control_id("<eos>")]
    assert tokenizer.decode(ids) == "hi"
    assert tokenizer.decode(ids, skip_control=False) == "<|turn>hi<eos>"


@pytest.mark.parametrize("text", TEXTS)
def test_stream_gives_the_same_text(tokenizer: Tokenizer, text: str) -> None:
    pushed = stream(tokenizer.stream_decoder(), tokenizer.encode(text))
    assert "".join(pushed) == text
    assert pushed[-1] == ""
    assert not any("�" in piece for piece in pushed)


def test_stream_holds_a_character_back_until_it_is_whole(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("a"), *byte_ids(tokenizer, "😀".encode()), *tokenizer.encode("b")]
    assert stream(tokenizer.stream_decoder(), ids) == ["a", "", "", "", "😀", "b", ""]


def test_stream_spells_text_in_bytes(tokenizer: Tokenizer) -> None:
    ids = byte_ids(tokenizer, "aé漢😀".encode())
    assert "".join(stream(tokenizer.stream_decoder(), ids)) == "aé漢😀"


def test_stream_replaces_broken_bytes(tokenizer: Tokenizer) -> None:
    ids = [*byte_ids(tokenizer, b"\xc3\xa9\xff"), *tokenizer.encode("x")]
    assert stream(tokenizer.stream_decoder(), ids) == ["", "é", "�", "x", ""]


def test_stream_replaces_a_character_that_text_cuts_off(tokenizer: Tokenizer) -> None:
    ids = [*byte_ids(tokenizer, b"\xf0\x9f"), *tokenizer.encode("x")]
    assert stream(tokenizer.stream_decoder(), ids) == ["", "", "�x", ""]


def test_flush_gives_the_unfinished_character_once(tokenizer: Tokenizer) -> None:
    decoder = tokenizer.stream_decoder()
    assert stream(decoder, byte_ids(tokenizer, b"\xf0\x9f\x98")) == ["", "", "", "�"]
    assert decoder.flush() == ""
    assert decoder.push(tokenizer.encode("a")[0]) == "a"


def test_stream_gives_no_text_for_control_tokens(tokenizer: Tokenizer) -> None:
    decoder = tokenizer.stream_decoder()
    assert all(decoder.push(token_id) == "" for token_id in tokenizer.control_ids)
    first, second = byte_ids(tokenizer, "é".encode())
    assert decoder.push(first) == ""
    assert decoder.push(tokenizer.control_id("<turn|>")) == ""
    assert decoder.push(second) == "é"


def test_stream_never_fails_on_random_ids(tiny: Tokenizer) -> None:
    chance = random.Random(7)
    for _ in range(200):
        ids = [chance.randrange(tiny.vocab_size + 8) for _ in range(40)]
        "".join(stream(tiny.stream_decoder(), ids)).encode("utf-8")


def test_unknown_control_token_is_named(tiny: Tokenizer) -> None:
    assert not tiny.has_control("<|dance|>")
    assert tiny.has_control("<|turn>")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: .*<\|dance\|>"):
        tiny.control_id("<|dance|>")


def test_plain_token_is_no_control_token(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path, special=False)
    tokenizer = Tokenizer.from_file(path)
    with pytest.raises(CheckpointError, match=r"<\|turn>"):
        tokenizer.control_id("<|turn>")
    assert Tokenizer.from_file(write_tokenizer(tmp_path, special=True)).has_control("<|turn>")


def write_tokenizer(folder: Path, *, special: bool) -> Path:
    token = {"id": 1, "content": "<|turn>", "special": special, "normalized": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    path = folder / "tokenizer.json"
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    path.write_text(json.dumps({"added_tokens": [token | flags], "model": model}))
    return path


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: no such file"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")


def test_folder_instead_of_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        Tokenizer.from_file(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"no json", b"\xff\xfe", b'{"model": 3}'])
def test_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: is not a valid"):
        Tokenizer.from_file(path)
