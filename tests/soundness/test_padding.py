"""Padded entries of the witness matrix are never read.

Entries inside stored rows that belong to no tensor, or lie beyond the true lengths of one, are committed like all
others, so a prover can fill them with anything. No weight is supported there: such a proof is accepted, with the same
statement, and no entry of a tensor can move into them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from syurmy.prover.commitment import Commitment, commit, commit_params, stored_matrix
from syurmy.prover.field import U64, P
from syurmy.prover.kernels.matrix import IntegerMatrix
from syurmy.prover.keys import ProvingKey, params_matrix, setup
from syurmy.prover.protocol.path import encode_path
from syurmy.prover.protocol.statement import absorb_statement, encode_statement
from syurmy.prover.prove import Prover
from tests.soundness import common as c

PADDED = [c.RESCALE, c.DENSE, c.ARGMAX, c.SELECT, c.LUT, c.ADD_PRIVATE, c.LOOP]


def true_entries(prover: Prover) -> np.ndarray:
    """Which entries of the flat matrix are an entry of a tensor."""
    layout = prover.plan.witness
    mask = np.zeros(1 << layout.log_entries, np.bool_)
    for place in layout.places.values():
        block = mask[place.offset : place.offset + place.size].reshape(place.dims)
        assert not block.any()  # tensors do not overlap
        block[place.true_part] = True
    return mask


def stored_entries(prover: Prover) -> np.ndarray:
    layout = prover.plan.witness
    mask = np.zeros((1 << layout.log_rows, layout.shape.cols), np.bool_)
    mask[layout.stored_rows] = True
    return mask.reshape(-1)


class Garbage(Prover):
    """Random elements of F in every padded entry of the stored rows."""

    filled = 0

    def commit(self) -> tuple[Commitment, U64]:
        layout = self.plan.witness
        rng = np.random.default_rng(1)
        free = stored_entries(self) & ~true_entries(self)
        clean = np.empty(free.size, np.uint64)
        self.counts = self.multiplicities()
        self.fill(clean)
        self.flat = np.where(free, rng.integers(0, P, free.size, np.uint64), clean)
        type(self).filled = int(free.sum())
        commitment = commit(stored_matrix(self.flat, layout.shape.log_cols, layout.stored_rows), layout.shape)
        self.sender.raw("witness root", commitment.root)
        vk = self.pk.verifying_key
        self.sender.raw("key digest", vk.digest())
        self.sender.raw("certificate", self.certificate)
        path = encode_path(self.plan.system.flow.path)
        self.sender.raw("path length", len(path).to_bytes(4, "little"))
        self.sender.raw("path", path)
        self.sender.raw("statement", encode_statement(self.plan, self.witness))
        absorb_statement(self.transcript, self.plan, vk)
        return commitment, self.flat


@pytest.mark.parametrize("source", PADDED)
def test_garbage_in_padding_is_accepted_and_changes_nothing(source):
    clean = c.accepted(source, c.honest(source).data)
    proof = c.cheat(source, c.Cheat(prover=Garbage))
    assert Garbage.filled > 0
    assert proof != c.honest(source).data
    found = c.accepted(source, proof)
    for one, other in ((clean.inputs, found.inputs), (clean.outputs, found.outputs)):
        assert {k: v.tolist() for k, v in one.items()} == {k: v.tolist() for k, v in other.items()}


@pytest.mark.parametrize("source", PADDED)
def test_weights_vanish_on_padding(source):
    """Omega, the sum of all claims, is zero wherever no tensor lies."""
    seen: list[U64] = []

    class Looking(Prover):
        def omega(self, columns: Any) -> U64:
            seen.append(super().omega(columns))
            return seen[-1].copy()  # it is used up

    prover = Looking(c.keys(source), c.trace_of(source))
    prover.run()
    inside = true_entries(prover)
    assert not seen[0][:, ~inside].any()
    assert seen[0][:, inside].any(axis=0).all()  # and every true entry takes part in some claim


@pytest.mark.parametrize("source", PADDED)
def test_garbage_does_not_cover_a_false_output(source):
    how = c.Cheat(prover=Garbage, trace=lambda t: t.outputs.update({k: v - 1 for k, v in t.outputs.items()}))
    with pytest.raises(c.Rejected):
        c.accepted(source, c.cheat(source, how))


def test_padding_of_params_is_part_of_the_key():
    """A key whose params matrix has garbage in its padding is another key."""
    pk = c.keys(c.DENSE)
    layout = pk.plan.params
    assert layout is not None
    matrix = params_matrix(pk.program, layout).joined()
    free = matrix == 0
    assert free.any()
    matrix.reshape(-1)[np.flatnonzero(free)[-1]] = 1
    assert commit_params(IntegerMatrix.of(matrix), layout.shape).commitment.root != pk.verifying_key.params_root
    assert isinstance(pk, ProvingKey)
    assert setup(pk.program, pk.mode).verifying_key == pk.verifying_key
