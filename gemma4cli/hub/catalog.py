"""Aliases and their repositories, copied from public manifests; nothing is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUILTIN = {"tiny": Path(__file__).parent.parent / "builtin" / "tiny"}
"""Models that ship inside the package."""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A published MLX conversion with ``gigabytes`` (10**9 bytes) of weights."""

    repo: str
    gigabytes: float

    @property
    def bytes(self) -> int:
        return round(self.gigabytes * 1e9)


def _community(size: str, sizes: dict[str, float]) -> dict[str, CatalogEntry]:
    return {
        quant: CatalogEntry(f"mlx-community/gemma-4-{size}-{quant}", gigabytes)
        for quant, gigabytes in sizes.items()
    }


CATALOG: dict[str, dict[str, CatalogEntry]] = {
    "e2b": _community(
        "e2b-it",
        {"4bit": 3.55, "5bit": 4.16, "6bit": 4.74, "8bit": 5.87}
        | {"mxfp4": 4.26, "mxfp8": 5.75, "bf16": 10.25},
    ),
    "e4b": _community(
        "e4b-it",
        {"4bit": 5.15, "5bit": 6.19, "6bit": 7.12, "8bit": 8.88}
        | {"mxfp4": 6.77, "mxfp8": 8.76, "bf16": 16.02},
    ),
    "12b": _community("12B-it", {"4bit": 6.74, "qat-4bit": 11.02}),
    "26b": _community(
        "26b-a4b-it", {"4bit": 15.34, "8bit": 27.99, "mxfp4": 14.7, "nvfp4": 16.0, "bf16": 51.64}
    ),
    "31b": _community(
        "31b-it",
        {"4bit": 18.41, "5bit": 22.28, "6bit": 26.12, "8bit": 33.8}
        | {"mxfp4": 17.48, "mxfp8": 32.84, "bf16": 62.58},
    ),
}
"""Alias to quantization to repository; an alias alone means its first entry."""


TIERS = {"e2b": 8, "e4b": 16, "12b": 24, "26b": 32, "31b": 48}
"""Alias to the memory of a machine, in 2**30 bytes, that fits the model and other programs."""

_MEASURED_SHARE = 0.9
"""The least share of its nominal memory that a machine reports."""

RUN_BYTES = 1_000_000_000
"""Rough estimate of the memory that a run takes in addition to the weights."""


def recommended(memory: int, *, on_cpu: bool) -> str | None:
    """The alias to offer on a machine with ``memory`` bytes; None if all are too large.

    On a CPU it is the smallest: MLX is too slow on a CPU for anything larger.
    """
    fitting = [alias for alias, size in TIERS.items() if memory >= _MEASURED_SHARE * size * 2**30]
    if not fitting:
        return None
    return fitting[0] if on_cpu else fitting[-1]


def largest_within(memory: int) -> str | None:
    """The alias of the largest weights that run in ``memory`` bytes."""
    sizes = {alias: next(iter(entries.values())).bytes for alias, entries in CATALOG.items()}
    fitting = [alias for alias, size in sizes.items() if size + RUN_BYTES <= memory]
    return max(fitting, key=lambda alias: sizes[alias], default=None)


def entry_of(name: str) -> CatalogEntry | None:
    """The entry of an alias such as "e2b" or "e2b:8bit"; None for any other name."""
    alias, _, quant = name.lower().partition(":")
    entries = CATALOG.get(alias)
    if entries is None:
        return None
    return entries.get(quant) if quant else next(iter(entries.values()))


def alias_of(repo: str) -> str | None:
    """The shortest alias of ``repo``, whose case does not matter."""
    found = published_models().items()
    return next((alias for alias, entry in found if entry.repo.lower() == repo.lower()), None)


def published_models() -> dict[str, CatalogEntry]:
    """Shortest alias to repository and size, for every published model that has an alias."""
    return {
        f"{alias}:{quant}" if i else alias: entry
        for alias, entries in CATALOG.items()
        for i, (quant, entry) in enumerate(entries.items())
    }
