"""Write the example inputs of the algorithm programs: ``NAME.inputs.npz`` beside each of them.

python -m programs.inputs
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from programs.train.common import PROGRAMS
from syurmy.isa.arrays import Integers

Arrays = dict[str, Integers]

# Greatest common divisor by subtraction, for interpreter.tasm: cells 1 and 2 in, cell 0 out.
GCD = [
    (3, 3, 1, 2),  # 0: m[3] = m[1] - m[2]
    (8, 3, 0, 4),  # 1: if it is not 0, go to 4
    (2, 0, 1, 9),  # 2: m[0] = m[1]; m[9] stays 0
    (0, 0, 0, 0),
    (5, 4, 1, 2),  # 4: m[4] = m[1] < m[2]
    (8, 4, 0, 8),  # 5
    (3, 1, 1, 2),  # 6: m[1] -= m[2]
    (8, 1, 0, 0),  # 7: m[1] is not 0
    (3, 2, 2, 1),  # 8: m[2] -= m[1]
    (8, 2, 0, 0),
]


def code(lines: list[tuple[int, int, int, int]]) -> npt.NDArray[np.int16]:
    """A program of interpreter.tasm, padded with halts."""
    out = np.zeros((32, 4), np.int16)
    out[: len(lines)] = lines
    return out


def graph(edges: list[tuple[int, int]], vertices: int = 32, room: int = 128) -> Arrays:
    """``first`` and ``ends`` of bfs.tasm."""
    ordered = sorted(edges)
    starts = np.searchsorted([u for u, _ in ordered], np.arange(vertices + 1)) if ordered else np.zeros(vertices + 1)
    ends = np.zeros(room, np.int16)
    ends[: len(ordered)] = [v for _, v in ordered]
    return {"first": starts.astype(np.int16), "ends": ends}


def examples() -> dict[str, Arrays]:
    rng = np.random.default_rng(1)
    memory = np.zeros(64, np.int16)
    memory[1:3] = 1071, 462
    spots = np.array([(-4000, -4000), (4000, -3000), (-2000, 5000), (5000, 5000)])
    keys = rng.integers(1, 2**31, 12)
    edges = rng.integers(0, 32, (70, 2))
    return {
        "binary_search": {"list": np.sort(rng.integers(-(10**6), 10**6, 256)), "wanted": np.array(1234)},
        "insertion_sort": {"list": rng.integers(-(10**6), 10**6, 32)},
        "hash_map": {
            "puts": rng.integers(0, 2, 32),
            "keys": keys[rng.integers(0, 12, 32)],
            "values": rng.integers(0, 10**6, 32),
        },
        "bfs": {**graph([(int(u), int(v)) for u, v in edges]), "source": np.array(int(edges[0, 0]))},
        "kmeans": {"points": np.rint(spots[np.arange(64) // 16] + rng.normal(0, 1500, (64, 2))).astype(np.int16)},
        "interpreter": {"code": code(GCD), "memory": memory},
    }


if __name__ == "__main__":
    for name, arrays in examples().items():
        narrow = {k: v if v.dtype == np.int16 else v.astype(np.int32) for k, v in arrays.items()}
        np.savez_compressed(PROGRAMS / f"{name}.inputs.npz", **narrow)
