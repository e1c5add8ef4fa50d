"""Expressions agree with Python and NumPy wherever those compute exactly, and are exact where NumPy wraps around."""

from __future__ import annotations

import ast
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, reject
from hypothesis import strategies as st

from syurmy.vm.debug import DebugError
from syurmy.vm.debug.expressions import MAX_LENGTH, parse
from tests.drawing import examples

SCOPE: dict[str, Any] = {
    "h": np.array([[3, -7, 0], [12, 5, -1]]),
    "v": np.array([2, -3, 4]),
    "s": np.array(6),
    "step": 41,
    "order": np.array([0, 1]),
    "m.1.t": np.array([9, -9, 1], np.int8),
    "notes": 0,
}
NUMBERS = st.one_of(
    st.integers(0, 9).map(str),
    st.sampled_from(["step", "s", "h[1, 2]", "v[-1]", "h[0][1]", "v.max()", "h.sum()", "h.min()", "h.shape[1]"]),
    st.sampled_from(["len(v)", "max(v)", "abs(v[1])", "h.argmax()", "v.size", "m.1.t.sum()", "m.1.t.size", "notes"]),
)
VIEWS = ["h", "v", "h[0]", "h[:, 1:]", "h[::-1]", "h[1, :2]", "h.T", "h.sum(0)", "h.max(axis=1)", "abs(h)", "h[order]"]
TENSORS = st.sampled_from([*VIEWS, "m.1.t"])


def grown(numbers: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    value = numbers | TENSORS
    binary = st.tuples(value, st.sampled_from(["+", "-", "*", "&", "|", "^", "/", "//", "%"]), value).map(" ".join)
    compared = st.tuples(value, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), value).map(" ".join)
    truth = st.one_of(compared.map(lambda x: f"({x})"), compared.map(lambda x: f"abs({x}).sum()"))
    # of numbers: Python gives the last operand as it is, here it is a truth value
    logic = st.tuples(NUMBERS, st.sampled_from(["and", "or"]), NUMBERS).map(lambda p: f"({' '.join(p)}) != 0")
    chain = st.tuples(numbers, st.just("<"), numbers, st.just("<="), numbers).map(" ".join)
    return st.one_of(
        *(x.map(lambda t: f"({t})") for x in (binary, compared, logic, chain)),
        truth,
        value.map(lambda x: f"-{x}"),
        numbers.map(lambda x: f"(not {x})"),
        st.tuples(compared, st.sampled_from([".any()", ".all()"])).map(lambda p: f"({p[0]}){p[1]}"),
    )


class Counted(ast.NodeTransformer):
    """Truth values in sums and products count as 0 and 1, as Python's do; NumPy's arrays of them stay truth values."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.BitAnd | ast.BitOr | ast.BitXor):
            named = ast.Name("counted", ast.Load())
            node.left, node.right = (ast.Call(named, [side], []) for side in (node.left, node.right))
        return node


def counted(x: Any) -> Any:
    return x.astype(np.int64) if isinstance(x, np.ndarray) and x.dtype == bool else x


def by_numpy(text: str) -> Any:
    """The slow truth: the same text in Python, on int64 arrays."""
    names: dict[str, Any] = {"abs": np.abs, "len": len, "max": np.max, "counted": counted}
    for name, x in SCOPE.items():
        wide = x.astype(np.int64) if isinstance(x, np.ndarray) else x
        names[name.replace(".", "_")] = wide.item() if isinstance(wide, np.ndarray) and wide.ndim == 0 else wide
    with np.errstate(all="raise"):
        tree = Counted().visit(ast.parse(text.replace("m.1.t", "m_1_t").strip(), mode="eval"))
        return eval(compile(ast.fix_missing_locations(tree), "by_numpy", "eval"), names)


@examples(200, suppress_health_check=list(HealthCheck))
@given(st.recursive(NUMBERS, grown, max_leaves=5))
@example("(h < 0) + (h < v)")
@example("(0 < 1 <= -h)")
def test_as_numpy_computes(text: str) -> None:
    try:
        expected = by_numpy(text)
    except (ArithmeticError, ValueError, TypeError, AttributeError, IndexError):
        reject()  # NumPy has no value there
    found = parse(text, SCOPE)(SCOPE)
    assert np.array_equal(np.asarray(found, np.float64), np.asarray(expected, np.float64)), text


WIDE = st.integers(-(2**61), 2**61 - 1)


@examples(100)
@given(st.lists(WIDE, min_size=1, max_size=5), WIDE, st.sampled_from(["+", "-", "*"]))
def test_arithmetic_does_not_wrap_around(x: list[int], y: int, sign: str) -> None:
    compute = {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign]
    scope = {"x": np.array(x), "y": np.array(y)}
    assert parse(f"x {sign} y", scope)(scope).tolist() == [compute(a, y) for a in x]
    assert parse(f"(x {sign} y).sum()", scope)(scope) == sum(compute(a, y) for a in x)
    assert parse(f"(x {sign} y).max() > y", scope)(scope) is (max(compute(a, y) for a in x) > y)
    assert parse("x.sum()", scope)(scope) == sum(x)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "D101"),
        ("h.max() >", "D101"),
        ("h[", "D101"),
        ("(h", "D101"),
        ("1 2", "D101"),
        ("import os", "D101"),
        ("__import__('os')", "D101"),
        ("h.__class__", "D102"),
        ("h.dtype", "D102"),
        ("eval(h)", "D102"),
        ("h.tofile(1)", "D102"),
        ("nothing > 3", "D102"),
        ("x" * (MAX_LENGTH + 1), "D101"),
        ("(" * 400 + "1" + ")" * 400 + "[", "D101"),
        ("h[2]", "D103"),
        ("h[0, 3]", "D103"),
        ("h[0, 0, 0]", "D103"),
        ("h[1.5]", "D103"),
        ("h[::0]", "D103"),
        ("h.max(2)", "D103"),
        ("h and 1", "D104"),
        ("1 // 0", "D104"),
        ("h % v * 0 / (v - v)", "D104"),
        ("h + order", "D104"),
        ("9 ** 9 ** 9", "D104"),
        ("2 ** -1", "D104"),
        ("v[:0].max()", "D104"),
        ("h.shape + 1", "D104"),
        ("len(1)", "D104"),
        ("abs()", "D104"),
    ],
)
def test_what_has_no_value_is_refused(text: str, code: str) -> None:
    with pytest.raises(DebugError) as e:
        parse(text, SCOPE)(SCOPE)
    assert e.value.code == code


def test_a_name_that_begins_with_a_word_of_the_language_is_a_name() -> None:
    assert parse("order[1] and not notes", SCOPE)(SCOPE) is True


def test_results_stay_small() -> None:
    scope = {"a": np.zeros((20_000, 1), np.int64), "b": np.zeros((1, 20_000), np.int64)}
    with pytest.raises(DebugError, match="entries"):
        parse("a + b", scope)(scope)
