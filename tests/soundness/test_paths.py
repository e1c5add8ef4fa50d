"""Cheating provers against branches, paths and batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from syurmy.isa.graph import Node, Public
from syurmy.isa.path import Path
from syurmy.prover.protocol.path import decode_path, encode_path
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import Prover
from tests.soundness import common as c
from tests.soundness.common import OPENING, ROOT, refused
from tests.soundness.memory_programs import (
    BATCH,
    LOOP,
    RAM,
    SORT,
    block,
    forged,
    named,
    other_run,
    trace_of,
)

# ---- branches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flipped", [{0}, {1}, {2}], ids=["one round", "two rounds", "four rounds"])
def test_wrong_branch(flipped, monkeypatch):
    """The false bit, with everything on that path computed honestly; then with a comparison that fits the bit."""
    trace = other_run(monkeypatch, 3, flipped)
    assert trace.bits != trace_of(LOOP).bits
    refused(LOOP, forged(LOOP, trace=trace), *OPENING)

    def less(plan: Plan) -> dict[Node, Any]:
        column = next(n for n in plan.system.columns if n.label == "less")
        (bits,) = trace.bits.values()
        return {column: np.array(bits).reshape(column.shape)}

    refused(LOOP, forged(LOOP, less, trace=other_run(monkeypatch, 3, flipped)), *ROOT)


def with_path(path: bytes, source: str = LOOP, length: int | None = None) -> bytes:
    """The honest proof with other bytes in the place of its path."""
    proof = Prover(c.keys(source), trace_of(source)).run()
    places = {label: (at, n) for label, at, n in proof.fields}
    at, end = places["path length"][0], sum(places["path"])
    size = len(path) if length is None else length
    return proof.data[:at] + size.to_bytes(4, "little") + path + proof.data[end:]


def bits_of(*bits: int, pc: int | None = None, batch: int = 1) -> bytes:
    return encode_path(Path(batch, {branch_pc() if pc is None else pc: bits}))


def branch_pc() -> int:
    return next(i for i, ins in enumerate(c.keys(LOOP).program.code) if ins.op == "bnz")


PATHS: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated": (lambda: bits_of(1, 1), "no bit"),
    "nothing": (lambda: encode_path(Path()), "no bit"),
    "extra bits": (lambda: bits_of(1, 1, 0, 0), "more branch bits"),
    "bits of another instruction": (lambda: bits_of(1, 1, 0, pc=0), "no bit"),
    "bits of an instruction that is not there": (
        lambda: encode_path(Path(1, {branch_pc(): (1, 1, 0), 1000: (1,)})),
        "more branch bits",
    ),
    "never ends": (lambda: bits_of(*[1] * 200_000), "steps"),
    "longer than the step limit": (lambda: b"\x01\x01\x0b\x02\x00\xff\xff\xff\xff\xff\xff\xff\x7f", "steps"),
    "no input": (lambda: encode_path(Path(0)), "canonical"),
    "a batch beyond the step limit": (lambda: encode_path(Path(2**40)), "canonical"),
    "another batch": (lambda: bits_of(1, 1, 0, batch=2), "no bit"),
    "trailing bytes": (lambda: bits_of(1, 1, 0) + b"\0", "canonical"),
    "an empty run at the end": (lambda: b"\x01\x01" + bytes([branch_pc()]) + b"\x04\x00\x02\x01\x00", "canonical"),
    "an empty run in between": (lambda: b"\x01\x01" + bytes([branch_pc()]) + b"\x05\x00\x01\x00\x01\x01", "canonical"),
    "a long number": (lambda: b"\x81\x00" + bits_of(1, 1, 0)[1:], "canonical"),
    "an endless number": (lambda: b"\xff" * 40, "truncated"),
    "a branch twice": (lambda: b"\x01\x02" + 2 * (bytes([branch_pc()]) + b"\x03\x00\x02\x01"), "canonical"),
    "a branch without bits": (lambda: b"\x01\x02\x00\x01\x00" + bits_of(1, 1, 0)[2:], "canonical"),
    "no bytes": (lambda: b"", "truncated"),
}


@pytest.mark.parametrize("name", PATHS)
def test_other_paths(name):
    path, reason = PATHS[name]
    refused(LOOP, with_path(path()), "path", reason)


def test_path_length():
    path = bits_of(1, 1, 0)
    assert with_path(path) == Prover(c.keys(LOOP), trace_of(LOOP)).run().data
    for length in (0, len(path) - 1, len(path) + 1, 1000):
        refused(LOOP, with_path(path, length=length), "path", "")
    refused(LOOP, with_path(path, length=2**32 - 1), "format", "ends inside 'path'")


@pytest.mark.parametrize("bits", [(0,), (1, 0), (1, 1, 1, 0)])
def test_path_of_another_run(bits):
    """A path that the program has, under a proof of another."""
    with pytest.raises(Rejected) as e:
        c.verifier_of(LOOP).verify(with_path(bits_of(*bits)))
    assert e.value.step in c.STEPS - {"path"}


def test_path_of_another_program():
    for other in (RAM, SORT):
        refused(other, with_path(bits_of(1, 1, 0), other), "path", "more branch bits")
    refused(BATCH, with_path(encode_path(Path(1, {0: (1,)})), BATCH), "path", "more branch bits")


def test_paths_are_canonical():
    rng = np.random.default_rng(0)
    for _ in range(200):
        pcs = rng.choice(50, rng.integers(0, 4), replace=False).tolist()
        bits = {pc: rng.integers(0, 2, rng.integers(1, 9)).tolist() for pc in pcs}
        path = Path(int(rng.integers(1, 300)), bits)
        data = encode_path(path)
        found = decode_path(data)
        assert (found.batch, dict(found.bits)) == (path.batch, bits)
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        try:
            assert encode_path(decode_path(bytes(changed))) == changed
        except ValueError:
            continue


def test_tampered_paths():
    """Every bit of the path and its length."""
    proof = Prover(c.keys(LOOP), trace_of(LOOP)).run()
    for label, at, size in proof.fields:
        for bit in range(8 * size) if label in ("path", "path length") else ():
            changed = bytearray(proof.data)
            changed[at + bit // 8] ^= 1 << bit % 8
            with pytest.raises(Rejected) as e:
                c.verifier_of(LOOP).verify(bytes(changed))
            assert e.value.step in c.STEPS


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_outputs_of_a_batch_swapped():
    assert trace_of(BATCH).outputs["y"].tolist() == [3, 7]
    refused(BATCH, forged(BATCH, outputs={"y": [7, 3]}), *OPENING)
    refused(BATCH, forged(BATCH, lambda plan: {plan.system.results[0]: [7, 3]}, {"y": [7, 3]}), *ROOT)


def test_rows_of_another_input():
    """Each input reads the other's row: without the input's number in the tuples they would cancel."""

    def replaced(plan: Plan) -> dict[Node, Any]:
        final = named(plan, "final buf")
        return {plan.system.results[0]: [7, 3], final: [[1, 2, 7, 4], [5, 6, 3, 8]]}

    refused(BATCH, forged(BATCH, replaced, {"y": [7, 3]}), *ROOT)

    def numbered(plan: Plan) -> dict[Node, Any]:
        which = block(plan, "read", 0).members[0]
        assert isinstance(which, Public)
        final = {named(plan, "final buf"): [[1, 2, 3, 4], [5, 6, 7, 8]]}
        return {which: [1, 0], plan.system.results[0]: [7, 3], **final}

    refused(BATCH, forged(BATCH, numbered, {"y": [7, 3]}), *OPENING)


def test_batch_of_another_size():
    for batch in (1, 3, 64):
        with pytest.raises(Rejected) as e:
            c.verifier_of(BATCH).verify(with_path(encode_path(Path(batch)), BATCH))
        assert e.value.step in c.STEPS - {"path"}
