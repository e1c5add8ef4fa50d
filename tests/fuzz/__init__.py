"""Fuzz targets: what a stranger may hand over. ``python -m tests.fuzz TARGET SECONDS``.

``python -m tests.fuzz.growth`` measures families of worst cases.
"""
