"""A loaded model: network, processor and generation settings."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import mlx.core as mx

from ..checked_json import LARGEST, JsonError, is_finite_number, number, shown
from ..errors import CheckpointError
from ..hub.adapter_files import AdapterFile
from ..machine.memory import KEPT_SOFT_TOKENS, Weights
from ..machine.process_settings import SETTINGS, Hold
from ..models.drafter import Drafter
from ..models.gemma4 import Gemma4
from ..models.weights import Quantization
from ..options import LoadOptions
from ..processing.processor import Processor
from ..processing.tokenizer import Tokenizer
from .pace import Pace
from .weights_reading import UnreadTowers

logger = logging.getLogger(__name__)

_FILE = "generation_config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationConfig:
    """generation_config.json: stop ids, suppressed ids and sampling settings.

    Without ``do_sample`` the model is greedy.
    """

    stop_ids: frozenset[int]
    suppressed_ids: tuple[int, ...]
    temperature: float
    top_p: float
    top_k: int

    @classmethod
    def from_dict(
        cls, generation: Mapping[str, Any] | None, config: Mapping[str, Any]
    ) -> GenerationConfig:
        """Read the file's content; if it is None, the stop ids come from config.json.

        Released checkpoints list more stop ids in generation_config.json than in config.json.
        """
        source = config if generation is None else generation
        stop = source.get("eos_token_id")
        stop_ids = _ids("eos_token_id", config.get("eos_token_id") if stop is None else stop)
        if not stop_ids:
            raise CheckpointError(_FILE, "lacks an 'eos_token_id' to stop at")
        sampled = source.get("do_sample")
        if not isinstance(sampled, bool | None):
            raise CheckpointError(_FILE, f"do_sample: must be true or false, not {shown(sampled)}")
        return cls(
            stop_ids=frozenset(stop_ids),
            suppressed_ids=_ids("suppress_tokens", source.get("suppress_tokens")),
            temperature=_setting(source, "temperature") if sampled else 0.0,
            top_p=_setting(source, "top_p"),
            top_k=int(_setting(source, "top_k")),
        )


def _ids(key: str, value: object) -> tuple[int, ...]:
    """Token ids from a list, a single id, or null."""
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(type(each) is int for each in ids):
        raise CheckpointError(_FILE, f"{key}: must be token ids, not {shown(value)}")
    return tuple(ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Setting:
    """A number of the file; ``above``: ``least`` itself is out of range."""

    default: float
    least: float = 0
    most: float
    above: bool = False


_SETTINGS = {
    "temperature": _Setting(default=1.0, most=1e30),
    "top_p": _Setting(default=1.0, most=1, above=True),
    "top_k": _Setting(default=0, most=LARGEST),
}


def _setting(source: Mapping[str, Any], key: str) -> float:
    """A setting, or its default if the key is missing or null.

    So it is, with a warning, if the number is out of range. Raises CheckpointError for what is not
    a finite number.
    """
    setting, value = _SETTINGS[key], source.get(key)
    if value is None:
        return setting.default
    if not is_finite_number(value):
        raise CheckpointError(_FILE, f"{key}: must be a number, not {shown(value)}")
    try:
        return number(value, key, least=setting.least, most=setting.most, above=setting.above)
    except JsonError as exc:
        logger.warning("%s: %s; it is ignored", _FILE, exc)
        return setting.default


class FeatureCache:
    """Soft tokens by the digest of their medium, with least recently used eviction.

    ``limit`` is in bytes; a video of 32 frames takes about 14 MB on E2B.
    """

    def __init__(self, limit: int = KEPT_SOFT_TOKENS, kept: _KeptSoftTokens | None = None) -> None:
        self._kept = kept or _KeptSoftTokens(limit)
        self._towers = object()

    def apart(self) -> FeatureCache:
        """A cache for other towers, which finds nothing of this one; the limit is that of both."""
        return FeatureCache(kept=self._kept)

    @property
    def held(self) -> int:
        """Bytes of what is kept."""
        return self._kept.held

    def get(self, digest: str) -> mx.array | None:
        items = self._kept.items
        if (self._towers, digest) in items:
            items.move_to_end((self._towers, digest))
        return items.get((self._towers, digest))

    def put(self, digest: str, values: mx.array) -> None:
        if (self._towers, digest) in self._kept.items:
            return
        self._kept.items[self._towers, digest] = values
        self._kept.held += values.nbytes
        while self._kept.held > self._kept.limit:
            _, oldest = self._kept.items.popitem(last=False)
            self._kept.held -= oldest.nbytes


@dataclass(slots=True, eq=False)
class _KeptSoftTokens:
    """Soft tokens by what stands for their towers and by digest, the least recently used first."""

    limit: int
    held: int = 0
    items: OrderedDict[tuple[object, str], mx.array] = field(default_factory=OrderedDict)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedDrafter:
    """A drafter, and how well it does."""

    name: str
    network: Drafter
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedModel:
    """The result of ``load``. ``name`` is the name that the user gave.

    One with an ``adapter`` shares its weights with the one ``without_adapter``. ``beside`` are the
    networks that share them too and are in memory at the same time; what fits depends on them.
    Settings of the process that models need hold as long as this object lives.
    """

    name: str
    folder: Path
    options: LoadOptions
    network: Gemma4
    processor: Processor
    generation: GenerationConfig
    quantization: frozenset[Quantization]
    drafter: LoadedDrafter | None = None
    adapter: AdapterFile | None = None
    without_adapter: Self | None = field(default=None, repr=False)
    beside: tuple[Gemma4, ...] = field(default=(), repr=False)
    soft_tokens: FeatureCache = field(default_factory=FeatureCache)
    unread: UnreadTowers = field(default_factory=UnreadTowers)
    settings: Hold = field(default_factory=SETTINGS.hold)
    sizes: dict[tuple[int, ...], Weights] = field(default_factory=dict)

    @property
    def context_length(self) -> int:
        """The most tokens that prompt and answer can have together."""
        return self.network.config.text.max_positions

    @property
    def is_divided(self) -> bool:
        """Whether other processes hold parts of it, and of what it keeps."""
        return self.network.language_model.is_divided

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the processor, which in this process is a whole one."""
        tokenizer = self.processor.tokenizer
        assert isinstance(tokenizer, Tokenizer), "loading made it"
        return tokenizer

    @property
    def blocks_on_full_layers(self) -> bool:
        """See ``make_masks``."""
        return self.network.config.unified and self.options.unified_full_attention_blocks

    @property
    def identity(self) -> Mapping[str, object]:
        """What tells it from another model, and from itself with other weights."""
        weights = [(file, file.stat()) for file in self.folder.glob("*.safetensors")]
        return {
            "model": str(self.folder.resolve()),
            "weights": sorted(
                f"{file.name} {status.st_size} {status.st_mtime_ns}" for file, status in weights
            ),
            "dtype": self.options.dtype,
            **({} if self.options.kv_bits is None else {"kv_bits": self.options.kv_bits}),
            **({} if self.adapter is None else {"adapter": self.adapter.identity}),
        }
