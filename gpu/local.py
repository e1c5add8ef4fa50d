"""Range kernels for a card: the buffers that they make by NumPy as local arrays of a thread, which the CUDA target has.

Their sizes are constants, as a thread's strip has one element.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import cuda, njit


def localised(kernel: Callable[..., None]) -> Callable[..., None]:
    """A CUDA kernel as a card compiles it. ``gpu.grid.calling`` notes the range kernels that it calls."""
    inner = getattr(kernel, "ranged", None)
    if inner is None or not isinstance(kernel, FunctionType):
        return kernel
    changed = {name: with_local_arrays(called) for name, called in inner.items()}
    return FunctionType(kernel.__code__, {**kernel.__globals__, **changed}, kernel.__name__)


def with_local_arrays(kernel: Any) -> Any:
    """A range kernel without NumPy's arrays."""
    f = kernel.py_func
    scope = {**f.__globals__, "cuda": cuda}
    source = rewritten(f, scope)
    if "cuda.local" not in source:
        return kernel
    exec(compile(source, f"<{f.__name__} with local arrays>", "exec"), scope)
    return njit(scope[f.__name__])


def rewritten(f: Callable[..., Any], scope: dict[str, Any]) -> str:
    """The source of a function with local arrays in place of NumPy's, whose shapes are constants in ``scope``."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(f))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    tree.decorator_list = []
    return ast.unparse(ast.fix_missing_locations(_Local(scope).visit(tree)))


class _Local(ast.NodeTransformer):
    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope

    def visit_Assign(self, n: ast.Assign) -> Any:
        zeros = isinstance(n.value, ast.Call) and ast.unparse(n.value.func) == "np.zeros"
        made = self.generic_visit(n)
        if not zeros:
            return made
        assert isinstance(n.value, ast.Call)
        shape = ast.literal_eval(n.value.args[0])
        dims = shape if isinstance(shape, tuple) else (shape,)
        lines, index = [], []
        for axis, d in enumerate(dims):
            index.append(f"_{axis}")
            lines.append("    " * axis + f"for _{axis} in range({d}):")
        lines.append("    " * len(dims) + f"{ast.unparse(n.targets[0])}[{', '.join(index)}] = 0")
        return [made, *ast.parse("\n".join(lines)).body]

    def visit_Call(self, n: ast.Call) -> ast.AST:
        self.generic_visit(n)
        if ast.unparse(n.func) not in ("np.empty", "np.zeros"):
            return n
        shape = eval(compile(ast.Expression(n.args[0]), "<shape>", "eval"), self.scope)
        local = ast.parse(f"cuda.local.array({shape!r}, 0)", mode="eval").body
        assert isinstance(local, ast.Call)
        local.args[1] = n.args[1]
        return local
