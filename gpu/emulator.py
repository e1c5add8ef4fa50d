"""CUDA kernels on the CPU: the source of a kernel, unchanged, as a Numba loop over blocks and threads.

A kernel is a Python function that names ``cuda.threadIdx.x``, ``cuda.shared.array``, ``cuda.syncthreads()`` and the
like. Its syntax tree is cut at the barriers. What lies between two of them becomes one loop over the threads of a
block, so that every thread has passed a barrier before any goes on; a loop or condition that holds a barrier stays
outside of those loops, and must be the same for all threads. An assignment that does not depend on the thread runs once
a block. A variable of a thread that lives across a barrier is kept in an array, whose type its annotation says
(``x: uint64 = ...``). A function that holds barriers is put in the place of its call before anything is cut.

What it sees: types, indices (``checked``: every one of them against its array), barriers that are missing and blocks
that depend on each other, given that threads and blocks run in either order. What it does not: warps and alignment.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

THREAD, BLOCK, THREADS, BLOCKS, BACKWARDS = "_thread", "_block", "_threads", "_blocks", "_backwards"
_NAMES = {
    "cuda.threadIdx.x": THREAD,
    "cuda.blockIdx.x": BLOCK,
    "cuda.blockDim.x": THREADS,
    "cuda.gridDim.x": BLOCKS,
}
_CALLS = {"cuda.grid": f"{BLOCK} * {THREADS} + {THREAD}", "cuda.gridsize": f"{BLOCKS} * {THREADS}"}
_PLACES = {*_NAMES.values()}
GARBAGE = 0xA5  # what memory holds that nobody has written


class NotEmulated(TypeError):
    """A kernel that would not do on a device, or here, what it says."""


class Emulated:
    """``kernel`` as a function of this machine.

    ``checked``: an index outside of its array is an ``IndexError``; ``without``: the barrier to leave out, by its
    number in the source, which shows that a test needs it. Raises ``NotEmulated``.
    """

    def __init__(
        self,
        kernel: Callable[..., None],
        *,
        checked: bool = False,
        without: int | None = None,
    ) -> None:
        self.name = kernel.__name__
        tree = ast.parse(textwrap.dedent(inspect.getsource(kernel))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        scope = {**kernel.__globals__, **inspect.getclosurevars(kernel).nonlocals, "np": np}
        tree = _Inlined(self.name, scope).visit(tree)
        self.barriers = sum(map(_is_barrier, ast.walk(tree)))
        if without is not None:
            tree = _Without(without).visit(tree)
        self.source = ast.unparse(self._translated(tree))
        exec(compile(self.source, f"<{self.name} on a grid>", "exec"), scope)
        self._run = njit(nogil=True, boundscheck=checked)(scope[self.name])

    def run(self, *args: Any, blocks: int, threads: int, backwards: bool = False) -> None:
        """``backwards``: the order of threads and of blocks."""
        self._run(*args, blocks, threads, backwards)

    # ---- translation -----------------------------------------------------------------------------------------------

    def _translated(self, f: ast.FunctionDef) -> ast.Module:
        types = {
            n.target.id: ast.unparse(n.annotation)
            for n in ast.walk(f)
            if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        }
        self.shared = _shared(f)
        body = [_Plain().visit(s) for s in f.body if not _is_text(s)]
        body = _substituted(body)
        self.varying = {THREAD}
        known = 0
        while known != len(self.varying):
            known = len(self.varying)
            self._taint(body, False)
        self.live: set[str] = set()  # read in a stretch before they are written there
        self._dirty = False  # shared memory was touched since the last barrier
        out = self._cut(body)
        kept = sorted((self.live & self.varying) - {THREAD})
        if missing := [name for name in kept if name not in types]:
            raise NotEmulated(f"{self.name}: '{missing[0]}' lives across a barrier, and its type is not declared")
        out = [_Kept(set(kept)).visit(s) for s in out]
        arrays = [_statement(f"_of_{name} = np.empty({THREADS}, {types[name]})") for name in kept]
        loop = _for(BLOCK, BLOCKS, [*arrays, *out])
        args = ast.arguments(
            posonlyargs=[], args=[*map(_bare, f.args.args), *map(ast.arg, (BLOCKS, THREADS, BACKWARDS))],
            kwonlyargs=[], kw_defaults=[], defaults=[],
        )  # fmt: skip
        made = _statement(f"def {f.name}():\n    pass")
        assert isinstance(made, ast.FunctionDef)
        ends = (_statement(f"_of{n} = ({n} - 1, -1, -1) if {BACKWARDS} else (0, {n}, 1)") for n in (BLOCKS, THREADS))
        made.args, made.body = args, [*ends, loop]
        return ast.fix_missing_locations(ast.Module([made], []))

    def _taint(self, body: Iterable[ast.stmt], under: bool) -> None:
        """Adds to ``varying`` what is assigned from, or under the control of, something that varies."""
        for s in body:
            if isinstance(s, ast.For | ast.While | ast.If):
                test = s.iter if isinstance(s, ast.For) else s.test
                inside = under or bool(_read(test) & self.varying)
                if isinstance(s, ast.For) and inside:
                    self.varying |= _written(s.target)
                self._taint([*s.body, *s.orelse], inside)
            elif isinstance(s, ast.Assign | ast.AugAssign):
                source = _read(s.value) | (_written(s.target) if isinstance(s, ast.AugAssign) else set())
                if under or source & self.varying:
                    for t in s.targets if isinstance(s, ast.Assign) else [s.target]:
                        if not isinstance(t, ast.Subscript):
                            self.varying |= _written(t)

    def _cut(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """Statements with loops over the threads around what lies between barriers."""
        out: list[ast.stmt] = []
        stretch: list[ast.stmt] = []

        def end() -> None:
            if not stretch:
                return
            self.live |= _needed(stretch, set())[0]
            self._dirty = self._dirty or bool(_names(stretch) & self.shared)
            out.append(_for(THREAD, THREADS, [*stretch]))
            stretch.clear()

        for s in body:
            if _is_barrier(s):
                end()
                self._dirty = False
            elif self._uniform(s):
                if _stored([s]) & _names(stretch) or _names([s]) & _stored(stretch):
                    end()
                out.append(s)
            elif any(map(_is_barrier, ast.walk(s))):
                end()
                if not isinstance(s, ast.For | ast.While | ast.If):
                    raise NotEmulated(f"{self.name}: a barrier inside of: {ast.unparse(s)}")
                test = s.iter if isinstance(s, ast.For) else s.test
                if _read(test) & self.varying:
                    raise NotEmulated(f"{self.name}: not every thread reaches a barrier: {ast.unparse(test)}")
                if self._dirty:
                    raise NotEmulated(f"{self.name}: no barrier between shared memory and a loop with barriers")
                s.body = self._cut(s.body)
                if isinstance(s, ast.If):
                    dirty, self._dirty = self._dirty, False
                    s.orelse = self._cut(s.orelse)
                    self._dirty = self._dirty or dirty
                elif s.orelse:
                    raise NotEmulated(f"{self.name}: a loop with barriers and an else")
                elif self._dirty:
                    raise NotEmulated(f"{self.name}: the rounds of a loop touch shared memory with no barrier between")
                out.append(s)
            else:
                stretch.append(s)
        end()
        return out

    def _uniform(self, s: ast.stmt) -> bool:
        """Whether a statement is an assignment to names that is the same for all threads."""
        if not isinstance(s, ast.Assign | ast.AugAssign):
            return False
        targets = s.targets if isinstance(s, ast.Assign) else [s.target]
        into = all(isinstance(n, ast.Name | ast.Tuple) for n in targets)
        return into and not _names([s]) & self.varying and (not _read(s.value) & self.shared or _is_shared(s.value))


# ---- what a statement reads and writes -------------------------------------------------------------------------------


def _read(n: ast.AST) -> set[str]:
    return {x.id for x in ast.walk(n) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Load)}


def _written(n: ast.AST) -> set[str]:
    return {x.id for x in ast.walk(n) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)}


def _names(body: Iterable[ast.stmt]) -> set[str]:
    return {x.id for s in body for x in ast.walk(s) if isinstance(x, ast.Name)}


def _stored(body: Iterable[ast.stmt]) -> set[str]:
    """Names that are assigned, or whose entries are."""
    nodes = [x for s in body for x in ast.walk(s)]
    entries = [x.value for x in nodes if isinstance(x, ast.Subscript) and isinstance(x.ctx, ast.Store)]
    return {x.id for x in [*nodes, *entries] if isinstance(x, ast.Name) and (x in entries or _is_store(x))}


def _is_store(n: ast.Name) -> bool:
    return isinstance(n.ctx, ast.Store)


def _needed(body: Iterable[ast.stmt], defined: set[str]) -> tuple[set[str], set[str]]:
    """Names read before they are certainly written, and those certainly written at the end."""
    need: set[str] = set()
    defined = set(defined)
    for s in body:
        if isinstance(s, ast.Assign):
            need |= (_read(s.value) | {name for t in s.targets for name in _read(t)}) - defined
            defined |= {name for t in s.targets for name in _written(t)}
        elif isinstance(s, ast.AugAssign):
            need |= (_read(s.value) | _read(s.target) | _written(s.target)) - defined
        elif isinstance(s, ast.For):
            need |= _read(s.iter) - defined
            need |= _needed(s.body, defined | _written(s.target))[0]
        elif isinstance(s, ast.If | ast.While):
            need |= _read(s.test) - defined
            then, after = _needed(s.body, defined)
            other, after_other = _needed(s.orelse, defined)
            need |= then | other
            if isinstance(s, ast.If):
                defined |= after & after_other
        else:
            need |= _read(s) - defined
    return need, defined


# ---- from CUDA to NumPy ----------------------------------------------------------------------------------------------


def _dotted(n: ast.AST) -> str:
    if isinstance(n, ast.Attribute):
        return f"{_dotted(n.value)}.{n.attr}"
    return n.id if isinstance(n, ast.Name) else ""


def _called(n: ast.AST) -> str:
    return _dotted(n.func) if isinstance(n, ast.Call) else ""


def _is_barrier(n: ast.AST) -> bool:
    return isinstance(n, ast.Expr) and _called(n.value) == "cuda.syncthreads"


def _is_shared(n: ast.AST) -> bool:
    return isinstance(n, ast.Call) and _dotted(n.func) == "np.empty"


def _is_text(n: ast.AST) -> bool:
    return isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)


def _bare(a: ast.arg) -> ast.arg:
    return ast.arg(a.arg)


def _shared(f: ast.AST) -> set[str]:
    found = (n for n in ast.walk(f) if isinstance(n, ast.Assign) and _called(n.value) == "cuda.shared.array")
    return {name for n in found for t in n.targets for name in _written(t)}


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _statement(text: str) -> ast.stmt:
    return ast.parse(text).body[0]


def _for(name: str, count: str, body: list[ast.stmt]) -> ast.For:
    """A loop over threads or blocks, in either order: one translation, which is compiled once, serves both."""
    return ast.For(
        ast.Name(name, ast.Store()), _expression(f"range(_of{count}[0], _of{count}[1], _of{count}[2])"), body, []
    )


class _Inlined(ast.NodeTransformer):
    """Functions that hold barriers in place of the statements that call them: their parameters are the arguments, names
    or constants, and are not assigned to; names of their own are new ones in every place."""

    def __init__(self, name: str, scope: dict[str, Any]) -> None:
        self.name, self.scope, self.calls = name, scope, 0

    def visit_Expr(self, n: ast.Expr) -> Any:
        f = getattr(self.scope.get(_called(n.value)), "py_func", None)
        if f is None or "syncthreads" not in f.__code__.co_names:
            return n
        assert isinstance(n.value, ast.Call)
        tree = ast.parse(textwrap.dedent(inspect.getsource(f))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        parameters, own = [a.arg for a in tree.args.args], set().union(*map(_written, tree.body))
        names = dict(zip(parameters, n.value.args, strict=True))
        plain = all(isinstance(a, ast.Name | ast.Constant) for a in n.value.args) and not own & names.keys()
        if not plain or any(isinstance(x, ast.Return) for x in ast.walk(tree)):
            raise NotEmulated(f"{self.name}: this call cannot be replaced by what it calls: {ast.unparse(n)}")
        self.calls += 1
        new = {name: f"_{f.__name__}_{self.calls}_{name}" for name in own}
        for name in f.__code__.co_names:
            if name in f.__globals__ and self.scope.setdefault(name, f.__globals__[name]) is not f.__globals__[name]:
                raise NotEmulated(f"{self.name}: '{name}' is another thing in {f.__name__}")
        return [_Renamed(names, new).visit(s) for s in tree.body if not _is_text(s)]


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, ast.expr], new: dict[str, str]) -> None:
        self.names, self.new = names, new

    def visit_Name(self, n: ast.Name) -> ast.AST:
        return ast.Name(self.new[n.id], n.ctx) if n.id in self.new else self.names.get(n.id, n)


class _Plain(ast.NodeTransformer):
    """Names of CUDA to those of the loops, shared and local arrays to arrays, atomic sums to sums."""

    def visit_AnnAssign(self, n: ast.AnnAssign) -> ast.AST:
        if n.value is None:
            raise NotEmulated(f"a declaration without a value: {ast.unparse(n)}")
        return ast.copy_location(ast.Assign([n.target], self.visit(n.value)), n)

    def visit_Attribute(self, n: ast.Attribute) -> ast.AST:
        name = _NAMES.get(_dotted(n))
        return ast.Name(name, ast.Load()) if name is not None else self.generic_visit(n)

    def visit_Call(self, n: ast.Call) -> ast.AST:
        name = _dotted(n.func)
        if name in _CALLS:
            return _expression(_CALLS[name])
        if name in ("cuda.shared.array", "cuda.local.array"):
            return ast.Call(_expression("np.empty"), [self.visit(a) for a in n.args], [])
        return self.generic_visit(n)

    def visit_Expr(self, n: ast.Expr) -> ast.AST:
        if isinstance(n.value, ast.Call) and _dotted(n.value.func) == "cuda.atomic.add":
            array, index, value = (self.visit(a) for a in n.value.args)
            return ast.AugAssign(ast.Subscript(array, index, ast.Store()), ast.Add(), value)
        return self.generic_visit(n)


def _substituted(body: list[ast.stmt]) -> list[ast.stmt]:
    """Without names for places in the grid (``tid = cuda.threadIdx.x``): these are the same after every barrier."""
    counts: dict[str, int] = {}
    for s in body:
        for x in ast.walk(s):
            if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store):
                counts[x.id] = counts.get(x.id, 0) + 1
    names: dict[str, ast.expr] = {}
    out: list[ast.stmt] = []
    for s in body:
        s = _Named(names).visit(s)
        if (
            isinstance(s, ast.Assign)
            and isinstance(s.targets[0], ast.Name)
            and counts[s.targets[0].id] == 1
            and THREAD in _read(s.value) <= _PLACES
        ):
            names[s.targets[0].id] = s.value
        else:
            out.append(s)
    return out


class _Named(ast.NodeTransformer):
    def __init__(self, names: dict[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, n: ast.Name) -> ast.AST:
        return self.names.get(n.id, n) if isinstance(n.ctx, ast.Load) else n


class _Kept(ast.NodeTransformer):
    """Variables that live across a barrier, one for each thread."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def visit_Name(self, n: ast.Name) -> ast.AST:
        if n.id not in self.names:
            return n
        return ast.Subscript(ast.Name(f"_of_{n.id}", ast.Load()), ast.Name(THREAD, ast.Load()), n.ctx)


@cache
def _emulated(kernel: Callable[..., None], checked: bool) -> Emulated:
    return Emulated(kernel, checked=checked)


class Emulator:
    """A device (``gpu.grid.Device``) that is this machine, whose memory is apart from NumPy's arrays: only what is
    written and read crosses. ``backwards``, ``checked``: as of ``Emulated``, of which all emulators share what is
    compiled; ``memory``: bytes that it has, 0 for as many as there are."""

    name = "emulator"

    def __init__(self, *, backwards: bool = False, checked: bool = False, memory: int = 0) -> None:
        self._backwards, self._checked = backwards, checked
        self.memory, self._held = memory, 0
        self.launched: dict[str, int] = {}

    def launch(self, kernel: Callable[..., None], blocks: int, threads: int, *args: Any) -> None:
        self.launched[kernel.__name__] = self.launched.get(kernel.__name__, 0) + 1
        run = _emulated(kernel, self._checked).run
        run(*args, blocks=blocks, threads=threads, backwards=self._backwards)

    def allocate(self, size: int) -> npt.NDArray[np.uint8]:
        if self.memory and self._held + size > self.memory:
            raise MemoryError
        piece = np.full(size, GARBAGE, np.uint8)
        self._held += size
        weakref.finalize(piece, self._let_go, size)
        return piece

    def _let_go(self, size: int) -> None:
        self._held -= size

    def write(self, there: npt.NDArray[Any], here: npt.NDArray[Any]) -> None:
        there[...] = here

    def read(self, there: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.array(there)


class _Without(ast.NodeTransformer):
    """Leaves out a barrier."""

    def __init__(self, number: int) -> None:
        self.left = number

    def visit_Expr(self, n: ast.Expr) -> ast.AST:
        if _is_barrier(n):
            self.left -= 1
            if self.left == -1:
                return ast.copy_location(ast.Pass(), n)
        return n
