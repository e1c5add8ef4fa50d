"""How long the phases of a proof take: seconds each, and seconds by what they work on (fields of ``costs.Cost``).

Written by ``python -m benchmarks.capacity --renew``: of the first proof of a process with zero knowledge, kernels
compiled, on the machine that docs/large_models.md names.
"""

from __future__ import annotations

DATE = "2026-11-28T1136"
FIXED = "fixed"  # the name of what no count is multiplied by
SECONDS = {
    "commit": {"fixed": 0.0334, "committed_entries": 7.21e-08, "encoded_entries": 0.0},
    "lookup": {"fixed": 0.0347, "leaves": 5.76e-08},
    "contraction": {"fixed": 0.0202, "product_entries": 1.3e-08},
    "opening": {"fixed": 0.0484, "places": 5.34e-08, "params_entries": 7.8e-09},
}
