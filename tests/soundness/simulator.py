"""A simulator: proofs without a witness, which the verifier accepts when the random oracle is programmed.

It has the program, the path, the statement and, where there are committed params, a key that it made up itself. All
challenges are known to it beforehand. Columns of witness, params and hiding level are uniform tables, no codewords;
every padded message is uniform; the masked vector is uniform, and what depends on it follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from syurmy.isa.arrays import I64
from syurmy.isa.encoding import encode
from syurmy.isa.graph import Public
from syurmy.isa.path import Path
from syurmy.isa.program import Program
from syurmy.prover import opening as prover
from syurmy.prover.commitment import Commitment
from syurmy.prover.field import U64, Ext, P, ext_list, log2_ceil
from syurmy.prover.grinding import grinding_nonce
from syurmy.prover.protocol import mle
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.grinding import GRINDING_BITS
from syurmy.prover.protocol.hidden import Hidden, Ledger
from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode, VerifyingKey
from syurmy.prover.protocol.ladder import Claim, PowerWeights, SumOfWeights, batched, bind_opened
from syurmy.prover.protocol.mask import mask_weights, masked_weights
from syurmy.prover.protocol.merkle import MerkleTree
from syurmy.prover.protocol.path import encode_path
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.statement import MAGIC, NO_CERTIFICATE, absorb_statement, encode_statement
from syurmy.prover.protocol.tensors import TensorCommitment, named, tensor_layout
from syurmy.prover.protocol.transcript import Receiver, Sender, Transcript
from syurmy.prover.verifier import sumcheck
from syurmy.prover.verifier import verify as verifier
from syurmy.prover.verifier.front import Front
from syurmy.prover.verifier.opening import claims_on_rows
from syurmy.prover.verifier.verify import Verifier, rows_of


class Programmed(Transcript):
    """Challenges that do not depend on what is absorbed: the n-th of a label is a function of a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self._count: dict[str, int] = {}

    def peek(self, label: str, n: int) -> Ext:
        """Challenge number n of this label, drawn or not."""
        data = blake3(f"{self.seed} {label} {n}".encode()).digest(length=32)
        return Ext(int.from_bytes(data[:16], "little"), int.from_bytes(data[16:], "little"))

    def challenge(self, label: str) -> Ext:
        n = self._count[label] = self._count.get(label, -1) + 1
        self.history.append(self.peek(label, n))
        return self.history[-1]

    def positions(self, label: str, count: int, bound: int) -> list[int]:
        seed = int.from_bytes(blake3(f"{self.seed} {label}".encode()).digest(length=8), "little")
        return sorted(int(i) for i in np.random.default_rng(seed).choice(bound, count, replace=False))


class Uniform(Receiver):
    """Reads elements that it draws, and sends them."""

    def __init__(self, sender: Sender, rng: np.random.Generator) -> None:
        super().__init__(sender.transcript, b"", Ledger())
        self.sender, self.rng = sender, rng

    def open_ext(self, label: str, count: int) -> list[Ext]:
        out = ext_list(self.rng.integers(0, P, (2, count), dtype=np.uint64))
        self.sender.ext(label, out)
        return out

    def raw(self, label: str, size: int) -> bytes:
        assert label == "grinding nonce"
        seed = self.transcript.history[-1]
        nonce = grinding_nonce(seed.a.to_bytes(8, "little") + seed.b.to_bytes(8, "little"), GRINDING_BITS)
        self.sender.raw(label, nonce)
        return nonce


def table(rng: np.random.Generator, shape: Any) -> U64:
    """Uniform columns of a matrix."""
    return rng.integers(0, P, (shape.n, shape.height), dtype=np.uint64)


def fake(shape: Any, columns: U64) -> Commitment:
    """Committed columns that encode nothing."""
    return Commitment(shape, columns, MerkleTree.of_columns(columns))


class Simulator(Front):
    """Makes the key itself, or is given the columns of its params; of a run it knows ``values`` of public tensors."""

    magic, certificate, proofs = MAGIC, NO_CERTIFICATE, DEFAULT_PROOFS
    of_tensors = 2  # proofs that a commitment is made for

    def __init__(self, program: Program, rng: np.random.Generator, params: Commitment | None = None) -> None:
        self.program, self.rng = program, rng
        self.mode = Mode.of(program, True, self.proofs)
        self.plan = self.planned()
        mode, externals = Mode(True, self.of_tensors), self.plan.system.externals
        self.opening = Opening.of(self.plan, [tensor_layout(e.shape, mode) for e in externals])
        self.tensors = [fake(o.shape, table(rng, o.shape)) for o in self.opening.of_tensors]
        self.commitments = {
            e.name: TensorCommitment(e.dtype, e.shape, mode, t.root)
            for e, t in zip(externals, self.tensors, strict=True)
        }
        if params is None and self.plan.params is not None:
            params = fake(self.plan.params.shape, table(rng, self.plan.params.shape))
        self.params = params
        self.key = VerifyingKey(encode(program), None if params is None else params.root, mode=self.mode)

    def planned(self) -> Plan:
        return Plan.of(self.program, Path(), mode=self.mode)

    def public_value(self, node: Public) -> I64:
        return self.values[node] if node.values is None else node.values

    def proof(self, values: dict[Public, I64], seed: int) -> bytes:
        """A proof of this statement, for the challenges that ``Programmed(seed)`` gives."""
        self.values = values
        rng, ways = self.rng, self.opening
        transcript = Programmed(seed)
        sender = Sender(transcript)
        Front.__init__(self, Uniform(sender, rng))
        witness = fake(ways.matrices[0].shape, table(rng, ways.matrices[0].shape))
        sender.raw("witness root", witness.root)
        sender.raw("key digest", self.key.digest())
        sender.raw("certificate", self.certificate)
        path = encode_path(Path())
        sender.raw("path length", len(path).to_bytes(4, "little"))
        sender.raw("path", path)
        if self.commitments:
            sender.raw("commitments", named(self.plan.system.externals, self.commitments))
        sender.raw("statement", encode_statement(self.plan, values))
        absorb_statement(transcript, self.plan, self.key, self.commitments)
        ends = self.claims(*self.contract(*self.lookups()))
        assert self.receiver.ledger is not None
        root = None if self.params is None else self.params.root
        checked, on_rows = rows_of(self.plan, ways, ends, witness.root, root, [t.root for t in self.tensors])
        claims = claims_on_rows(ways, on_rows, self.receiver.ledger.relations)
        matrices = [prover.Committed(ways.matrices[0], witness)]
        if ends.claims:
            assert self.params is not None
            matrices.append(prover.Committed(ways.matrices[1], self.params))
        of_tensors = zip(ways.of_tensors, self.tensors, strict=True)
        matrices += [prover.Committed(opened, tensor) for opened, tensor in of_tensors]
        self.level(sender, transcript, matrices, checked, claims)
        return self.magic + sender.bytes()

    def level(self, sender: Sender, transcript: Programmed, matrices: Any, checked: Any, claims: Sequence[Any]) -> None:
        """The hiding level: the masked vector first, the masks' entries from it, then everything else."""
        ways, rng = self.opening, self.rng
        assert ways.hiding is not None
        (level, opened), (row, pads) = ways.levels[0], ways.levels[0][1].places
        shape = level.shape
        r = [transcript.peek(f"{opened.label} challenge", n) for n in range(level.log_rows)]
        tau = transcript.peek("mask challenge", 0)
        positions = transcript.positions(f"{opened.label} positions", opened.queries, shape.n)
        z = np.zeros((2, 1 << log2_ceil(ways.hiding.masked)), np.uint64)
        z[:, : ways.hiding.masked] = rng.integers(0, P, (2, ways.hiding.masked), dtype=np.uint64)
        columns = table(rng, shape)
        first, more = mask_weights(level, mle.eq_vector(r, shape.rows), tau)
        for index, word, weights in ((1, row, first), (2, pads, more[0])):
            wanted = PowerWeights.of(word, shape.log_n, positions).values(z)
            for plane in range(2):
                columns[positions, plane * shape.every + shape.rows + index] = 0
            rest = mle.scale(bind_opened(columns[positions], shape, weights), Ext(-1))
            found = mle.add(wanted, rest)
            for plane in range(2):
                columns[positions, plane * shape.every + shape.rows + index] = found[plane]
        hidden = fake(shape, columns)
        sender.raw(f"{opened.label} root", hidden.root)
        for m, c, weights in zip(matrices, checked, prover_columns(sender, matrices, ways), strict=True):
            for weight, of_rows in zip(weights[1], c.every, strict=True):
                values = bind_opened(m.commitment.codeword[weights[0]], m.opened.shape, of_rows)
                claims = [*claims, Claim(weight, values)]
        combined, factors = batched([c.weight for c in claims], transcript.challenge(f"{opened.label} beta"))
        target = mle.dot(factors, np.concatenate([c.values for c in claims], axis=1))
        self.receiver.ledger = Ledger()
        point, value = sumcheck.verify(self.receiver, opened.label, target, level.log_rows, 2)
        assert isinstance(value, Hidden)
        omega = np.zeros_like(z)
        prover.add_dense(omega, masked_weights(opened, combined.folded(level.log_size, point), value))
        sender.ext("mask sum", [mle.dot(omega, z) - tau * value.known])
        assert transcript.challenge("mask challenge") == tau
        rest_of = [prover.Committed(opened, hidden)]
        prover.prove_levels(sender, ways, ways.levels[1:], rest_of, omega, z, [SumOfWeights(())])


def prover_columns(sender: Sender, matrices: Any, ways: Opening) -> list[tuple[list[int], list[Any]]]:
    """Sends the columns; per matrix the positions and the weights of its words."""
    weights = iter(prover.open_columns(sender, matrices, ways.grinding(matrices[0].opened)))
    out = []
    for m in matrices:
        at = sender.transcript.positions(f"{m.opened.label} positions", m.opened.queries, m.opened.shape.n)
        out.append((at, [next(weights) for _ in m.opened.places]))
    return out


def verified(key: VerifyingKey, proof: bytes, seed: int) -> verifier.Statement:
    """The verifier's statement, with the challenges that ``Programmed(seed)`` gives."""
    run = programmed(verifier._Run(Verifier(key), proof), seed)
    return run.run()


def programmed(reading: Any, seed: int) -> Any:
    """A reading of a proof or certificate with these challenges."""
    reading.transcript = reading.receiver.transcript = Programmed(seed)
    return reading
