"""What models compute on: the backend, this machine's devices and memory, and what a run needs."""
