"""Give buffers that MLX keeps for reuse back to the system. The only place that does so."""

from __future__ import annotations

import mlx.core as mx

from ..machine.backend import on_cpu


def release_buffers() -> None:
    """Free the buffers of arrays that are gone.

    On a CPU MLX waits for its stream first, holding Python's lock, and a stream needs that lock to
    drop what the native part has from Python: each would wait for the other. ``mx.eval`` waits
    without the lock, and a stream works in order.
    """
    if on_cpu():
        mx.eval(mx.array(0) + 1)
    mx.clear_cache()
