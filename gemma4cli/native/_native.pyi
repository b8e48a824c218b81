from collections.abc import Sequence
from typing import Protocol

import mlx.core as mx

# Weight, scales, biases, mode, bits, group size.
Matrix = tuple[mx.array, mx.array | None, mx.array | None, str, int, int]

# What an adapter does to products x times a transposed matrix [N, K]: (product + b (scale * a x)) *
# share + bias; a [r, K] and b [N, r] or neither, share and bias [N] or none.
Adapter = tuple[mx.array | None, mx.array | None, float, mx.array | None, mx.array | None]

# Several of them, and which one rows have: [B] numbers in int32, each for as many rows one after
# the other. Rows with any other number have none.
Adapters = tuple[Sequence[Adapter | None], mx.array]

# Packed numbers, scales, biases.
Packed = tuple[mx.array, mx.array, mx.array]

class KeyRule(Protocol):
    """Which keys a query sees; see ``Visibility`` in models/masks.py."""

    @property
    def causal(self) -> bool: ...
    @property
    def window(self) -> int | None: ...
    @property
    def blocks_beyond_window(self) -> bool: ...
    @property
    def block_numbers(self) -> mx.array | None: ...
    @property
    def empty_keys(self) -> mx.array | None: ...

mlx_version: str
interface: int

def instruction_set() -> str: ...
def use_instruction_set(name: str) -> None: ...
def has_amx() -> bool: ...
def use_amx(use: bool) -> None: ...
def set_bf16_products(rounded: bool) -> None: ...
def share_cores(processes: int) -> None: ...
def threads() -> int: ...

class MappedFile:
    def __init__(self, path: bytes) -> None: ...
    def tensor(self, offset: int, shape: list[int], dtype: mx.Dtype) -> mx.array: ...

def in_large_pages(tensor: mx.array) -> mx.array: ...

class SharedMemory:
    def __init__(self, path: bytes, rank: int, size: int) -> None: ...
    @staticmethod
    def file_size(processes: int) -> int: ...
    def sum(self, x: mx.array) -> mx.array: ...
    def gather(self, x: mx.array) -> mx.array: ...

class Recording:
    def __init__(self, inputs: Sequence[mx.array], outputs: Sequence[mx.array]) -> None: ...
    def __call__(self, inputs: Sequence[mx.array]) -> list[mx.array]: ...

def unstack(x: mx.array) -> list[mx.array]: ...
def linear(
    x: mx.array,
    weight: mx.array,
    scales: mx.array | None = None,
    biases: mx.array | None = None,
    mode: str = "",
    bits: int = 0,
    group_size: int = 0,
    clip: mx.array | None = None,
    adapter: Adapter | Adapters | None = None,
) -> mx.array: ...
def linear_by_columns(
    x: mx.array,
    weight: mx.array,
    scales: mx.array | None = None,
    biases: mx.array | None = None,
    mode: str = "",
    bits: int = 0,
    group_size: int = 0,
) -> mx.array: ...
def embedding(
    ids: mx.array,
    weight: mx.array,
    scales: mx.array | None = None,
    biases: mx.array | None = None,
    mode: str = "",
    bits: int = 0,
    group_size: int = 0,
    scale: float = 1.0,
) -> mx.array: ...
def linears(
    x: mx.array, matrices: Sequence[Matrix], adapters: Sequence[Adapter | Adapters | None] = ()
) -> list[mx.array]: ...
def gated(
    x: mx.array,
    gate: Matrix,
    up: Matrix,
    activation: str = "gelu",
    gate_adapter: Adapter | Adapters | None = None,
    up_adapter: Adapter | Adapters | None = None,
) -> mx.array: ...
def expert_linear(
    x: mx.array,
    indices: mx.array,
    weight: mx.array,
    scales: mx.array | None = None,
    biases: mx.array | None = None,
    mode: str = "",
    bits: int = 0,
    group_size: int = 0,
) -> mx.array: ...
def top_k(x: mx.array, k: int) -> tuple[mx.array, mx.array]: ...
def rms_norm(
    x: mx.array,
    weight: mx.array | None,
    eps: float,
    residual: mx.array | None = None,
    scale: float = 1.0,
    bound: float = ...,
) -> mx.array: ...
def layer_norm(
    x: mx.array,
    weight: mx.array,
    eps: float,
    bias: mx.array | None = None,
    least: float = ...,
) -> mx.array: ...
def rotate(
    x: mx.array,
    weight: mx.array | None = None,
    eps: float | None = None,
    cos_sin: mx.array | None = None,
) -> mx.array: ...
def rope_table(offsets: mx.array, length: int, frequencies: mx.array) -> mx.array: ...
def attention(
    q: mx.array,
    k: mx.array | Packed,
    v: mx.array | Packed,
    scale: float,
    rule: KeyRule | None = None,
    mask: mx.array | None = None,
) -> mx.array: ...
def local_attention(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    relative: mx.array,
    q_scale: mx.array,
    *,
    k_scale: float,
    cap: float,
    before: int,
    after: int,
    nearest: int,
    lengths: mx.array | None = None,
) -> mx.array: ...
def convolve(x: mx.array, weight: mx.array, ends: mx.array | None = None) -> mx.array: ...
def convolve_past(x: mx.array, weight: mx.array) -> mx.array: ...
def activate(curve: str, x: mx.array, factor: mx.array | None = None) -> mx.array: ...
def glu(x: mx.array) -> mx.array: ...
def softcap(x: mx.array, cap: float) -> mx.array: ...
def clear_cache() -> None: ...
