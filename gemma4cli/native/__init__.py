"""The native part: kernels for Linux CPUs, built where there is a compiler."""
