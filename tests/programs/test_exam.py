"""An exam: someone who has the key and not the weights asks questions and gets proven answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import syurmy

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"


def test_the_examiner_learns_the_accuracy_from_one_proof() -> None:
    source = (PROGRAMS / "digits_mlp.tasm").read_text().replace("private in 0..16", "public in 0..16")
    program = syurmy.assemble(source, folder=PROGRAMS)
    test = np.load(PROGRAMS / "digits_test.npz")
    questions, truth = test["images"][:64].reshape(64, 1, 64), test["labels"][:64]
    proving_key, verifying_key = syurmy.setup(program)
    proof = syurmy.prove(proving_key, syurmy.run(program, {"x": questions}, batch=True)).to_bytes()

    key = syurmy.VerifyingKey.from_bytes(verifying_key.to_bytes())  # what the examiner has; the weights are not in it
    assert program.data["w1"].tobytes()[:64] not in verifying_key.to_bytes()
    statement = syurmy.verify(key, proof)
    assert np.array_equal(statement.inputs["x"], questions)
    assert (statement.outputs["digit"].ravel() == truth).mean() > 0.9
