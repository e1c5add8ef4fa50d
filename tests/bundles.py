"""A program that is cut into segments, its keys in memory, and bundles of its proofs, for tests.

``x`` is read by two segments, ``n`` is public and read by all; a skip connection crosses segment 1; ``big`` is a public
output that a later segment reads; the weights ``w`` stand in two segments.

``WALK`` is run in steps, as a language model is: token ``t`` at place ``p`` of a text whose prompt has ``n``; ``c``
holds the last three tokens, or what the first step was given.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import syurmy
from syurmy.chained import prove_steps
from syurmy.isa.arrays import Array
from syurmy.isa.program import Program
from syurmy.parts import Parts
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol.bundle import MAGIC, Bundle, BundleCertificate, BundleKey, Carried, Steps
from syurmy.prover.protocol.key import Mode
from syurmy.prover.verifier.bundle import BundleVerifier
from syurmy.segmented import Certifying, Proven, Segmented, certify, prove, run

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


WALK = """\
.program  walk
.input    t : i8[]  public in 0..3
.input    p : i8[]  public in 0..4
.input    c : i8[3] committed in 0..3
.input    u : i8[]  public in 0..3
.input    n : i8[]  public in 1..6
.param    w : i8[4, 3] committed = {{3, -1, 2}, {0, 2, 1}, {-5, 4, 1}, {1, 1, 1}}
.output   d committed
.output   q public
    slice   r, c, axis=0, len=2, start=1
    reshape now, t, (1)
    concat  seen, r, now, axis=0
    matmul  logits, w, seen
    argmax  best, logits, axis=0
    mov     d, seen
    addi    place, p, 1
    ge      after, place, n
    eq      same, best, u
    le      held, after, same
    mov     q, place
    assert  held
    halt
"""
CARRIED = (Carried("q", "p", 0), Carried("u", "t"), Carried("n", "n"), Carried("d", "c"))
WALKED = Steps(5, CARRIED)


def walk(prompt: Sequence[int], steps: int, cache: Sequence[int] = (0, 0, 0)) -> list[dict[str, Array]]:
    """The inputs of every step of a text that ``WALK`` writes behind a prompt."""
    weights = np.array([[3, -1, 2], [0, 2, 1], [-5, 4, 1], [1, 1, 1]])
    text, c, out = list(prompt), np.array(cache), []
    for k in range(steps):
        seen = np.array([*c[1:], text[k]])
        if len(text) == k + 1:
            text.append(int((weights @ seen).argmax()))
        out.append({"t": text[k], "p": k, "c": c, "u": text[k + 1], "n": len(prompt)})
        c = seen
    return [{name: np.array(x) for name, x in one.items()} for one in out]


@dataclass(frozen=True, eq=False)
class Whole:
    """A segmented program, its keys, and openings of what its owner committed to."""

    at: Segmented
    keys: tuple[ProvingKey, ...]
    key: BundleKey

    @property
    def verifier(self) -> BundleVerifier:
        return BundleVerifier(self.key)

    def certified(self, folder: Path) -> Certifying:
        """A certificate of the key, made in a folder."""
        with Parts(folder, self.key.digest(), {}, {}) as parts:
            made = certify(self.key, self.keys.__getitem__, parts)
            parts.finish()
        return made

    def proven(
        self,
        folder: Path,
        inputs: Mapping[str, Array] = INPUTS,
        batch: bool = False,
        certificate: BundleCertificate | None = None,
    ) -> Proven:
        """A bundle of a run, made in a folder; of committed inputs and outputs it makes commitments."""
        verifier = BundleVerifier(self.key, certificate=certificate)
        done = run(self.at, inputs, batch)
        openings = {}
        for name in [i.name for i in self.at.program.inputs if i.committed] + [
            o.name for o in self.at.program.outputs if o.committed
        ]:
            openings[name] = syurmy.commit(
                self.at.program, name, done.values[name], proofs=8, zk=self.key.hiding, batch=batch
            )
        with Parts(folder, self.key.digest(), done.inputs, openings) as parts:
            made = prove(self.at, self.key, self.keys.__getitem__, done, openings, parts, verifier=verifier)
            parts.finish()
        return made

    def walked(
        self, folder: Path, steps: Sequence[Mapping[str, Array]], certificate: BundleCertificate | None = None
    ) -> Proven:
        """A bundle of the runs of all steps."""
        verifier = BundleVerifier(self.key, certificate=certificate)
        runs = [run(self.at, inputs) for inputs in steps]
        named = {f"{k} {name}": x for k, one in enumerate(steps) for name, x in one.items()}
        with Parts(folder, self.key.digest(), named, {}) as parts:
            made = prove_steps(self.at, self.key, self.keys.__getitem__, runs, parts, verifier=verifier)
            parts.finish()
        return made


def whole_of(program: Program, cuts: Sequence[int], hiding: bool | None = None, steps: Steps | None = None) -> Whole:
    """Keys in memory of a program and its segments."""
    at = Segmented(Path(f"{program.name}.tasm"), program, tuple(cuts), steps=steps)
    asked = Mode.of(program, hiding)
    modes = [Mode.of(p, asked.hiding, 64) for p in at.segments]
    keys = tuple(setup(p, m) for p, m in zip(at.segments, modes, strict=True))
    return Whole(at, keys, at.key([k.verifying_key for k in keys]))


@cache
def example(hiding: bool = True) -> Whole:
    """``SOURCE``, cut in four."""
    return whole_of(syurmy.assemble(SOURCE), CUTS, hiding)


@cache
def walking(hiding: bool = True) -> Whole:
    """``WALK``, in up to five steps."""
    return whole_of(syurmy.assemble(WALK), (), hiding, WALKED)


def split(bundle: bytes) -> list[bytes]:
    """Its proofs."""
    return Bundle(bundle).proofs()


def rejoined(key: BundleKey, proofs: Sequence[bytes], magic: bytes = MAGIC) -> bytes:
    """A bundle, or a certificate, that names the key, of any number of parts."""
    head = magic + key.digest() + struct.pack("<I", len(proofs))
    return b"".join([head, *(struct.pack("<Q", len(p)) for p in proofs), *proofs])


def interrupted(patch: pytest.MonkeyPatch) -> None:
    """Interrupts whoever makes several proofs once the next one is kept."""
    keep = Parts.keep

    def stopping(self: Parts, k: int, proof: bytes) -> None:
        keep(self, k, proof)
        raise KeyboardInterrupt

    patch.setattr(Parts, "keep", stopping)
