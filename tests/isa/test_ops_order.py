"""sort, argsort, topk and gather, one instruction at a time: against NumPy, and every column pinned."""

from __future__ import annotations

import numpy as np
import pytest

from syurmy.isa.types import DType
from tests.isa.forgery import pin_op
from tests.isa.graph_eval import KINDS, Operand, check_op, random_array

TIES = [[3, -1, 3, 2], [0, 0, -2, 0]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("descending", [False, True])
def test_sorted(kind, descending):
    rng = np.random.default_rng(0)
    for dtype in (DType.I8, DType.I32):
        for shape in ((1,), (5,), (2, 4), (2, 3, 3)):
            x = random_array(rng, shape, dtype, extreme=shape == (2, 4))
            order = np.argsort(-x if descending else x, axis=-1, kind="stable")
            given = Operand(x, dtype, kind)
            assert np.array_equal(check_op("argsort", given, descending=descending), order)
            values = check_op("sort", given, descending=descending)
            assert np.array_equal(values, np.take_along_axis(x, order, -1))
            largest = check_op("topk", given, k=(shape[-1] + 1) // 2)
            assert np.array_equal(largest, np.sort(x, axis=-1)[..., ::-1][..., : (shape[-1] + 1) // 2])


@pytest.mark.parametrize("kind", KINDS)
def test_gathered(kind):
    rng = np.random.default_rng(1)
    for shape in ((5,), (4, 3), (3, 2, 2)):
        x = random_array(rng, shape)
        for index in (2, [1, 0, 1], [0]):
            rows = Operand(index, DType.I8, kind, (0, 3))
            assert np.array_equal(check_op("gather", Operand(x, kind=kind), rows), x[np.array(index)])


CASES = {
    "sort": ("sort", [Operand(TIES, DType.I8)], {}),
    "sort descending": ("sort", [Operand(TIES[0], DType.I8)], {"descending": True}),
    "argsort": ("argsort", [Operand(TIES[0], DType.I8)], {}),
    "topk": ("topk", [Operand(TIES[0], DType.I8)], {"k": 2}),
    "gather": ("gather", [Operand([[1, 2], [3, 4], [1, 0]], DType.I8), Operand([2, 0], DType.I8, bounds=(0, 3))], {}),
}


@pytest.mark.parametrize("name", CASES)
def test_pinned(name):
    op, operands, attributes = CASES[name]
    assert pin_op(op, *operands, **attributes) == {}
