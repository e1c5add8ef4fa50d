"""Verifies bundles: every segment's proof, every link, and what they say together (protocol section 12)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.refusal import refusing
from syurmy.isa.source import Source
from syurmy.isa.summary import Summary
from syurmy.prover.protocol.bundle import Bundle, BundleKey
from syurmy.prover.protocol.proof import Proof
from syurmy.prover.protocol.tensors import TensorCommitment
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.verify import Statement, Verifier


@dataclass(frozen=True, repr=False)
class BundleStatement(Statement):
    """What an accepted bundle says of the whole; ``segments``: what its proofs say one by one; ``links``: the digest of
    the commitment to every tensor that is handed on and not shown; ``shared_params``: see ``BundleKey``. Instructions
    (of ``reveals`` and ``branches``) are counted through all segments, without the halts between them."""

    segments: tuple[Statement, ...] = ()
    links: tuple[tuple[str, bytes], ...] = ()
    shared_params: tuple[str, ...] = ()


class BundleVerifier(Summary):
    """The key of a whole. The plan of a segment is made when its proof is read, and let go of then: a stranger's key
    may have many. ``max_steps``, ``max_batch``: of each proof, as ``Verifier`` takes them. Raises ``SyurmyError`` if
    the key cannot be used, here or, where that is a segment's program, in ``verify``."""

    def __init__(self, key: BundleKey | Source, *, max_steps: int | None = None, max_batch: int | None = None) -> None:
        self.key = BundleKey.load(key)
        self.max_steps, self.max_batch = max_steps, max_batch

    def segment(self, k: int) -> Verifier:
        """That of one segment's proofs."""
        return Verifier(self.key.segments[k], max_steps=self.max_steps, max_batch=self.max_batch)

    def verify(self, bundle: Bundle | Source) -> BundleStatement:
        """Accepts, or raises ``Rejected``, which says of what segment or link; no other exception on any bytes. Raises
        ``InputError`` for a file that cannot be read, or is no bundle, and for a segment's key that cannot be used."""
        found = Bundle.given(bundle)
        with refusing(partial(Rejected, "format"), mistakes=True):
            proofs = found.proofs()
            if (named := found.key_digest) != (own := self.key.digest()):
                which = f"it names {named.hex()[:16]}, this is {own.hex()[:16]} of {self.key.name}"
                raise Rejected("statement", f"the bundle belongs to another key: {which}")
            if len(proofs) != len(self.key.segments):
                raise Rejected("segments", f"it holds {len(proofs)} proofs of {len(self.key.segments)} segments")
            return joined(self.key, [self.part(k, proof) for k, proof in enumerate(proofs)])

    def part(self, k: int, proof: bytes) -> Statement:
        """What the proof of one segment says. Raises ``Rejected``."""
        try:
            return self.segment(k).verify(proof)
        except Rejected as e:
            whose = self._whose(proof)
            reason = e.reason if whose in (None, k) else f"it is the proof of segment {whose}"
            raise Rejected(f"segment {k}: {e.step}", reason) from e

    def _whose(self, proof: bytes) -> int | None:
        """The segment whose key a proof names, if it is one of these."""
        named = Proof(proof).key_digest
        return next((k for k, key in enumerate(self.key.segments) if key.digest() == named), None)

    def summary(self) -> list[tuple[str, str]]:
        return self.key.summary()


def joined(key: BundleKey, parts: Sequence[Statement]) -> BundleStatement:
    """What the whole says, of accepted proofs of all of its segments in order. Raises ``Rejected`` for a link that does
    not hold: the last thing between the parts and the whole."""
    for k, part in enumerate(parts):
        if part.key_digest != key.segments[k].digest():
            raise Rejected(f"segment {k}", "its proof belongs to another key")
        if part.batch != parts[0].batch:
            raise Rejected(f"segment {k}", f"it is of {part.batch} inputs, segment 0 of {parts[0].batch}")
    links = []
    for link in key.links:
        first, *others = link.segments
        for k in others:
            if not _same(parts[first], parts[k], link.name, link.public, link.source is not None):
                what = "shows other values of it than" if link.public else "names another commitment to it than"
                raise Rejected(f"link '{link.name}'", f"segment {k} {what} segment {first}")
        if not link.public:
            links.append((link.name, parts[first].commitments[link.name].digest()))
    return _whole(key, parts, tuple(links))


def _same(a: Statement, b: Statement, name: str, public: bool, made: bool) -> bool:
    """Do two segments name the same tensor? ``made``: by the first of them."""
    if not public:
        return a.commitments[name].digest() == b.commitments[name].digest()
    x, y = (a.outputs if made else a.inputs)[name], b.inputs[name]
    return x.shape == y.shape and np.array_equal(x, y)


def _whole(key: BundleKey, parts: Sequence[Statement], links: tuple[tuple[str, bytes], ...]) -> BundleStatement:
    inputs: dict[str, I64] = {}
    outputs: dict[str, I64] = {}
    commitments: dict[str, TensorCommitment] = {}
    declared = {i.name: part for p, part in zip(key.programs, parts, strict=True) for i in p.inputs}
    made = {o.name: part for p, part in zip(key.programs, parts, strict=True) for o in p.outputs}
    for port in key.inputs:  # of several segments that declare one, all show the same
        if port.public:
            inputs[port.name] = declared[port.name].inputs[port.name]
        elif port.committed:
            commitments[port.name] = declared[port.name].commitments[port.name]
    for port in key.outputs:
        if port.public:
            outputs[port.name] = made[port.name].outputs[port.name]
        elif port.committed:
            commitments[port.name] = made[port.name].commitments[port.name]
    reveals: list[tuple[int, I64]] = []
    branches: dict[int, Sequence[int]] = {}
    first = 0
    for program, part in zip(key.programs, parts, strict=True):
        reveals += [(first + i, v) for i, v in part.reveals]
        branches |= {first + i: bits for i, bits in part.branches.items()}
        first += len(program.code) - 1
    rows = [(f"segment {k}", part.soundness_bits) for k, part in enumerate(parts)]
    total = -math.log2(math.fsum(2.0**-b for _, b in rows))
    return BundleStatement(
        key.name, key.digest(), inputs, outputs, reveals, total, [*rows, ("total", total)], parts[0].batch, branches,
        key.description, key.hiding, commitments, None, tuple(parts), links, key.shared_params,
    )  # fmt: skip
