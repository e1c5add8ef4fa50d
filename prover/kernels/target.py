"""Which instructions the kernels are compiled for: vectors of 512 or 256 bits, or none.

    512     AVX-512 as of Ice Lake and Zen 4 (avx512vbmi2). Older processors with AVX-512 lower their clock for 512-bit
            vectors, so that LLVM prefers 256 bits for them; for the newer ones, too, unless it is told otherwise
    256     AVX2
    scalar  everything else: 64 x 64 -> 128-bit products, one element at a time

The processor's features decide, not a measurement: of two ways that both vectorise none was found slower than the
scalar one, and compiling all three to compare them would cost every fresh machine more than a bad choice.
``SYURMY_VECTORS`` names another choice. It is part of the key of the kernels' cache.
"""

from __future__ import annotations

import os

import llvmlite.binding as llvm
import numba

CHOICES = ("scalar", "256", "512")


def _chosen(features: str) -> str:
    wanted = os.environ.get("SYURMY_VECTORS", "")
    if wanted in CHOICES:
        return wanted
    if wanted:
        raise ValueError(f"SYURMY_VECTORS is one of {', '.join(CHOICES)}, not {wanted!r}")
    has = set(features.split(","))
    return "512" if "+avx512vbmi2" in has else "256" if "+avx2" in has else "scalar"


def _features(host: str, choice: str) -> str:
    """LLVM's feature string for a choice: 512 and 256 differ in the width it prefers."""
    kept = [f for f in host.split(",") if not f.endswith("prefer-256-bit")]
    if "+avx512f" in kept:
        kept.append("-prefer-256-bit" if choice == "512" else "+prefer-256-bit")
    return ",".join(kept)


_host = numba.config.CPU_FEATURES or llvm.get_host_cpu_features().flatten()  # type: ignore[attr-defined]
VECTORS = _chosen(_host)
NAME = numba.config.CPU_NAME or llvm.get_host_cpu_name()  # type: ignore[attr-defined]
FEATURES = _features(_host, VECTORS)


def configure() -> None:
    """Compiles for this target from now on: before the first kernel."""
    setattr(numba.config, "CPU_NAME", NAME)  # noqa: B010  (numba's config is untyped)
    setattr(numba.config, "CPU_FEATURES", FEATURES)  # noqa: B010
