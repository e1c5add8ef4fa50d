"""Fuzz targets: what a stranger may hand over, mutated. ``python -m tests.fuzz TARGET SECONDS [--seed N]``."""
