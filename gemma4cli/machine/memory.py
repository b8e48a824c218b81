"""How much memory a run needs, computed before it starts.

Pure arithmetic on a config and on tensor sizes, in bytes. Weights and KV cache are exact;
activations are an upper bound fitted to measured peaks (tests/machine/test_memory.py). Does not
access the machine, files or MLX.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from ..models.block_sizes import MOST_SCORES, VISION_QUERIES, group_size
from ..models.config import Gemma4Config
from ..models.text_config import TextConfig
from ..models.tower_config import AudioConfig, UnifiedVisionConfig, VisionConfig

Backend = Literal["Metal", "CUDA", "CPU"]
Part = Literal["text", "vision", "audio"]

_CACHE_STEP = 256
"""Positions by which mlx-lm's caches grow."""
_VISION_NAMES = ("vision_tower.", "vision_embedder.", "embed_vision.")
_AUDIO_NAMES = ("audio_tower.", "embed_audio.")
_PER_LAYER_TABLE = "language_model.model.embed_tokens_per_layer."
_METAL_HEADS = frozenset({64, 72, 80, 96, 128})
"""Head sizes that MLX's fused attention takes on Metal (0.32, scaled_dot_product_attention.cpp).

It has kernels for 192 and 256 too, but does not use them for prompts, except for 256 on an M5 with
1,024 queries or more and no mask array, which only the first chunk of a prompt can be."""
_CUDA_LARGEST_HEAD = 128
"""The largest head that cuDNN's attention takes; sizes are multiples of 8, in 16 bits."""
KEPT_CHECKPOINTS = 1024**3
"""Bytes that a conversation's checkpoints may take (engine/turn_cache.py)."""
KEPT_SOFT_TOKENS = 256 * 1024**2
"""Bytes that a model's soft tokens of earlier media may take (engine/model.py)."""
PATCHES_AT_ONCE = 4096
"""Patches of equally sized images, mostly video frames, that go through the tower together."""
_LAYERS_IN_FLIGHT = 2
"""Layers whose activations may be alive at the same time, because MLX evaluates asynchronously."""
_BLOCKS_IN_FLIGHT = 2
"""Blocks of queries whose attention weights may be alive at the same time, likewise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Bytes of the language model, and of the tower and projection of each medium."""

    text: int
    vision: int
    audio: int

    @classmethod
    def of(cls, sizes: Iterable[tuple[str, int]], *, mapped: bool) -> Self:
        """The sum of tensors, given by their names in the network and their bytes.

        If the file is ``mapped``, the table of per-layer embeddings stays there: a token reads one
        row of it.
        """
        total: dict[Part, int] = {"text": 0, "vision": 0, "audio": 0}
        for name, size in sizes:
            if not (mapped and name.startswith(_PER_LAYER_TABLE)):
                total[part_of(name)] += size
        return cls(text=total["text"], vision=total["vision"], audio=total["audio"])

    @property
    def total(self) -> int:
        return self.text + self.vision + self.audio


def part_of(name: str) -> Part:
    """The part of the network that a tensor belongs to, by its name there."""
    if name.startswith(_VISION_NAMES):
        return "vision"
    return "audio" if name.startswith(_AUDIO_NAMES) else "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Numerics:
    """How a device computes. ``item`` is the size of one number in bytes.

    With ``native`` kernels, which exist for CPUs, nothing is unpacked or widened, and the weights
    are mapped from their file.
    """

    item: int
    backend: Backend
    native: bool = False

    @property
    def on_cpu(self) -> bool:
        return self.backend == "CPU"

    def holds_attention(self, head_dim: int) -> bool:
        """Whether attention over a prompt stores the weights of all query-key pairs at once."""
        if self.on_cpu:
            return not self.native
        if self.backend == "Metal":
            return head_dim not in _METAL_HEADS
        return self.item > 2 or head_dim > _CUDA_LARGEST_HEAD or head_dim % 8 != 0

    @property
    def unpacks_keys(self) -> bool:
        """Whether a quantized KV cache is unpacked for each layer; see models/attention.py."""
        return not self.native and self.backend != "Metal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What earlier turns of a conversation left in memory.

    ``checkpoints`` and ``soft_tokens`` are in bytes; ``positions`` counts the tokens in the layers
    that attend to everything.
    """

    checkpoints: int = 0
    soft_tokens: int = 0
    positions: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The size of a run.

    ``tokens`` counts prompt and answer, ``step`` is the prefill chunk, ``images`` holds the soft
    tokens of each image or frame, ``clip_tokens`` counts the soft tokens of the audio clips that go
    through the tower together. ``kept`` is what the conversation holds already; without one,
    nothing is kept for a later turn. ``kv_bits``: see LoadOptions.
    """

    tokens: int
    step: int = 512
    images: tuple[int, ...] = ()
    clip_tokens: int = 0
    kept: Kept | None = None
    kv_bits: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Peak memory of a run in bytes.

    Weights and cache are held throughout; ``working`` is the largest set of activations. ``kept``
    is what a conversation holds for its later turns: checkpoints of sliding layers, soft tokens.
    """

    text: int
    towers: int
    cache: int
    working: int
    kept: int = 0

    @property
    def total(self) -> int:
        return self.text + self.towers + self.cache + self.working + self.kept


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheSize:
    """Bytes of keys and values by layer type."""

    sliding: int
    full: int

    @property
    def total(self) -> int:
        return self.sliding + self.full


def cache_size(
    text: TextConfig, tokens: int, item: int, step: int = 0, kv_bits: int | None = None
) -> CacheSize:
    """The KV cache of ``tokens`` positions.

    Sliding layers hold at most the window, plus the chunk of ``step`` tokens during prefill. Layers
    that reuse another layer's keys and values hold nothing. With ``kv_bits``, full-attention layers
    hold numbers of that size, and a scale and a bias for each group of them.
    """
    grown = -(-tokens // _CACHE_STEP) * _CACHE_STEP
    held = min(grown, text.sliding_window) + min(step, max(0, grown - text.sliding_window))
    stored = text.layer_types[: text.num_stored_layers]
    full = stored.count("full_attention")
    heads = text.num_global_kv_heads if text.k_eq_v else None
    return CacheSize(
        sliding=2 * item * held * (len(stored) - full) * text.num_kv_heads * text.head_dim,
        full=2 * grown * full * (heads or text.num_kv_heads) * _key_size(text, item, kv_bits),
    )


def _key_size(text: TextConfig, item: int, kv_bits: int | None) -> int:
    """Bytes of a key or value of one head of a full-attention layer."""
    width = text.global_head_dim
    group = group_size(width)
    if kv_bits is None or group is None:
        return item * width
    return width * kv_bits // 8 + 2 * item * width // group


def footprint(config: Gemma4Config, weights: Weights, numerics: Numerics, work: Work) -> Footprint:
    """The memory of a run. The weights of unused towers stay on disk."""
    sees, hears = bool(work.images), bool(work.clip_tokens)
    return Footprint(
        text=weights.text,
        towers=weights.vision * sees + weights.audio * hears,
        cache=cache_size(config.text, work.tokens, numerics.item, work.step, work.kv_bits).total,
        working=max(
            prefill_size(config.text, work, numerics),
            vision_size(config.vision, work.images, numerics),
            audio_size(config.audio, work.clip_tokens, numerics),
            growth_size(config.text, work, numerics.item),
        ),
        kept=kept_size(config.text, work, numerics.item),
    )


def kept_size(text: TextConfig, work: Work, item: int) -> int:
    """Soft tokens, and what a conversation keeps: see ``Footprint``.

    A turn adds a checkpoint before its answer; the one after it shares the cache's arrays. Full
    layers that held more positions do so until a turn that resumes has copied them.
    """
    soft_tokens = item * text.hidden_size * (sum(work.images) + work.clip_tokens)
    if work.kept is None:
        return soft_tokens
    checkpoint = cache_size(text, work.tokens, item).sliding
    checkpoints = work.kept.checkpoints + checkpoint
    before, now = (
        cache_size(text, count, item, kv_bits=work.kv_bits).full
        for count in (work.kept.positions, work.tokens)
    )
    earlier = min(work.kept.soft_tokens, KEPT_SOFT_TOKENS)
    return min(checkpoints, KEPT_CHECKPOINTS) + max(0, before - now) + soft_tokens + earlier


def growth_size(text: TextConfig, work: Work, item: int) -> int:
    """What is in memory twice while the cache grows: the keys or the values of one full layer."""
    layers = text.layer_types[: text.num_stored_layers].count("full_attention")
    full = cache_size(text, work.tokens, item, kv_bits=work.kv_bits).full
    return full // max(1, 2 * layers)


def prefill_size(text: TextConfig, work: Work, numerics: Numerics) -> int:
    """Activations of the largest prefill chunk: attention weights, MLP, unpacked weights."""
    # A chunk never splits an image, so it can be as long as the largest one.
    chunk = min(max(work.step, *(work.images or (0,))), work.tokens)
    full = work.tokens * numerics.holds_attention(text.global_head_dim)
    sliding = min(work.tokens, text.sliding_window + chunk)
    sliding *= numerics.holds_attention(text.head_dim)
    attended = (
        min(text.num_heads * chunk * full, 2 * MOST_SCORES) + text.num_heads * chunk * sliding
    )
    # Layers with a double-wide MLP have no keys and values of their own, so prefill skips them.
    inner = text.intermediate_size
    if text.moe is not None:
        inner += text.moe.top_k * text.moe.intermediate_size
    heads = text.num_heads * text.global_head_dim
    hidden = chunk * (3 * inner + 6 * text.hidden_size + 3 * heads)
    per_layer = 3 * chunk * text.num_layers * text.ple_size
    unpacked = 3 * inner * text.hidden_size * (numerics.on_cpu and not numerics.native)
    keys = 0
    if work.kv_bits is not None and numerics.unpacks_keys:
        layers = text.layer_types[: text.num_stored_layers].count("full_attention")
        keys = cache_size(text, work.tokens, 1).full // max(1, layers)
    return numerics.item * (attended + keys + per_layer + _LAYERS_IN_FLIGHT * (hidden + unpacked))


def vision_size(
    vision: VisionConfig | UnifiedVisionConfig | None, images: Sequence[int], numerics: Numerics
) -> int:
    """Activations of the images or frames that go through the tower together."""
    if vision is None or not images:
        return 0
    if isinstance(vision, UnifiedVisionConfig):
        together = _patches_together(max(images), len(images))
        return numerics.item * together * (9 * vision.patch_size**2 + 4 * vision.embed_dim)
    patches = max(images) * vision.pooling**2
    together = _patches_together(patches, len(images))
    # A GPU computes one block of queries after the other; a CPU all of them at once.
    queries = patches if numerics.on_cpu else min(patches, _BLOCKS_IN_FLIGHT * VISION_QUERIES)
    held = vision.num_heads * queries * patches * numerics.holds_attention(vision.head_dim)
    attended = held * (together // max(1, patches))
    width = 3 * vision.intermediate_size + 8 * vision.hidden_size
    return numerics.item * (attended + together * _LAYERS_IN_FLIGHT * width)


def _patches_together(patches: int, images: int) -> int:
    """How many patches of ``images`` images with ``patches`` each are computed together."""
    return patches * max(1, min(images, PATCHES_AT_ONCE // max(1, patches)))


def audio_size(audio: object, clip_tokens: int, numerics: Numerics) -> int:
    """Activations of the audio tower, which computes attention in float32."""
    if not isinstance(audio, AudioConfig):
        return 0
    first, second = audio.conv_channels
    clip_tokens = -(-clip_tokens // audio.chunk_size) * audio.chunk_size
    # A token comes from 4 frames of as many bins as the first convolution has channels. Two
    # convolutions halve both axes; the second one unfolds its 3x3 input.
    bins = first
    subsampled = clip_tokens * (bins * first + bins // 4 * second)
    unfolded = clip_tokens * bins // 4 * 9 * first
    context = audio.chunk_size + audio.context_left + audio.context_right
    attended = audio.num_heads * context + 2 * audio.hidden_size * context // audio.chunk_size
    width = 16 * audio.hidden_size + 4 * attended
    return 4 * (5 * subsampled + unfolded + clip_tokens * _LAYERS_IN_FLIGHT * width)
