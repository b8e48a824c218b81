"""Give buffers that MLX keeps for reuse back to the system. The only place that does so."""

from __future__ import annotations

import mlx.core as mx

from ..machine.backend import native_in_use
from ..native.extension import extension


def release_buffers() -> None:
    """Free the buffers of arrays that are gone.

    On a CPU MLX waits for the streams of all threads first, holding Python's lock, and a stream
    needs that lock to drop what the native part has from Python: each would wait for the other. So
    the native part calls it without the lock.
    """
    module = extension().module if native_in_use() else None
    (mx if module is None else module).clear_cache()
