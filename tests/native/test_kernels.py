"""The kernels alone, without MLX: a program in C++ compares each with double precision."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from shutil import which

import pytest

PROGRAM = Path(__file__).with_name("kernels")
OF_ONE_SET = re.compile(r"g4::(plain|avx2|avx512|vnni|amx|neon)::")


def shared_functions(library: Path) -> list[str]:
    """Those that the linker takes from any one of the files that have them."""
    listed = subprocess.run(
        ["nm", "--demangle", "--defined-only", str(library)],
        capture_output=True,
        text=True,
        check=True,
    )
    weak = re.findall(r"^\w+ [WVu] (.+)$", listed.stdout, re.MULTILINE)
    assert weak
    # A function that runs before main would run on all processors.
    assert "_GLOBAL__sub_I" not in listed.stdout
    return [name for name in weak if not OF_ONE_SET.search(name)]


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(which, ("cmake", "c++", "nm"))), reason="needs cmake and a C++ compiler"
)
def test_every_kernel_is_right_in_every_instruction_set(tmp_path: Path) -> None:
    """It fails as well for a kernel without a test, or one that reads past an array.

    A function that the linker could share would have been compiled for one set and run on all
    processors.
    """
    for command in (
        ["cmake", "-S", str(PROGRAM), "-B", str(tmp_path)],
        ["cmake", "--build", str(tmp_path), "--parallel", "2"],
        [str(tmp_path / "kernels_test")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        # Not by -Werror: with the flags of the installed module a compiler's cache has the kernels.
        assert "warning:" not in said, said
    assert shared_functions(tmp_path / "libg4_kernels.a") == []
