"""Write ``lib/tables.npz``, the tables of ``lib/nn.tasm``.

    python -m programs.train.tables
"""

from __future__ import annotations

import math

import numpy as np

from programs.train.common import PROGRAMS

SCALE = 12


def tables() -> dict[str, np.ndarray]:
    """``exp`` on -65535..0, 32767 is 1; ``gelu`` on i16. Both read scale 12, gelu also writes it."""
    exp = np.rint(32767 * np.exp(np.arange(-65535, 1) / 2**SCALE))
    x = np.arange(-32768, 32768) / 2**SCALE
    phi = np.array([(1 + math.erf(v / math.sqrt(2))) / 2 for v in x])
    gelu = np.minimum(np.rint(x * phi * 2**SCALE), 32767)
    return {"exp": exp.astype(np.int16), "gelu": gelu.astype(np.int16)}


if __name__ == "__main__":
    np.savez_compressed(PROGRAMS / "lib" / "tables.npz", **tables())
