"""Kernels of operations in `ops/more/`."""
