"""The prover's kernels on a grid of threads: any device that launches CUDA kernels as a backend.

A kernel over an index range, ``kernel(*args, lo, hi)``, needs no second source: thread i runs ``kernel(*args, i, i +
1)``, and the words that it returns are added up, in shared memory by block and by atomic sums of 32-bit halves over the
blocks. Addition in F is exact, so that the order does not matter and the sums are those of the CPU, bit by bit. What
works on a tile that threads share has a form of its own (``prover/kernels/grid.py``).
"""

from __future__ import annotations

import itertools
import linecache
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numba import cuda, from_dtype, njit, typeof, types, uint64

from syurmy.gpu import HOST, Array, Backend, Memory, OutOfDeviceMemory, beside
from syurmy.gpu.arrays import DeviceArray, Piece, Scalars

THREADS = 256  # of a block: a power of two
BLOCKS_OF_SUMS = 1 << 10  # at most, of a kernel that returns words: a thread adds up what it has before blocks meet
AXES, SMALL = 16, 1 << 12  # entries of lengths and strides, and how many of these stay
LEAST = 1 << 12  # items below which a launch costs more than the CPU needs
_numbers = itertools.count()
_wrapped: dict[Any, tuple[Callable[..., None], int]] = {}  # of all grids: what a device compiles is compiled once


class Device(Protocol):
    """``launch`` runs ``kernel`` on ``blocks`` times ``threads`` threads, after what was launched before. Memory is
    what ``allocate`` gives, ``uint8[size]``, and slices and views of it (``gpu.arrays.DeviceArray``). ``memory``: bytes
    that were free at the start, 0 where that is not known."""

    name: str
    memory: int

    def launch(self, kernel: Callable[..., None], blocks: int, threads: int, *args: Any) -> None: ...

    def allocate(self, size: int) -> Any:
        """Raises ``MemoryError``."""

    def write(self, there: Any, here: npt.NDArray[Any]) -> None:
        """Contiguous ones of one shape and dtype."""

    def read(self, there: Any) -> npt.NDArray[Any]:
        """Waits for what was launched."""


Form = Callable[["Grid", int, tuple[Any, ...]], None]


@dataclass
class Traffic:
    """What a backend has done. Bytes: ``up``, ``down``, those of arrays that are kept with a key (``kept``, a part of
    ``up``), ``held`` now and at ``peak``; ``copies`` up and ``waits`` for what comes down. ``launches``: of kernels, by
    name."""

    up: int = 0
    down: int = 0
    kept: int = 0
    copies: int = 0
    waits: int = 0
    held: int = 0
    peak: int = 0
    launches: dict[str, int] = field(default_factory=dict)

    def clear(self) -> None:
        """Counts from zero; what is held stays so."""
        self.up = self.down = self.kept = self.copies = self.waits = 0
        self.peak = self.held
        self.launches = {}


class Grid:
    """A backend (``gpu.Backend``), and the memory, of a device. ``forms``: those of kernels that have their own, by
    name. Arrays of fewer than ``least`` items stay on the host, whose kernels ``host`` runs."""

    def __init__(self, device: Device, forms: Mapping[str, Form], host: Backend, least: int = LEAST) -> None:
        self.name = device.name
        self.device, self.forms, self.host, self.least = device, forms, host, least
        self.traffic = Traffic()
        self._free: dict[int, list[Any]] = {}
        self._kept: dict[Any, DeviceArray] = {}
        self._small: dict[Any, DeviceArray] = {}

    # ---- memory --------------------------------------------------------------------------------------------------

    def place(self, n: int) -> Memory:
        return self if n >= self.least else HOST

    def empty(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.uint64) -> DeviceArray:
        """Raises ``OutOfDeviceMemory``."""
        dims, kind = (shape,) if isinstance(shape, int) else tuple(map(int, shape)), np.dtype(dtype)
        count = math.prod(dims) * kind.itemsize
        size = rounded(count)
        free = self._free.get(size)
        raw = free.pop() if free else self._allocated(size)
        piece = Piece(raw, size, self._back)
        self.traffic.held += size
        self.traffic.peak = max(self.traffic.peak, self.traffic.held)
        return DeviceArray(raw[: max(count, kind.itemsize)].view(kind)[: math.prod(dims)].reshape(dims), self, piece)

    def _allocated(self, size: int) -> Any:
        try:
            return self.device.allocate(size)
        except MemoryError:
            self._free.clear()  # of other sizes
        try:
            return self.device.allocate(size)
        except MemoryError:
            raise OutOfDeviceMemory(size, self.traffic.held, self.device.memory) from None

    def _back(self, raw: Any, size: int) -> None:
        self.traffic.held -= size
        self._free.setdefault(size, []).append(raw)

    def release(self) -> None:
        """Gives memory that nothing uses back to the device."""
        self._free.clear()

    def upload(self, a: npt.NDArray[Any]) -> DeviceArray:
        out = self.empty(a.shape, a.dtype)
        self.write(out, a)
        return out

    def together(self, *arrays: npt.NDArray[Any]) -> list[DeviceArray]:
        """``upload`` of several, which are small, in one copy."""
        places = list(itertools.accumulate((-(-a.nbytes // 8) * 8 for a in arrays), initial=0))
        whole = np.zeros(places[-1], np.uint8)
        for first, a in zip(places, arrays, strict=False):
            whole[first : first + a.nbytes] = np.ascontiguousarray(a).reshape(-1).view(np.uint8)
        there = self.upload(whole)
        parts = ((there[first : first + a.nbytes], a) for first, a in zip(places, arrays, strict=False))
        return [part.view(a.dtype).reshape(a.shape) for part, a in parts]

    def write(self, out: Array, a: npt.NDArray[Any]) -> None:
        """Into a contiguous array, or slice, of the shape and dtype of ``a``."""
        if out.shape != a.shape or out.dtype != a.dtype or not out.contiguous:
            raise ValueError(f"{a.dtype}{a.shape} is written to {out.dtype}{out.shape}")
        self.traffic.up += a.nbytes
        self.traffic.copies += 1
        if a.size:
            self.device.write(out.raw, np.ascontiguousarray(a))

    def download(self, a: DeviceArray) -> npt.NDArray[Any]:
        if not a.contiguous:
            raise ValueError(f"a slice {a.dtype}{a.shape} that is not contiguous is downloaded")
        self.traffic.down += a.nbytes
        self.traffic.waits += 1
        return self.device.read(a.raw) if a.size else np.empty(a.shape, a.dtype)

    def kept(self, a: npt.NDArray[Any], form: Callable[[Any], npt.NDArray[Any]] = np.asarray) -> DeviceArray:
        """The copy, in some form, of an array that nobody changes, uploaded once for as long as there is the array, or
        that of which it is a view."""
        owner: Any = a
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        key = a.__array_interface__["data"][0], a.shape, a.strides, a.dtype.str, form
        if key not in self._kept:
            self._kept[key] = self.upload(form(a))
            self.traffic.kept += self._kept[key].nbytes
            weakref.finalize(owner, self._kept.pop, key, None)
        return self._kept[key]

    # ---- kernels -------------------------------------------------------------------------------------------------

    def run(self, kernel: Callable[..., Any], n: int, args: tuple[Any, ...], min_chunk: int) -> list[Any]:
        if beside(*args) is HOST:
            return self.host.run(kernel, n, args, min_chunk)
        return self.on_device(kernel, n, tuple(self.given(a) if isinstance(a, np.ndarray) else a for a in args))

    def given(self, a: npt.NDArray[Any]) -> DeviceArray:
        """An array of the host as an argument. Lengths and strides are the same in every proof: they stay."""
        if a.dtype != np.int64 or a.size > AXES:
            return self.upload(a)
        key = a.shape, a.tobytes()
        if key not in self._small:
            if len(self._small) >= SMALL:
                self._small.clear()
            self._small[key] = self.upload(a)
            self.traffic.kept += a.nbytes
        return self._small[key]

    def on_device(self, kernel: Any, n: int, args: tuple[Any, ...]) -> list[Any]:
        """``run`` with no array of the host."""
        if n <= 0:
            return []
        if (form := self.forms.get(kernel.__name__)) is not None:
            form(self, n, args)
            return [None]
        grid, words = self._of(kernel, args)
        if not words:
            self.launch(grid, -(-n // THREADS), THREADS, *args, n)
            return [None]
        sums = self.upload(np.zeros((2, words), np.uint64))
        self.add_sums(kernel, n, args, sums)
        return [tuple(int(low) + (int(high) << 32) for low, high in self.download(sums).T)]

    def add_sums(self, kernel: Any, n: int, args: tuple[Any, ...], sums: DeviceArray) -> None:
        """``run`` of a kernel that returns words: their 32-bit halves are added to ``uint64[2, words]``, and nobody
        waits."""
        args = tuple(self.given(a) if isinstance(a, np.ndarray) else a for a in args)
        self.launch(self._of(kernel, args)[0], min(-(-n // THREADS), BLOCKS_OF_SUMS), THREADS, *args, n, sums)

    def _of(self, kernel: Any, args: tuple[Any, ...]) -> tuple[Callable[..., None], int]:
        """The CUDA kernel for arguments of these types, and how many words it returns."""
        counts = tuple(len(a.array) if isinstance(a, Scalars) else 0 for a in args)
        signature = tuple(map(type_of, args))
        key = kernel, signature, counts
        if key not in _wrapped:
            expanded = [t for kind, count in zip(signature, counts, strict=True) for t in [kind] * max(1, count)]
            words = returned(kernel, tuple(expanded))
            _wrapped[key] = wrapped(kernel, counts, words), words
        return _wrapped[key]

    def launch(self, kernel: Callable[..., None], blocks: int, threads: int, *args: Any) -> None:
        """A kernel of the device, with arrays of the device among its arguments."""
        self.traffic.launches[kernel.__name__] = self.traffic.launches.get(kernel.__name__, 0) + 1
        self.device.launch(kernel, blocks, threads, *map(raw, args))


def raw(a: Any) -> Any:
    """What a device's kernels take."""
    if isinstance(a, Scalars):
        return a.array.raw
    return a.raw if isinstance(a, DeviceArray) else a


def rounded(size: int) -> int:
    """The size of the piece of memory that so many bytes get: one of 32 between two powers of two."""
    step = max(256, 1 << max(0, (size - 1).bit_length() - 6))
    return max(step, -(-size // step) * step)


def type_of(a: Any) -> Any:
    """Numba's type of an argument, of each of several numbers. ``ValueError`` for a slice that is not contiguous."""
    if isinstance(a, Scalars):
        return from_dtype(a.array.dtype)
    if not isinstance(a, DeviceArray):
        return typeof(a)  # type: ignore[no-untyped-call]
    if not a.contiguous:
        raise ValueError(f"a slice {a.dtype}{a.shape} that is not contiguous is an argument")
    return types.Array(from_dtype(a.dtype), a.ndim, "C")


def returned(kernel: Any, signature: tuple[Any, ...]) -> int:
    """How many words a kernel returns for arguments of these types; 0 for none."""
    signature = (*signature, types.intp, types.intp)
    kernel.compile(signature)
    result = kernel.overloads[signature].signature.return_type
    return len(result) if isinstance(result, types.BaseTuple) else 0


def narrowed(kernel: Any) -> Any:
    """A kernel with strips of one element, for ranges of one index: a thread needs no buffers for more."""
    f = kernel.py_func
    if "STRIP" not in f.__code__.co_names:
        return kernel
    return njit(FunctionType(f.__code__, {**f.__globals__, "STRIP": 1}, f.__name__))


def wrapped(kernel: Any, counts: Sequence[int], words: int) -> Callable[..., None]:
    """The CUDA kernel of a range kernel that returns ``words`` words. ``counts``: of each argument, 0, or how many
    numbers it is that are read from an array."""
    from syurmy.prover.kernels.field import add
    from syurmy.prover.kernels.tile import add_up

    name = f"{kernel.__module__.rpartition('.')[2]}_{kernel.__name__}"
    given = ", ".join(f"a{k}" for k in range(len(counts)))
    read = ", ".join(f"a{k}[{i}]" if c else f"a{k}" for k, c in enumerate(counts) for i in range(max(1, c)))
    lines = [f"def {name}({given}, n{', sums' if words else ''}):"]
    if words:
        lines += [f"    tile = cuda.shared.array(({words}, {THREADS}), uint64)", "    tid = cuda.threadIdx.x"]
        lines += [f"    s{w} = uint64(0)" for w in range(words)]
        lines += ["    for i in range(cuda.grid(1), n, cuda.gridsize(1)):", f"        r = kernel({read}, i, i + 1)"]
        lines += [f"        s{w} = add(s{w}, r[{w}])" for w in range(words)]
        lines += [f"    tile[{w}, tid] = s{w}" for w in range(words)]
        lines += [f"    add_up(tile, tid, {words})", f"    if tid < {words}:"]
        for k, half in enumerate(("& HALF", ">> uint64(32)")):
            lines.append(f"        cuda.atomic.add(sums, ({k}, tid), tile[tid, 0] {half})")
    else:
        lines += ["    i = cuda.grid(1)", "    if i < n:", f"        kernel({read}, i, i + 1)"]
    text = "\n".join(lines) + "\n"
    file = f"<{name} on a grid, {next(_numbers)}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file  # inspect finds it there
    scope: dict[str, Any] = {"cuda": cuda, "uint64": uint64, "kernel": narrowed(kernel), "add": add}
    scope |= {"HALF": np.uint64(2**32 - 1), "add_up": add_up}
    exec(compile(text, file, "exec"), scope)
    made: Callable[..., None] = scope[name]
    return calling(made, "kernel")


def calling(kernel: Callable[..., None], *names: str) -> Callable[..., None]:
    """A CUDA kernel that calls range kernels by these names (``gpu.local``)."""
    setattr(kernel, "ranged", {name: kernel.__globals__[name] for name in names})  # noqa: B010  (not known to mypy)
    return kernel
