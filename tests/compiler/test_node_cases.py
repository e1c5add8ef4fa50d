"""One of ONNX's own node tests for every operator that docs/operators.md lists: compiled, proven and verified."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from syurmy import vm
from syurmy.compiler.coverage import PAGE, PARAMETERS, Case, cases, compiled, difference, page, run, run_older
from syurmy.compiler.coverage_opsets import downgraded
from syurmy.prover.keys import setup
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import verify

ROW = re.compile(r"\| (\w+) \| (lowered|by body) \| (\d+) \|")
OPERATORS = [m[1] for m in map(ROW.match, PAGE.read_text().splitlines()) if m and int(m[3])]


@cache
def all_cases() -> dict[str, Case]:
    return {c.name: c for c in cases()}


def entries(case: Case) -> int:
    """Of all tensors; sequences and optional values, which no case that passes has, count as more than any."""
    values = (*case.inputs.values(), *case.outputs.values())
    arrays = all(isinstance(x, np.ndarray | np.generic) for x in values)
    return sum(np.size(x) for x in values) if arrays else 2**60


@pytest.mark.parametrize("op", OPERATORS)
def test_operator_is_proven(op: str, tmp_path: Path) -> None:
    """The smallest case of the operator that passes: compiled, run, compared, proven, verified."""
    mine = sorted((c for c in all_cases().values() if c.op == op), key=entries)
    case = next(c for c in mine if run(c).status == "passed")
    done = compiled(case, tmp_path)
    trace = vm.run(done.program, done.quantise(case.inputs), check_intervals=True)
    key = setup(done.program)
    statement = verify(key.verifying_key, prove(key, trace).data)
    for name, y in done.dequantise(statement.outputs).items():
        assert difference(y, np.asarray(case.outputs[name])) == ""


def test_outcomes_are_told_apart() -> None:
    known = all_cases()
    wrong = replace(known["test_abs"], outputs={k: v + 1 for k, v in known["test_abs"].outputs.items()})
    found = [run(case) for case in (known["test_abs"], known["test_nonzero_example"], wrong)]
    assert [o.status for o in found] == ["passed", "unsupported", "failed"]
    text = page(found)
    assert "| Abs | lowered | 1 | 1 | 0 | less accurate than the tolerance (1) |" in text
    assert "the result's shape depends on the input's values (1)" in text


def test_older_forms_of_a_case() -> None:
    """Axes are an attribute again; an operator that is younger, or means something else, has no older form."""
    known = all_cases()
    case = known["test_reduce_l1_keep_dims_example"]
    model = downgraded(case.model, case.inputs, case.outputs, 13)
    assert model is not None
    (node,) = model.graph.node
    assert list(node.input) == ["data"]
    assert next(a for a in node.attribute if a.name == "axes").ints == [2]
    assert run(replace(case, model=model)).status == "passed"
    for name, opset in {"test_gelu_tanh_1": 18, "test_softmax_axis_0": 11}.items():
        case = known[name]
        assert downgraded(case.model, case.inputs, case.outputs, opset) is None


def test_older_opsets_are_counted() -> None:
    """A form that is the newest's is not run again; what only the newest passes is named."""
    found = [all_cases()[name] for name in ("test_reduce_l1_keep_dims_example", "test_abs")]
    newest = [run(c) for c in found]
    older = run_older(found, newest, 1)
    assert [len(older[v]) for v in (9, 20)] == [2, 2]
    text = page(newest, older)
    assert "| 9 | 2 | 2 | 0 | 0 |" in text
    assert "passes in its newest form only (at opset): none." in text
    older[9][0] = (older[9][0][0], replace(older[9][0][1], status="unsupported"))
    assert "(at opset): ReduceL1 (9)." in page(newest, older)


def test_only_parameters_become_constants() -> None:
    assert not any(0 in k for op, k in PARAMETERS.items() if op not in CONSTANT)
    case = all_cases()["test_cumsum_1d"]
    assert list(case.inputs) == ["x"]
    assert [t.name for t in case.model.graph.initializer] == ["axis"]


CONSTANT = {
    "BlackmanWindow",
    "ConstantOfShape",
    "HammingWindow",
    "HannWindow",
    "If",
    "Loop",
    "MelWeightMatrix",
    "Range",
}


def test_difference_uses_the_tolerance_of_the_dtype() -> None:
    want = np.array([1.0, -2.0], np.float32)
    assert difference(want + np.float32(1e-3), want) == ""
    assert difference(want + np.float32(3e-3), want) == "less accurate than the tolerance"
    assert difference(np.array([1, 2]), np.array([1, 3])) == "1 of 2 entries differ"
    assert difference(np.zeros(2), np.zeros(3)) == "shape [2], expected [3]"
