"""How long the phases of a proof take: seconds each, and seconds by what they work on (fields of ``costs.Cost``).

Written by ``python -m benchmarks.capacity --renew``: of the first proof of a process with zero knowledge, kernels
compiled, on the machine that docs/large_models.md names.
"""

from __future__ import annotations

DATE = "2026-11-28T1439"
FIXED = "fixed"  # the name of what no count is multiplied by
SECONDS = {
    "commit": {"fixed": 0.0306, "committed_entries": 2.22e-08, "encoded_entries": 1.38e-08},
    "lookup": {"fixed": 0.0363, "leaves": 4.4e-08},
    "contraction": {"fixed": 0.0231, "product_entries": 1.23e-08},
    "opening": {"fixed": 0.0539, "places": 5.12e-08, "params_entries": 1.32e-08},
}
