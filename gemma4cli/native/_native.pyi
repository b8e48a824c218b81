import mlx.core as mx

mlx_version: str

def instruction_set() -> str: ...
def has_amx() -> bool: ...
def threads() -> int: ...
def mapped_array(file: str, offset: int, shape: list[int], dtype: mx.Dtype) -> mx.array: ...
def linear(
    x: mx.array,
    weight: mx.array,
    scales: mx.array | None = None,
    biases: mx.array | None = None,
    mode: str = "",
    bits: int = 0,
    group_size: int = 0,
) -> mx.array: ...
def rms_norm(
    x: mx.array,
    weight: mx.array | None,
    eps: float,
    residual: mx.array | None = None,
    scale: float = 1.0,
) -> mx.array: ...
