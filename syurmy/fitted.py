"""How long the phases of a proof take: seconds each, and seconds by what they work on (fields of ``costs.Cost``).

Written by ``python -m benchmarks.capacity --renew``: of the first proof of a process with zero knowledge, kernels
compiled, on the machine that docs/large_models.md names.
"""

from __future__ import annotations

DATE = "2026-11-28T1000"
FIXED = "fixed"  # the name of what no count is multiplied by
SECONDS = {
    "commit": {"fixed": 0.0249, "committed_entries": 6.02e-08, "encoded_entries": 0.0},
    "lookup": {"fixed": 0.0266, "leaves": 6.21e-08},
    "contraction": {"fixed": 0.0116, "product_entries": 3.22e-08},
    "opening": {"fixed": 0.0469, "places": 4.11e-08, "params_entries": 3.02e-09},
}
