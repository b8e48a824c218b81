"""How fast the native part's products read their weights, against a plain read of the same memory.

A product with one row of input reads each weight once, so the memory's speed is its limit. Products
and plain reads alternate, so that other work on the machine slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from types import ModuleType

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from gemma4cli.native.extension import extension

Bytes = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A way to store a matrix; mode "" is not quantized."""

    name: str
    mode: str = "affine"
    bits: int = 4
    group: int = 64
    dtype: mx.Dtype = mx.bfloat16


FORMATS = [
    *(Format(name=f"{bits} bits", bits=bits) for bits in (2, 3, 4, 5, 6, 8)),
    Format(name="mxfp4", mode="mxfp4", group=32),
    Format(name="nvfp4", mode="nvfp4", group=16),
    Format(name="mxfp8", mode="mxfp8", bits=8, group=32),
    Format(name="bfloat16", mode=""),
    Format(name="float16", mode="", dtype=mx.float16),
    Format(name="float32", mode="", dtype=mx.float32),
]

# Rows and columns, of the E2B: per-layer gate, key, query, down, and the vocabulary.
SHAPES = [(256, 1536), (512, 1536), (2048, 1536), (1536, 12288), (262144, 1536)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Speeds in GB/s, the best of the repetitions."""

    format: str
    rows: int
    columns: int
    threads: int
    product: float
    read: float

    @property
    def share(self) -> float:
        return self.product / self.read


def stored(form: Format, rows: int, columns: int) -> list[mx.array]:
    rng = np.random.default_rng(0)
    if not form.mode:
        return [mx.random.normal((rows, columns)).astype(form.dtype)]
    words = rng.integers(0, 2**32, (rows, columns * form.bits // 32), dtype=np.uint32)
    scales = mx.full((rows, columns // form.group), 0.01, form.dtype)
    if form.mode != "affine":
        return [mx.array(words), mx.full(scales.shape, 120, mx.uint8)]
    return [mx.array(words), scales, scales * -8]


def read_on_threads(memory: Bytes, pool: ThreadPoolExecutor, threads: int) -> None:
    parts = np.array_split(memory, threads)
    list(pool.map(np.maximum.reduce, parts))


def fastest(work: Callable[[], object], size: int, seconds: float) -> float:
    start = time.perf_counter()
    work()
    taken = max(time.perf_counter() - start, 1e-7)
    best = taken
    for _ in range(min(100, int(seconds / taken))):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return size / best / 1e9


def measure(native: ModuleType, form: Format, rows: int, columns: int, seconds: float) -> Result:
    arrays = stored(form, rows, columns)
    x = mx.random.normal((1, columns))
    mx.eval(x, *arrays)
    size = sum(array.nbytes for array in arrays)
    scales, biases = [*arrays[1:], None, None][:2]
    # Small matrices several times, so that the calls of MLX around them count little.
    repetitions = max(1, 20_000_000 // size)

    def multiply() -> None:
        mx.eval(
            *(
                native.linear(x, arrays[0], scales, biases, form.mode, form.bits, form.group)
                for _ in range(repetitions)
            )
        )

    memory = np.array(arrays[0].view(mx.int32), copy=False)
    threads = native.threads()
    product = read = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(3):
            product = max(product, fastest(multiply, size * repetitions, seconds / 6))
            read = max(
                read,
                fastest(
                    lambda: read_on_threads(memory.reshape(-1), pool, threads),
                    memory.nbytes,
                    seconds / 6,
                ),
            )
    return Result(
        format=form.name, rows=rows, columns=columns, threads=threads, product=product, read=read
    )


def run(native: ModuleType, formats: list[Format], seconds: float) -> list[Result]:
    results = []
    for form in formats:
        for rows, columns in SHAPES:
            # As many bytes for each format.
            rows = rows if form.mode or rows < 100_000 else rows // 4
            result = measure(native, form, rows, columns, seconds)
            print(
                f"| {form.name} | {rows} x {columns} | {result.threads} | {result.product:.1f} "
                f"| {result.read:.1f} | {result.share:.0%} |",
                flush=True,
            )
            results.append(result)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", action="store_true", help="one thread, on the first core")
    parser.add_argument("--set", help="instruction set, such as avx2")
    parser.add_argument("--format", action="append", help="such as '4 bits'; may be repeated")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each line")
    args = parser.parse_args()
    if args.one:
        # Before the threads start: there are as many as cores that may be used.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    part = extension()
    if part.module is None:
        raise SystemExit(f"the native part is missing: {part.missing}")
    if args.set:
        part.module.use_instruction_set(args.set)
    mx.set_default_device(mx.cpu)
    formats = [form for form in FORMATS if not args.format or form.name in args.format]
    print(f"instruction set {part.module.instruction_set()}\n")
    print("| format | matrix | threads | product, GB/s | plain read, GB/s | share |\n|-|-|-|-|-|-|")
    results = run(part.module, formats, args.seconds)
    print(json.dumps([asdict(result) | {"share": result.share} for result in results]))


if __name__ == "__main__":
    main()
