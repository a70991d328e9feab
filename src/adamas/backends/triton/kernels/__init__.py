"""Functions that kernels call, in Triton."""
