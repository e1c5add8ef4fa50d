"""Choose the prototypes of ``bitwise.tasm`` and write its data, and the first board of ``life.tasm``.

    python -m programs.train.bitwise        (needs scikit-learn, the optional extra `train`)

Pixels above 7 become bits, a row of 8 pixels one byte. Prototypes of a digit are the k-medians of its training images
in the Hamming distance.
"""

from __future__ import annotations

import numpy as np

from programs.train.common import PROGRAMS, arguments, save
from programs.train.digits_mlp import split
from syurmy.isa.arrays import I64

PER_DIGIT = 16


def bytes_of(images: I64) -> np.ndarray:
    """(n, 64) pixels to (n, 8) signed bytes, the first pixel of a row in the top bit."""
    return np.packbits((images > 7).reshape(-1, 8, 8), axis=2)[:, :, 0].view(np.int8)


def medians(bits: np.ndarray, rounds: int, rng: np.random.Generator) -> np.ndarray:
    """k-medians of 0/1 rows: assign by Hamming distance, then the majority of every bit."""
    centres = bits[rng.choice(len(bits), PER_DIGIT, replace=False)]
    for _ in range(rounds):
        nearest = (bits[:, None] != centres[None]).sum(2).argmin(1)
        for k in range(PER_DIGIT):
            if (nearest == k).any():
                centres[k] = bits[nearest == k].mean(0) > 0.5
    return centres


def integer_labels(protos: np.ndarray, images: np.ndarray) -> I64:
    """What ``bitwise.tasm`` computes for rows of 8 bytes."""
    bits = np.unpackbits((images[:, None] ^ protos[None]).view(np.uint8), axis=2)
    return bits.sum(2).argmin(1) // PER_DIGIT


def main() -> None:
    options = arguments("Choose bitwise.tasm's prototypes", epochs=20)
    rng = np.random.default_rng(options.seed)
    x, xt, y, yt = split()
    chosen = [medians((x[y == digit] > 7).astype(np.uint8), options.epochs, rng) for digit in range(10)]
    protos = np.packbits(np.concatenate(chosen).reshape(-1, 8, 8), axis=2)[:, :, 0].view(np.int8)
    print(f"accuracy {np.mean(integer_labels(protos, bytes_of(xt)) == yt):.4f}")
    save("bitwise", {"protos": protos})
    np.savez_compressed(PROGRAMS / "bitwise.inputs.npz", image=bytes_of(xt[:1]))
    board = np.zeros((32, 32), np.int8)
    for i, row in enumerate((".##", "##.", ".#.")):  # the R-pentomino, which grows for 1103 generations
        board[15 + i, 14:17] = [c == "#" for c in row]
    np.savez_compressed(PROGRAMS / "life.inputs.npz", start=board)


if __name__ == "__main__":
    main()
