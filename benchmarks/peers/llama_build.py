"""Build llama.cpp from the source that llama-cpp-python's package of sources holds."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tarfile
import time
from pathlib import Path

from process import call

PROGRAMS = ("llama-bench", "llama-completion", "llama-mtmd-cli")
PACKAGE = "llama-cpp-python"
OFF = ("CURL", "OPENSSL", "BUILD_TESTS", "BUILD_EXAMPLES", "BUILD_SERVER")
SETS = {
    "avx": "AVX",
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "bmi2": "BMI2",
    "sse4_2": "SSE42",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512_vbmi": "AVX512_VBMI",
    "avx512vbmi": "AVX512_VBMI",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
}
"""llama.cpp's switch for each instruction set as Linux names it; AMX is left out on purpose."""

TILE_CONFIG = "_tile_loadconfig(&tc);"
USED = '__asm__ volatile("" : : "m"(tc)); '
"""GCC 12 takes the instruction to read 8 bytes of the 64, and drops the stores to the others. The
program then dies with SIGSEGV or SIGILL at its first tile."""


def source(folder: Path) -> Path:
    """Download and unpack the sources; the folder of llama.cpp."""
    archives = list(folder.glob("llama_cpp_python-*.tar.gz"))
    if not archives:
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", PACKAGE)
        call(*pip, "-d", folder, PACKAGE)
        archives = list(folder.glob("llama_cpp_python-*.tar.gz"))
    unpacked = folder / archives[0].name.removesuffix(".tar.gz")
    if not unpacked.is_dir():
        unpack(archives[0], folder)
    return unpacked / "vendor" / "llama.cpp"


def unpack(archive: Path, folder: Path) -> None:
    now = time.time()
    with tarfile.open(archive) as files:
        # Files from the future would be built again and again.
        files.extractall(
            folder, filter=lambda member, path: tarfile.data_filter(member, path).replace(mtime=now)
        )
    unpacked = folder / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
    # Names the repository of which this was a part, and makes ninja look for it.
    (unpacked / ".git").unlink(missing_ok=True)
    tiles = unpacked / "ggml" / "src" / "ggml-cpu" / "amx" / "mmq.cpp"
    tiles.write_text(tiles.read_text().replace(TILE_CONFIG, USED + TILE_CONFIG))


def build(folder: Path, sources: Path, tools: Path, into: Path, *, native: bool) -> None:
    """Build the programs for this processor, without AMX if not ``native``; minutes.

    Both kinds share a build folder: only the processor's part is compiled again.
    """
    build_folder = folder / "llama-build"
    switches = [f"-DLLAMA_{name}=OFF" for name in OFF]
    switches += ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF"]
    switches += [f"-DGGML_NATIVE={'ON' if native else 'OFF'}"]
    switches += [] if native else [f"-DGGML_{name}=ON" for name in sets_here()]
    path = os.pathsep.join((str(tools / "bin"), os.environ["PATH"]))
    call("cmake", "-S", sources, "-B", build_folder, "-G", "Ninja", *switches, PATH=path)
    at_once = ("--parallel", str(os.cpu_count() or 1))
    call("nice", "cmake", "--build", build_folder, *at_once, "--target", *PROGRAMS, PATH=path)
    into.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        shutil.copy2(build_folder / "bin" / name, into / name)


def sets_here() -> list[str]:
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    flags = Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split()
    return sorted({SETS[flag] for flag in flags if flag in SETS})
