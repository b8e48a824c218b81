"""Text to ids and back: text never yields control ids, streams never yield partial characters."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma4cli.errors import CheckpointError
from gemma4cli.processing.text_encoder import well_formed
from gemma4cli.processing.tokenizer import StreamDecoder, Tokenizer

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


def test_control_tokens_of_gemma_4_have_their_published_ids(gemma: Tokenizer) -> None:
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


ALPHABET = [*"<|>/ax \n▁", "image", "turn", "unk", "0x41", "é", "😀", "\x00", "\U0010ffff"]
LOOKALIKES = st.lists(st.sampled_from(ALPHABET), max_size=30).map("".join)


@given(text=LOOKALIKES | st.text(max_size=30))
def test_no_text_gives_a_control_id(gemma: Tokenizer, tiny: Tokenizer, text: str) -> None:
    for tokenizer in (gemma, tiny):
        assert tokenizer.control_ids.isdisjoint(tokenizer.encode(text))


def test_decode_reverses_encode(tokenizer: Tokenizer) -> None:
    assert [tokenizer.decode(tokenizer.encode(text)) for text in TEXTS] == TEXTS


@given(text=st.text(max_size=30))
def test_a_stream_gives_the_text_that_was_encoded(
    gemma: Tokenizer, tiny: Tokenizer, text: str
) -> None:
    for tokenizer in (gemma, tiny):
        ids = tokenizer.encode(text)
        assert "".join(stream(tokenizer.stream_decoder(), ids)) == tokenizer.decode(ids)


@given(text=st.text(st.characters(codec=None, exclude_categories=()), max_size=30))
def test_text_becomes_well_formed_and_changes_only_at_surrogates(text: str) -> None:
    found = well_formed(text)
    found.encode("utf-8")
    assert well_formed(found) == found
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert found == text


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


def test_a_stream_gives_the_same_text(tokenizer: Tokenizer) -> None:
    for text in TEXTS:
        pushed = stream(tokenizer.stream_decoder(), tokenizer.encode(text))
        assert "".join(pushed) == text
        assert pushed[-1] == ""
        assert not any("�" in delta for delta in pushed)


def test_a_stream_holds_a_character_back_until_it_is_complete(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("a"), *byte_ids(tokenizer, "😀".encode()), *tokenizer.encode("b")]
    assert stream(tokenizer.stream_decoder(), ids) == ["a", "", "", "", "😀", "b", ""]


def test_a_stream_decodes_text_spelled_in_bytes(tokenizer: Tokenizer) -> None:
    ids = byte_ids(tokenizer, "aé漢😀".encode())
    assert "".join(stream(tokenizer.stream_decoder(), ids)) == "aé漢😀"


def test_a_stream_replaces_invalid_bytes(tokenizer: Tokenizer) -> None:
    ids = [*byte_ids(tokenizer, b"\xc3\xa9\xff"), *tokenizer.encode("x")]
    assert stream(tokenizer.stream_decoder(), ids) == ["", "é", "�", "x", ""]


def test_a_stream_replaces_a_character_that_other_text_interrupts(tokenizer: Tokenizer) -> None:
    ids = [*byte_ids(tokenizer, b"\xf0\x9f"), *tokenizer.encode("x")]
    assert stream(tokenizer.stream_decoder(), ids) == ["", "", "�x", ""]


def test_flush_replaces_an_incomplete_character_once(tokenizer: Tokenizer) -> None:
    decoder = tokenizer.stream_decoder()
    assert stream(decoder, byte_ids(tokenizer, b"\xf0\x9f\x98")) == ["", "", "", "�"]
    assert decoder.flush() == ""
    assert decoder.push(tokenizer.encode("a")[0]) == "a"


def test_a_stream_yields_no_text_for_control_tokens(tokenizer: Tokenizer) -> None:
    decoder = tokenizer.stream_decoder()
    assert all(decoder.push(token_id) == "" for token_id in tokenizer.control_ids)
    first, second = byte_ids(tokenizer, "é".encode())
    assert decoder.push(first) == ""
    assert decoder.push(tokenizer.control_id("<turn|>")) == ""
    assert decoder.push(second) == "é"


@given(data=st.binary(max_size=24))
def test_a_stream_of_bytes_decodes_as_utf_8_with_replacement(tiny: Tokenizer, data: bytes) -> None:
    text = "".join(stream(tiny.stream_decoder(), byte_ids(tiny, data)))
    assert text == data.decode("utf-8", "replace")


@given(data=st.data())
def test_a_stream_takes_any_ids_and_yields_whole_characters(
    tiny: Tokenizer, data: st.DataObject
) -> None:
    """Ids beyond the vocabulary included: a model has more outputs than the tokenizer ids."""
    ids = data.draw(st.lists(st.integers(0, tiny.vocab_size + 7), max_size=40))
    deltas = stream(tiny.stream_decoder(), ids)
    "".join(deltas).encode("utf-8")


def test_an_unknown_control_token_is_named(tiny: Tokenizer) -> None:
    assert not tiny.has_control("<|dance|>")
    assert tiny.has_control("<|turn>")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: .*<\|dance\|>"):
        tiny.control_id("<|dance|>")


def test_a_token_that_is_not_special_is_not_a_control_token(tmp_path: Path) -> None:
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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: no such file"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")


def test_a_folder_instead_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        Tokenizer.from_file(tmp_path)


def test_an_invalid_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for content in (b"", b"{}", b"no json", b"\xff\xfe", b'{"model": 3}'):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"tokenizer\.json: is not a valid"):
            Tokenizer.from_file(path)


REGEX = {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False}
DOUBLING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
EMPTY = {"type": "Replace", "pattern": {"String": ""}, "content": "aa"}
ADDED = {"id": 5, "content": "x", "single_word": False, "lstrip": False, "rstrip": False}
ADDED |= {"normalized": False, "special": False}


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("pre_tokenizer", REGEX, "pre_tokenizer.pattern: must be a plain text"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [REGEX]}, r"pretokenizers\[0\]"),
        ("normalizer", {"type": "Sequence", "normalizers": [DOUBLING] * 8}, "too long"),
        ("normalizer", {"type": "Sequence", "normalizers": [DOUBLING] * 99}, "too long"),
        ("normalizer", DOUBLING | {"content": "a" * 1000}, "too long"),
        ("normalizer", EMPTY, "normalizer.pattern: must be a plain text"),
        ("normalizer", {"type": "Prepend", "prepend": "x" * 10**6}, "too long"),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, "'Precompiled'"),
        ("decoder", {"type": "Sequence", "decoders": [DOUBLING] * 30}, "too long"),
        ("decoder", {"type": ["CTC"]}, "is not a step of Gemma's tokenizers"),
        ("decoder", 5, "must be an object or null"),
        ("post_processor", {"type": "Sequence", "processors": 5}, "must be a list"),
        ("added_tokens", [ADDED] * 70_000, "a list of at most 65536 tokens"),
        ("added_tokens", [ADDED | {"content": ""}], "a text of 1 to 256 characters"),
        ("added_tokens", [ADDED | {"content": "x" * 10**6}], "a text of 1 to 256 characters"),
        ("added_tokens", [ADDED | {"id": 2**32}], r"added_tokens\[0\].id"),
        ("added_tokens", ["x"], "must be an object"),
        ("model.continuing_subword_prefix", "##", "must be null, not '##'"),
        ("model.end_of_word_suffix", "</w>", "must be null"),
        ("model.dropout", 0.5, "must be null"),
        ("model.type", "WordPiece", "of the type BPE"),
    ],
)
def test_what_no_tokenizer_of_gemma_has_is_refused_before_it_is_built(
    tiny: Tokenizer, path: str, value: object, problem: str
) -> None:
    """Also where the vocabulary comes first in the file."""
    content = json.loads(tiny.serialized())
    *sections, key = path.split(".")
    (content[sections[0]] if sections else content)[key] = value
    for order in (content, dict(reversed(content.items()))):
        with pytest.raises(CheckpointError, match=problem) as caught:
            Tokenizer.from_bytes(json.dumps(order).encode(), "tokenizer.json")
        assert "\n" not in str(caught.value)


def test_what_the_library_cannot_use_is_an_error(tiny: Tokenizer) -> None:
    """A panic in the library's own code is one too."""
    content = json.loads(tiny.serialized())
    content["model"]["merges"].append(["no such", "token"])
    with pytest.raises(CheckpointError, match="is not a valid"):
        Tokenizer.from_bytes(json.dumps(content).encode(), "tokenizer.json")


class Panicking:
    """A library's tokenizer that panics, which is not an Exception."""

    encode_special_tokens = False

    def no_truncation(self) -> None: ...
    def no_padding(self) -> None: ...
    def get_added_tokens_decoder(self) -> dict[int, object]:
        return {}

    def encode(self, text: str, add_special_tokens: bool) -> object:
        raise type("PanicException", (BaseException,), {})("index out\nof range")

    def decode(self, ids: object, skip_special_tokens: bool) -> str:
        raise Exception("decoding failed")


def test_a_panic_of_the_library_is_an_error_of_the_tokenizer() -> None:
    tokenizer = Tokenizer(cast("Any", Panicking()), "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"cannot be used .index out of range"):
        tokenizer.encode("Hi")
    with pytest.raises(CheckpointError, match=r"cannot be used .decoding failed"):
        tokenizer.decode([1])
