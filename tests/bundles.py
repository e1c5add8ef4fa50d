"""A program that is cut into segments, its keys in memory, and bundles of its proofs, for tests.

``x`` is read by two segments, ``n`` is public and read by all; a skip connection crosses segment 1; ``big`` is a public
output that a later segment reads; the weights ``w`` stand in two segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

import syurmy
from syurmy.isa.arrays import Array
from syurmy.isa.program import Program
from syurmy.parts import Parts
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol.bundle import Bundle, BundleKey, wanted_more
from syurmy.prover.protocol.key import Mode
from syurmy.prover.verifier.bundle import BundleVerifier
from syurmy.segmented import Proven, Segmented, prove, run

SOURCE = """\
.program  whole
.input    x : i8[4]    private
.input    n : i8[]     public in 0..9
.input    z : i8[2]    committed
.param    w : i8[4, 4] committed = {{3, -1, 0, 2}, {0, 2, 1, 1}, {-5, 4, 1, 0}, {1, 1, 1, 1}}
.output   big public
.output   y   public
.output   c   committed
.output   d   private
    matmul  a, w, x
    mul     b, a, n
    reveal  n
    sum     s, b
    rescale big, s, 2, i16
    matmul  e, w, b
    add     f, e, x
    sub     h, f, a
    sum     d, z
    add     c, h, d
    lt      y, big, 40
    mul     t, c, y
    sum     q, t
    assert  y
    halt
"""
CUTS = (5, 7, 10)
INPUTS: dict[str, Array] = {"x": np.array([1, -2, 3, 4]), "n": np.array(2), "z": np.array([5, -6])}


@dataclass(frozen=True, eq=False)
class Whole:
    """A segmented program, its keys, and openings of what its owner committed to."""

    at: Segmented
    keys: tuple[ProvingKey, ...]
    key: BundleKey

    @property
    def verifier(self) -> BundleVerifier:
        return BundleVerifier(self.key)

    def proven(self, folder: Path, inputs: Mapping[str, Array] = INPUTS, batch: bool = False) -> Proven:
        """A bundle of a run, made in a folder; of committed inputs and outputs it makes commitments."""
        done = run(self.at, inputs, batch)
        openings = {}
        for name in [i.name for i in self.at.program.inputs if i.committed] + [
            o.name for o in self.at.program.outputs if o.committed
        ]:
            openings[name] = syurmy.commit(
                self.at.program, name, done.values[name], proofs=8, zk=self.key.hiding, batch=batch
            )
        with Parts(folder, self.key.digest(), done.inputs, openings) as parts:
            made = prove(self.at, self.key, self.keys.__getitem__, done, openings, parts)
            parts.finish()
        return made


def whole_of(program: Program, cuts: Sequence[int], hiding: bool | None = None) -> Whole:
    """Keys in memory of a program and its segments."""
    at = Segmented(Path(f"{program.name}.tasm"), program, tuple(cuts))
    more = wanted_more(len(cuts) + 1)
    asked = Mode.of(program, hiding)
    modes = [Mode.of(p, asked.hiding, 64) for p in at.segments]
    keys = tuple(setup(p, replace(m, more=more)) for p, m in zip(at.segments, modes, strict=True))
    return Whole(at, keys, at.key([k.verifying_key for k in keys]))


@cache
def example(hiding: bool = True) -> Whole:
    """``SOURCE``, cut in four."""
    return whole_of(syurmy.assemble(SOURCE), CUTS, hiding)


def split(bundle: bytes) -> list[bytes]:
    """Its proofs."""
    return Bundle(bundle).proofs()


def rejoined(key: BundleKey, proofs: Sequence[bytes]) -> bytes:
    """A bundle that names the key, of any number of proofs."""
    import struct

    from syurmy.prover.protocol.bundle import MAGIC

    head = MAGIC + key.digest() + struct.pack("<I", len(proofs))
    return b"".join([head, *(struct.pack("<Q", len(p)) for p in proofs), *proofs])
