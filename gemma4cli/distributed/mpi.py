"""What MPI needs besides what MLX does for it."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import threading

_TO_FINALIZE = 3.0
"""Seconds for MPI to end, which waits for all processes; one that failed never comes."""


def name_library() -> None:
    """Let MLX find Open MPI where only programs are installed, without a compiler's libmpi.so."""
    if (found := ctypes.util.find_library("mpi")) is not None:
        os.environ.setdefault("MLX_MPI_LIBNAME", found)


def finalize() -> None:
    """Tell MPI that this process is done: mpirun takes any other end for a failure."""
    ends = threading.Thread(target=ctypes.CDLL(None).MPI_Finalize, daemon=True)
    ends.start()
    ends.join(_TO_FINALIZE)
