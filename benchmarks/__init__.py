"""Reproducible measurements of kernels, programs, cold start and peers: ``python -m benchmarks --help``."""
