"""The kernels alone, without MLX: a program in C++ compares each with double precision."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest

PROGRAM = Path(__file__).with_name("kernels")


@pytest.mark.slow
@pytest.mark.skipif(not (which("cmake") and which("c++")), reason="needs cmake and a C++ compiler")
def test_every_kernel_is_right_in_every_instruction_set(tmp_path: Path) -> None:
    """It fails as well for a kernel without a test, or one that reads past an array."""
    for command in (
        ["cmake", "-S", str(PROGRAM), "-B", str(tmp_path)],
        ["cmake", "--build", str(tmp_path), "--parallel", "2"],
        [str(tmp_path / "kernels_test")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
