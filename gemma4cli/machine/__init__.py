"""The MLX backend, this machine's devices and memory, and the memory that a run needs."""
