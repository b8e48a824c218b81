"""What the machine can do at most: how fast all cores read memory and multiply float32 matrices.

python benchmarks/peers/machine.py
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SIDE = 2048
ARRAY = 1 << 30
"""Bytes that each core reads over and over: much more than its share of any cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Read rate in GB/s and product rate in GFLOP/s of all cores together."""

    read: float
    product: float


def rates() -> Machine:
    """Measure both, each in processes of its own."""
    here = str(Path(__file__))
    single = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    start = str(time.time() + 3)  # when every reader has filled its array
    readers = [
        subprocess.Popen([sys.executable, here, "read", start], stdout=subprocess.PIPE, env=single)
        for _ in range(os.cpu_count() or 1)
    ]
    read = sum(float(reader.communicate()[0]) for reader in readers)
    product = subprocess.run([sys.executable, here, "multiply"], stdout=subprocess.PIPE, check=True)
    return Machine(read=read, product=float(product.stdout))


def read(start: float) -> float:
    """GB/s of one core for two seconds from ``start`` on; the dot product reads the array once."""
    import numpy as np

    values = np.ones(ARRAY // 4, np.float32)
    time.sleep(max(0.0, start - time.time()))
    started, passes = time.perf_counter(), 0
    while time.perf_counter() - started < 2:
        for part in np.split(values, 16):
            np.dot(part, part)
        passes += 1
    return passes * ARRAY / (time.perf_counter() - started) / 1e9


def multiply() -> float:
    """GFLOP/s of NumPy's product of two square float32 matrices; the best of ten."""
    import numpy as np

    left, right = np.random.default_rng(0).standard_normal((2, SIDE, SIDE), np.float32)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * SIDE**3 / best / 1e9


def description() -> str:
    """The processor, its cores and the memory, as far as the system says."""
    model, memory = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = f", {pages / 2**30:.0f} GiB"
    return f"{model}, {os.cpu_count()} cores{memory}, {platform.platform(terse=True)}"


def main() -> None:
    if sys.argv[1:2] == ["read"]:
        print(read(float(sys.argv[2])))
    elif sys.argv[1:2] == ["multiply"]:
        print(multiply())
    else:
        found = rates()
        print(description())
        print(json.dumps({"read, GB/s": found.read, "product, GFLOP/s": found.product}))


if __name__ == "__main__":
    main()
