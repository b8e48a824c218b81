"""Ways to damage a checkpoint: values that parsing accepts at first sight, tensors, vocabularies.

``damaged_json`` breaks a file's form. What is changed here mostly keeps its form, so that the
damage meets what uses the values: the network, the processor, the decoder.
"""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from math import prod
from pathlib import Path
from random import Random
from typing import Any

from .mutations import damaged_json, damaged_text

_WEIGHTS = "model.safetensors"
_CONFIG, _PROCESSOR, _GENERATION = (
    "config.json",
    "processor_config.json",
    "generation_config.json",
)
_UNREAD = ("id2label", "label2id", "architectures", "_name_or_path", "transformers_version")
_ITEM_SIZES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2}
_ITEM_SIZES |= {"I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}

Header = dict[str, Any]


def damage_model(rng: Random, source: Path, target: Path) -> None:
    """Replace one to three files in ``target``, a folder of links to those of ``source``."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(_DAMAGES)(rng, source, target)


def damage_drafter(rng: Random, source: Path, target: Path) -> None:
    """As ``damage_model`` for a drafter, which has a config and weights alone."""
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice(_DRAFTER_DAMAGES)(rng, source, target)


def _put(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def _json_in(target: Path, name: str) -> Any:
    """A file's content, with what an earlier damage did to it; None if that broke its form."""
    try:
        return json.loads((target / name).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _leaves(value: Any) -> list[tuple[Any, Any]]:
    """Every number, text and flag of a config as ``(holder, key)``."""
    if not isinstance(value, dict | list):
        return []
    found = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if key not in _UNREAD:
            found += _leaves(inner) if isinstance(inner, dict | list) and inner else [(value, key)]
    return found


def _near(rng: Random, value: Any) -> Any:
    """A value of the same type; of another, if it has none."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        plain = (0, 1, 2, 3, value - 1, value + 1, 2 * value, value // 2, 4 * value, -value)
        return rng.choice((*plain, *plain, 2 ** rng.randrange(32), 10 ** rng.randrange(10)))
    if isinstance(value, float):
        plain = (0.0, 1.0, -value, value / 2, value * 2)
        return rng.choice((*plain, 10.0 ** rng.randrange(-300, 300), -(10.0 ** rng.randrange(30))))
    return rng.choice((1, 7, 300, 0.5, True, "x", [1], [2, 3], None))


def _near_values(rng: Random, source: Path, target: Path) -> None:
    """One to four values of a config that keep their types."""
    name = rng.choice((_CONFIG, _CONFIG, _CONFIG, _PROCESSOR, _PROCESSOR, _GENERATION))
    content = _json_in(target, name)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if leaves := _leaves(content):
            holder, key = rng.choice(leaves)
            holder[key] = _near(rng, holder[key])
    _put(target / name, json.dumps(content).encode())


_TOGETHER = (
    ("patch_size", (1, 2, 4, 8, 32, 64, 256, 1024)),
    ("pooling_kernel_size", (1, 2, 6, 16, 64)),
    ("max_soft_tokens", (1, 2, 9, 1120, 4096)),
    ("num_frames", (1, 2, 4096)),
    ("feature_size", (1, 4, 64, 2048)),
    ("subsampling_conv_channels", ([1, 1], [4, 16], [2048, 16])),
    ("audio_samples_per_token", (1, 7, 65536)),
    ("audio_embed_dim", (1, 7, 65536)),
    ("model_patch_size", (1, 4, 16, 1024)),
    ("num_attention_heads", (1, 2, 3, 8, 128)),
    ("num_key_value_heads", (1, 2, 3, 8)),
    ("num_hidden_layers", (1, 2, 5, 7, 1024)),
    ("vocab_size", (1, 22, 300, 2047, 2049, 10**6)),
    ("attention_chunk_size", (1, 2, 1000, 2**20)),
    ("attention_context_left", (0, 1, 2, 1000, 2**20)),
    ("attention_context_right", (0, 1, 5, 1000, 2**20)),
    ("fft_length", (320, 321, 4096, 2**16)),
    ("hop_length", (1, 2, 320)),
    ("sliding_window", (1, 2, 3, 8, 100, 2**31 - 1)),
    ("max_position_embeddings", (1, 5, 30, 2**31 - 1)),
)


def _values_together(rng: Random, source: Path, target: Path) -> None:
    """A size wherever it is found in the config and the processor's config."""
    sizes = dict(rng.sample(_TOGETHER, rng.choice((1, 1, 2, 3))))
    chosen = {key: rng.choice(values) for key, values in sizes.items()}
    for name in (_CONFIG, _PROCESSOR):
        content = _json_in(target, name)
        for holder, key in _leaves(content):
            if key in chosen:
                holder[key] = copy.deepcopy(chosen[key])
        _put(target / name, json.dumps(content).encode())


def _drafter_values(rng: Random, source: Path, target: Path) -> None:
    """What only a drafter has: the size of its model, and the clusters of its vocabulary."""
    content = _json_in(target, _CONFIG)
    if isinstance(content, dict):
        text = content.get("text_config")
        size = text.get("vocab_size") if isinstance(text, dict) else None
        for key, values in (
            ("backbone_hidden_size", (1, 8, 40, 64, 2**31 - 1)),
            ("num_centroids", (1, 2, 3, size, size and size // 2, 2**31 - 1)),
            ("centroid_intermediate_top_k", (1, 2, 4, 5, size, 2**31 - 1)),
            ("use_ordered_embeddings", (True, False, 1, None)),
            ("tie_word_embeddings", (True, False, 1, None)),
        ):
            if rng.random() < 0.4:
                content[key] = rng.choice(values)
    _put(target / _CONFIG, json.dumps(content).encode())


def _near_drafter_values(rng: Random, source: Path, target: Path) -> None:
    content = _json_in(target, _CONFIG)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if leaves := _leaves(content):
            holder, key = rng.choice(leaves)
            holder[key] = _near(rng, holder[key])
    _put(target / _CONFIG, json.dumps(content).encode())


def _layers(rng: Random, source: Path, target: Path) -> None:
    """Which layers attend how, and share what."""
    content = _json_in(target, _CONFIG)
    text = content.get("text_config") if isinstance(content, dict) else None
    if isinstance(text, dict):
        count = text.get("num_hidden_layers")
        kinds = ("sliding_attention", "full_attention")
        only = rng.choice((kinds, kinds[:1], kinds[1:]))
        if isinstance(count, int) and 0 < count < 2000:
            text["layer_types"] = [rng.choice(only) for _ in range(count)]
        text["num_kv_shared_layers"] = rng.choice((0, 1, 2, 3, 4, 5, 6))
        text["use_bidirectional_attention"] = rng.choice((None, "vision", "all"))
        text["enable_moe_block"] = rng.random() < 0.2
        text |= {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 8}
    _put(target / _CONFIG, json.dumps(content).encode())


@cache
def _tensors(source: Path) -> dict[str, tuple[str, list[int], bytes]]:
    data = (source / _WEIGHTS).read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    found = {}
    for name, entry in json.loads(data[8:end]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            found[name] = (entry["dtype"], entry["shape"], data[end + first : end + last])
    return found


def _other_tensors(rng: Random, source: Path, target: Path) -> None:
    """A whole file of weights in which tensors have other types, shapes, names or numbers."""
    tensors = dict(_tensors(source))
    part = rng.choice(("", "language_model", "vision", "audio", "norm", "embed", "input_m"))
    names = [name for name in tensors if part in name] or list(tensors)
    change = rng.choice(_TENSOR_CHANGES)
    for name in rng.sample(names, min(len(names), rng.choice((1, 1, 3, len(names))))):
        change(rng, tensors, name)
    _write_weights(rng, target / _WEIGHTS, tensors)


def _other_type(rng: Random, tensors: dict[str, Any], name: str) -> None:
    """The same shape in another type, or another shape of the same bytes."""
    kind, shape, data = tensors[name]
    kind = rng.choice(sorted(_ITEM_SIZES))
    size = prod(shape) * _ITEM_SIZES[kind]
    tensors[name] = (kind, shape, (data * (size // max(1, len(data)) + 1))[:size])


def _other_shape(rng: Random, tensors: dict[str, Any], name: str) -> None:
    kind, shape, data = tensors[name]
    shapes = (shape[::-1], [prod(shape)], [1, *shape], [*shape, 1], [0, *shape[1:]], [])
    shape = rng.choice(shapes)
    tensors[name] = (kind, shape, data[: prod(shape) * _ITEM_SIZES[kind]])


def _other_numbers(rng: Random, tensors: dict[str, Any], name: str) -> None:
    kind, shape, data = tensors[name]
    pattern = rng.choice((b"\0", b"\xff", b"\x7f\x80", b"\x80\x7f", b"\xff\x7f", rng.randbytes(64)))
    tensors[name] = (kind, shape, (pattern * (len(data) // len(pattern) + 1))[: len(data)])


def _other_name(rng: Random, tensors: dict[str, Any], name: str) -> None:
    odd = ("", "x", name + ".", name.upper(), "../x", "a" * 300, f"{name}.lora_A", "lm_head.weight")
    tensors[rng.choice(odd)] = tensors[name]
    if rng.random() < 0.5:
        del tensors[name]


def _scales(rng: Random, tensors: dict[str, Any], name: str) -> None:
    """What only a quantized layer has, beside or in place of a plain weight."""
    base = name.removesuffix(".weight")
    _, shape, _ = tensors[name]
    rows, width = (shape * 2)[:2] if shape else (1, 1)
    groups, bits = max(1, width // rng.choice((16, 32, 64, 7))), rng.choice((1, 2, 4, 8, 5))
    of_scales = rng.choice((("BF16", 2), ("U8", 1), ("F32", 4), ("U32", 4)))
    packed = max(1, width * bits // 32)
    tensors[f"{base}.scales"] = (of_scales[0], [rows, groups], bytes(rows * groups * of_scales[1]))
    if rng.random() < 0.7:
        kind = rng.choice(("U32", "U32", "I32", "F32"))
        tensors[name] = (kind, [rows, packed], rng.randbytes(64) * (rows * packed // 16 + 1))
        tensors[name] = (*tensors[name][:2], tensors[name][2][: rows * packed * 4])
    if rng.random() < 0.6:
        tensors[f"{base}.biases"] = tensors[f"{base}.scales"]


_TENSOR_CHANGES: tuple[Callable[[Random, dict[str, Any], str], None], ...] = (
    _other_type,
    _other_type,
    _other_shape,
    _other_numbers,
    _other_name,
    _scales,
)


def _write_weights(rng: Random, path: Path, tensors: dict[str, Any]) -> None:
    """The file, whose header is now and then not true."""
    header: Header = {"__metadata__": {"format": rng.choice(("pt", "mlx", "x"))}}
    at = 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    if rng.random() < 0.15:
        entry = header[rng.choice(list(tensors))]
        first, last = entry["data_offsets"]
        offsets = ([last, first], [first - 8, last - 8], [0, at], [at, 2 * at], [first, last + 8])
        entry["data_offsets"] = rng.choice(offsets)
    text = json.dumps(header).encode()
    body = b"".join(data for _, _, data in tensors.values())
    _put(path, struct.pack("<Q", len(text)) + text + body)


def _index(rng: Random, source: Path, target: Path) -> None:
    """An index that names the wrong files: no weights, the same twice, those of another."""
    names = dict.fromkeys(_tensors(source), _WEIGHTS)
    if rng.random() < 0.5:
        odd = rng.choice(("config.json", "./model.safetensors", "..", ".", "x/y", "model", "in\nx"))
        for name in rng.sample(list(names), rng.choice((1, len(names)))):
            names[name] = odd
    else:
        names = {rng.choice(("x", "lm_head.weight")): rng.choice((_WEIGHTS, "other.safetensors"))}
    _put(target / f"{_WEIGHTS}.index.json", json.dumps({"weight_map": names}).encode())


def _vocabulary(rng: Random, source: Path, target: Path) -> None:
    """Ids, merges, added tokens, and what splits or changes text."""
    content = _json_in(target, "tokenizer.json")
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        return
    change = rng.choice(_TOKENIZER_CHANGES)
    # An earlier change may have taken what this one needs.
    with suppress(KeyError, TypeError, IndexError, AttributeError, ValueError):
        change(rng, content)
    _put(target / "tokenizer.json", json.dumps(content).encode())


def _other_ids(rng: Random, content: Any) -> None:
    vocab = content["model"]["vocab"]
    for token in rng.sample(list(vocab), rng.choice((1, 5, 500))):
        vocab[token] = rng.choice((0, 5, len(vocab), 2**20, 2**31, 2**32 - 1, rng.randrange(2048)))


def _fewer_tokens(rng: Random, content: Any) -> None:
    vocab = content["model"]["vocab"]
    for token in rng.sample(list(vocab), rng.choice((1, 200, len(vocab) - 1))):
        del vocab[token]


def _added_tokens(rng: Random, content: Any) -> None:
    added = content["added_tokens"]
    for _ in range(rng.choice((1, 3, 500))):
        token = copy.deepcopy(rng.choice(added))
        token["content"] = rng.choice(("", " ", "a", "<|image|>", "x" * 3000, "\0", "Hi", "▁"))
        token["id"] = rng.choice((0, 1, 2047, 2048, 10**6, 2**32 - 1, len(added)))
        token[rng.choice(("special", "lstrip", "normalized", "single_word"))] = rng.random() < 0.5
        added.append(token)
    if rng.random() < 0.4:
        del added[: rng.randrange(len(added))]


_SLOW = r"(a|aa)+$", r"(.*)*x", r"(\s*)*\S*(\s+)+y", r"((.+)+)+\d", "(" * 40 + "a*" + ")*" * 40


def _splitting(rng: Random, content: Any) -> None:
    pattern = {rng.choice(("Regex", "String")): rng.choice((*_SLOW, "", "(", "a{1000}{1000}"))}
    behavior = rng.choice(("Isolated", "Removed", "MergedWithNext", "Contiguous"))
    split = {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}
    replace = {"type": "Replace", "pattern": pattern, "content": rng.choice(("", "x" * 1000, "aa"))}
    section = rng.choice(("normalizer", "pre_tokenizer", "decoder", "post_processor"))
    odd = rng.choice((split, replace, {"type": "ByteLevel"}, {"type": "NFKC"}, None, {"type": "x"}))
    if rng.random() < 0.3:
        kind = "pretokenizers" if section == "pre_tokenizer" else f"{section}s"
        odd = {"type": "Sequence", kind: [odd] * rng.choice((1, 2, 30))}
    content[section] = odd


def _merging(rng: Random, content: Any) -> None:
    merges = content["model"]["merges"]
    for _ in range(rng.choice((1, 10))):
        odd = (["no", "such"], "no such", "a", ["a"], ["", ""], ["a", "b", "c"], "\0 \0", 1)
        merges.insert(rng.randrange(len(merges) + 1), rng.choice(odd))
    model = content["model"]
    model[rng.choice(("byte_fallback", "fuse_unk", "ignore_merges"))] = rng.random() < 0.5
    model["unk_token"] = rng.choice((None, "<unk>", "no such token"))
    model["dropout"] = rng.choice((None, 0.0, 0.5, 1.0, 2.0, -1.0))
    model["continuing_subword_prefix"] = rng.choice((None, "", "##", "x" * 5000))
    model["end_of_word_suffix"] = rng.choice((None, "", "</w>"))


def _truncating(rng: Random, content: Any) -> None:
    content["truncation"] = {
        "direction": "Right",
        "max_length": rng.choice((0, 1, 2**31)),
        "strategy": "LongestFirst",
        "stride": rng.choice((0, 5, 2**31)),
    }
    content["padding"] = {
        "strategy": {"Fixed": rng.choice((0, 5, 10**6))},
        "direction": "Right",
        "pad_to_multiple_of": rng.choice((None, 0, 7)),
        "pad_id": rng.choice((0, 2**31)),
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }


_TOKENIZER_CHANGES: tuple[Callable[[Random, Any], None], ...] = (
    _other_ids,
    _fewer_tokens,
    _added_tokens,
    _splitting,
    _splitting,
    _merging,
    _truncating,
)


def _ids(rng: Random, source: Path, target: Path) -> None:
    """Ids that begin, end or stand for something, outside the vocabulary or of another token."""
    odd = (0, 1, 2, 17, 23, 100, 2047, 2048, 2**31 - 1, 2**31, 2**40, -1, [], [3, 4], None, "1")
    for name in (_CONFIG, _GENERATION):
        content = _json_in(target, name)
        leaves = [each for each in _leaves(content) if "token_id" in str(each[1])]
        for holder, key in rng.sample(leaves, min(len(leaves), rng.choice((1, 2)))):
            holder[key] = rng.choice(odd)
        if name == _GENERATION and isinstance(content, dict):
            content["suppress_tokens"] = rng.choice((None, [], [1, 6, 14], list(range(2048)), [-5]))
            content["do_sample"] = rng.random() < 0.5
            content["temperature"] = rng.choice((0, 1e-300, 1e-30, 0.5, 1, 1e30, 1e300, -1))
            content["top_p"] = rng.choice((0, 1e-300, 0.5, 1, 2, None))
            content["top_k"] = rng.choice((0, 1, 64, 2047, 2049, 2**31, -1, 0.5, None))
        _put(target / name, json.dumps(content).encode())


def _broken_form(rng: Random, source: Path, target: Path) -> None:
    """A file that is no longer what it should be."""
    names = (_CONFIG, _PROCESSOR, _GENERATION, "tokenizer_config.json")
    name = rng.choice([each for each in names if (source / each).exists()])
    if (content := _json_in(target, name)) is not None:
        _put(target / name, damaged_json(rng, content))


def _template(rng: Random, source: Path, target: Path) -> None:
    name = "chat_template.jinja"
    text = (source / name).read_bytes()
    odd = b"{% for i in range(10**9) %}{{ ''.__class__.__mro__ }}{% endfor %}" * rng.choice(
        (1, 999)
    )
    _put(target / name, rng.choice((odd, text + odd, damaged_text(rng, text), b"\0" * 10**6)))


_DAMAGES: tuple[Callable[[Random, Path, Path], None], ...] = (
    _near_values,
    _near_values,
    _near_values,
    _values_together,
    _values_together,
    _values_together,
    _layers,
    _other_tensors,
    _other_tensors,
    _index,
    _vocabulary,
    _vocabulary,
    _ids,
    _broken_form,
    _template,
)

_DRAFTER_DAMAGES: tuple[Callable[[Random, Path, Path], None], ...] = (
    _drafter_values,
    _near_drafter_values,
    _near_drafter_values,
    _layers,
    _other_tensors,
    _other_tensors,
    _index,
    _broken_form,
)
