"""Write ``lib/tables.npz``, the tables of ``lib/nn.tasm``.

python -m programs.train.tables
"""

from __future__ import annotations

import math

import numpy as np

from programs.train.common import PROGRAMS

EXP_SCALE, COARSE_EXP_SCALE, GELU_SCALE = 11, 9, 12


def tables() -> dict[str, np.ndarray]:
    """``exp`` reads scale 11 on -65535..0 and writes 32767 for 1, ``exp9`` the same at scale 9, for larger arguments;
    ``gelu`` reads and writes scale 12 on i16."""
    exp, exp9 = (np.rint(32767 * np.exp(np.arange(-65535, 1) / 2**scale)) for scale in (EXP_SCALE, COARSE_EXP_SCALE))
    x = np.arange(-32768, 32768) / 2**GELU_SCALE
    phi = np.array([(1 + math.erf(v / math.sqrt(2))) / 2 for v in x])
    gelu = np.minimum(np.rint(x * phi * 2**GELU_SCALE), 32767)
    return {"exp": exp.astype(np.int16), "exp9": exp9.astype(np.int16), "gelu": gelu.astype(np.int16)}


if __name__ == "__main__":
    np.savez_compressed(PROGRAMS / "lib" / "tables.npz", **tables())
