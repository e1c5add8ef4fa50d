"""What tests of key certificates share: programs with params, keys whose maker lies, a certifier that forges."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from syurmy.isa.program import Program
from syurmy.prover.certify import Certifier, certify
from syurmy.prover.commitment import ParamsCommitment, commit_params
from syurmy.prover.kernels.matrix import IntegerMatrix
from syurmy.prover.keys import ProvingKey, params_matrix, setup
from syurmy.prover.protocol.certificate import Certificate
from syurmy.prover.protocol.key import Mode
from syurmy.prover.protocol.plan import params_layout
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.secrets import Secrets
from syurmy.prover.verifier.certificate import check_certificate
from tests.isa.constraints import centred, to_field
from tests.soundness import common as c

LOOKUPS = ("lookup", "lookups and tables do not balance")
VALUES = ("opening", "the last vector does not have the claimed values")  # the same where messages are hidden
ENCODING = ("opening", "the last vector does not encode to the opened columns")
TABLED, RANGED = "tabled", "ranged"
SMALL = """
.input x : i16[5] private
.param w : i16[3, 5] committed bounds -9..40 l1 (0)=30, (1)=31 = {{3, -9, 9, 0, 1}, {-7, 5, 4, -3, 2}, {9, 8, -7, 0, 6}}
.param b : i32[1] committed bounds -70000..5 = {-61234}
.output y public
    mul z, x, w
    sum z, z
    add y, z, b
    halt
"""  # range checks: fewer entries than values
LARGE = f"""
.input x : i8[64] private
.param w : i8[3, 64] committed bounds -9..12 l1 (1)=400 = {{{
    ", ".join("{" + ", ".join(str((7 * r + 5 * k) % 22 - 9) for k in range(64)) + "}" for r in range(3))
}}}
.param v : i8[64] committed bounds -9..12 = {{{", ".join(str(k % 22 - 9) for k in range(64))}}}
.output y public
    mul z, x, w
    sum z, z
    mul u, x, v
    sum u, u
    add y, z, u
    halt
"""  # tables: (w, |w|) and v alone
c.INPUTS.update({SMALL: {"x": [1, -2, 3, 4, 5]}, LARGE: {"x": list(range(64))}})
PROGRAMS = [SMALL, LARGE, c.DENSE, c.TWO_DENSE, c.SUM_PARAM, c.ROWS]


def key(program: Program, values: dict[str, Any], mode: Mode | None = None) -> ProvingKey:
    """A key whose maker commits to ``values`` (of F) whatever the program declares."""
    mode = Mode.of(program, False) if mode is None else mode
    honest = setup(program, mode)
    data = {**program.data, **{n: centred(to_field(np.array(v, dtype=object))) for n, v in values.items()}}
    assert honest.plan is not None
    assert honest.plan.params is not None
    return with_matrix(replace(honest, program=replace(program, data=data)), params_matrix_of(program, data, mode))


def params_matrix_of(program: Program, data: Any, mode: Mode) -> Any:
    layout = params_layout(program, mode)
    assert layout is not None
    return params_matrix(replace(program, data=data), layout).joined()


def with_matrix(pk: ProvingKey, matrix: Any) -> ProvingKey:
    """The key with a commitment to this matrix."""
    assert pk.params is not None
    shape = pk.params.commitment.shape
    return with_params(pk, commit_params(IntegerMatrix.of(matrix), shape, Secrets(b"test") if shape.tail else None))


def with_params(pk: ProvingKey, params: ParamsCommitment) -> ProvingKey:
    vk = replace(pk.verifying_key, params_root=params.commitment.root)
    return replace(pk, params=params, verifying_key=vk, allowance=None)


class Forger(Certifier):
    """Honest about all that is not forged: columns over the field, lookups without a row left out."""

    def __init__(self, pk: ProvingKey, replaced: Any = None) -> None:
        super().__init__(pk)
        trace = self.witness.trace
        labels = {col.label: col for col in self.plan.system.columns}
        self.witness = c.Forged(self, trace, {labels[n]: v for n, v in (replaced or {}).items()})


def forged(pk: ProvingKey, **columns: Any) -> bytes:
    return Forger(pk, columns).run().data


def refused(pk: ProvingKey, data: bytes, step: str, reason: str) -> None:
    with pytest.raises(Rejected) as e:
        check_certificate(pk.verifying_key, data)
    assert (e.value.step, reason in e.value.reason) == (step, True), str(e.value)


@cache
def honest(source: str) -> Certificate:
    return certify(c.keys(source))
