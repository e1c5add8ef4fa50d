"""Random instances of every registered lowering against the ONNX reference evaluator. The walk is over the registry:
a lowering without an instance fails, and so would an empty registry."""

from __future__ import annotations

import pytest
from hypothesis import given

from syurmy.compiler.lower import operators
from tests.compiler import instances_of_maps  # noqa: F401  (adds its instances)
from tests.compiler.harness import check
from tests.compiler.instances import INSTANCES, Draw
from tests.drawing import SEEDS, examples

ELSEWHERE = {"ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv",
             "QLinearMatMul", "QuantizeLinear"}  # fmt: skip
"""Quantised operators, in test_quantised and test_quantised_models."""
REFUSED = {"IsInf"}
WALKED = sorted({op for domain, op in operators() if not domain} - ELSEWHERE - REFUSED)


@pytest.mark.parametrize("op", WALKED)
def test_operator(op: str) -> None:
    assert op in INSTANCES, f"{op} has a lowering and no instance in tests/compiler/instances.py"

    @examples(6)
    @given(SEEDS)
    def compare(seed: int) -> None:
        check(**INSTANCES[op](Draw(seed)))

    compare()


def test_the_walk_is_not_empty() -> None:
    assert len(WALKED) >= 130
    assert sorted(set(INSTANCES) - set(WALKED)) == []
