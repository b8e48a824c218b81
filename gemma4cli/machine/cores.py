"""The cores of this machine, if several of its processes compute together."""

from __future__ import annotations

import ctypes

from ..models.cpu_layers import use_share_of_cores
from ..native.extension import extension
from .device import fast_blas


def share_cores(processes: int) -> None:
    """Compute on this process's part of the cores; ``processes`` share them, with this one.

    Threads that wait for a core make all processes wait for their sums. Call it before anything is
    computed.
    """
    use_share_of_cores(processes)
    if (native := extension().module) is not None:
        native.share_cores(processes)
    name = fast_blas()
    library = None if name is None else ctypes.CDLL(name)
    if library is not None and hasattr(library, "openblas_set_num_threads"):
        threads = library.openblas_get_num_threads()
        library.openblas_set_num_threads(max(1, threads // processes))
