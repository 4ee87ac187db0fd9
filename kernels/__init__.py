"""Triton kernels, one file per op. Importing this package needs neither a GPU nor Triton."""
