"""What a proof's claims come to, worked out once per key: which terms there are, which weights they have and where they
end follows from the program; challenges give values only.

The sweeps of a key's first proof compute with elements that say how they were made (``Recorded``). A later proof works
these elements out again from its own challenges, in the same order, and has the same terms with the new values; arrays
of weights go after every proof. Challenges are all that goes in: nothing that is kept depends on a secret.

Terms are merged where coefficients are equal. Elements that are equal in the first proof and in no other would be a
coincidence among random elements of K: later proofs would then be rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.prover.field import U64, Ext, ext_array, ext_list
from syurmy.prover.kernels.elements import steps_kernel
from syurmy.prover.kernels.mle import eq_vectors
from syurmy.prover.kernels.pool import for_ranges
from syurmy.prover.protocol.claims import Sweep
from syurmy.prover.protocol.weights import Weight, WeightSpace

if TYPE_CHECKING:
    from syurmy.prover.keys import ProvingKey
    from syurmy.prover.protocol.plan import Plan

T = TypeVar("T")
MOST = 1 << 16  # elements and weights that are kept, some 300 bytes each
SHORT = 1 << 12  # entries of an eq vector that is computed with others of its point

_kept: WeakKeyDictionary[ProvingKey, Course] = WeakKeyDictionary()


class Recorded(Ext):
    """An element that ``tape`` works out again; what is computed with it while that records is one, too."""

    __slots__ = ("tape",)

    def __init__(self, value: Ext, tape: Tape) -> None:
        self.a, self.b, self.tape = value.a, value.b, tape

    def take(self, value: Ext) -> None:
        self.a, self.b = value.a, value.b

    def __add__(self, o: Ext | int) -> Ext:
        return self.tape.made(Ext.__add__, self, o)

    __radd__ = __add__

    def __sub__(self, o: Ext | int) -> Ext:
        return self.tape.made(Ext.__sub__, self, o)

    def __rsub__(self, o: Ext | int) -> Ext:
        return self.tape.made(_from, self, o)

    def __neg__(self) -> Ext:
        return self.tape.made(_from, self, 0)

    def __mul__(self, o: Ext | int) -> Ext:
        return self.tape.made(Ext.__mul__, self, o)

    __rmul__ = __mul__

    def inverse(self) -> Ext:
        return self.tape.made(Ext.inverse, self)

    def __pow__(self, e: int) -> Ext:
        return self.tape.made(Ext.__pow__, self, e)


def _from(x: Ext, o: Ext | int) -> Ext:
    """o - x."""
    return Ext.__sub__(Ext.of(o), x)


Step = tuple[Recorded, Callable[..., Ext], tuple[Any, ...]]
_CODES: dict[Callable[..., Ext], int] = {Ext.__add__: 0, Ext.__sub__: 1, _from: 2, Ext.__mul__: 3}  # of a kernel
FEWEST = 6  # steps that are worth a call


class Tape:
    """How elements were made, in order."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._runs: dict[tuple[int, int], list[Callable[[], None]]] = {}
        self._records = False

    def forget(self) -> None:
        self.steps.clear()
        self._runs.clear()

    @contextmanager
    def recording(self) -> Iterator[None]:
        self._records = True
        try:
            yield
        finally:
            self._records = False

    def made(self, how: Callable[..., Ext], *of: Any) -> Ext:
        """``how(*of)``, to be worked out again."""
        if not self._records:
            return how(*of)
        self._records = False  # what goes on inside is one step
        try:
            value = how(*of)
        finally:
            self._records = True
        if value is not NotImplemented:
            value = Recorded(value, self)
            self.steps.append((value, how, of))
        return value

    def again(self, first: int, last: int) -> None:
        """Works out the elements of these steps."""
        if (first, last) not in self._runs:
            self._runs[first, last] = _runs(self.steps[first:last])
        for run in self._runs[first, last]:
            run()


class _Run:
    """Steps that are sums, differences and products of elements, all in one call."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.given: list[Ext] = []
        at: dict[int, int] = {}
        made = {id(out) for out, _, _ in steps}

        def place(x: Any) -> int:
            if isinstance(x, int):
                x = Ext(x)
            elif id(x) in at:
                return at[id(x)]
            assert id(x) not in made, "a step before those it is made of"
            at[id(x)] = len(self.given)
            self.given.append(x)  # and keeps it, so that no other has its number
            return at[id(x)]

        rows: list[tuple[int, ...]] = []
        for out, how, of in steps:
            rows.append((_CODES[how], *map(place, of)))
            made.discard(id(out))
            at[id(out)] = -len(rows)  # until it is known how many are given
        self.made = [out for out, _, _ in steps]
        behind = len(self.given) - 1
        self.rows = np.array([(how, *(behind - i if i < 0 else i for i in of)) for how, *of in rows], np.int64)

    def __call__(self) -> None:
        count = len(self.given)
        values = np.empty((count + len(self.rows), 2), np.uint64)
        values[:count] = [(x.a, x.b) for x in self.given]
        for_ranges(steps_kernel, 1, values, self.rows, count)
        for out, (a, b) in zip(self.made, values[count:].tolist(), strict=True):
            out.a, out.b = a, b


def _runs(steps: Sequence[Step]) -> list[Callable[[], None]]:
    """Their work, in order."""
    out: list[Callable[[], None]] = []
    for simple, run in groupby(steps, lambda step: step[1] in _CODES):
        if simple and len(found := list(run)) >= FEWEST:
            out.append(_Run(found))
        else:
            out += [partial(_step, *step) for step in (found if simple else run)]
    return out


def _step(out: Recorded, how: Callable[..., Ext], of: tuple[Any, ...]) -> None:
    out.take(how(*of))


class RecordedSpace(WeightSpace):
    """Weights whose elements and arrays are worked out again."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape
        self._ahead: list[Weight] = []  # whose arrays were computed for others to start from
        self._eqs: dict[
            str, tuple[list[Weight], I64]
        ] = {}  # by point: eq vectors of its coordinates that were asked for

    def forget(self) -> None:
        super().forget()
        self._ahead.clear()
        self._eqs.clear()
        self.tape.forget()  # steps refer to weights, and these to this space

    def known_sums(self) -> None:
        """Forget the sums that are not recorded."""
        self._sums = {k: x for k, x in self._sums.items() if isinstance(x, Recorded)}

    def know(self, name: str) -> None:
        """Computes all short eq vectors of a point that the first proof needed, in one call."""
        if name not in self._eqs:
            return
        found, rows = self._eqs[name]
        out = np.empty(2 * sum(w.size for w in found), np.uint64)
        for_ranges(eq_vectors, len(found), ext_array(self.points[name]), rows, out, min_chunk=len(found))
        for w, (_, _, size, at) in zip(found, rows.tolist(), strict=True):
            w.__dict__["array"] = out[at : at + 2 * size].reshape(2, size)

    def _find_eqs(self) -> None:
        for name in self.points:
            found = [
                w
                for key, w in self._memo.items()
                if isinstance(key, tuple) and key[0] == "eq" and "array" in w.__dict__ and w.size <= SHORT
                if w.point and all(n == name and i == w.point[0][1] + k for k, (n, i) in enumerate(w.point))
            ]
            if found:
                ends = accumulate((2 * w.size for w in found), initial=0)
                rows = [
                    (w.point[0][1], len(w.point), w.size, at) for w, at in zip(found, ends, strict=False) if w.point
                ]
                self._eqs[name] = found, np.array(rows, np.int64)

    def release(self) -> None:
        """Drop all values. Weights stay, those of sums of weights for whom has them only: their keys are values."""
        if not self._eqs:
            self._find_eqs()
        for w in (*self._memo.values(), *self._ahead):
            w.__dict__.pop("array", None)
        self._sums, self._values, self._vectors = {}, {}, {}
        sums = [key for key in self._memo if isinstance(key, tuple) and key[0] == "linear"]
        for key in sums:
            self._memo[object()] = self._memo.pop(key)

    def _total(self, w: Weight) -> Ext:
        return self.tape.made(super()._total, w)

    def _entries(self, w: Weight) -> list[Ext]:
        return [self.tape.made(partial(_entry, w, i)) for i in range(w.size)]

    def _computed(self, w: Weight) -> Weight:
        out = Weight(w.key, w.dims, lambda: w.array, w.point)
        self._ahead.append(w)
        self.tape.made(partial(_array, out))
        return out


def _entry(w: Weight, i: int) -> Ext:
    return ext_list(w.array.reshape(2, -1)[:, i : i + 1])[0]


def _array(w: Weight) -> Ext:
    """Computes it; the element is of no use."""
    array: U64 = w.array
    return Ext(array.ndim)


class Course:
    """The claims of one proof at a time, and of the next one of the same plan. ``kept``: whether it may have one;
    ``batch``: how many runs a proof is of; ``plan``: of a batch, for the next one of so many."""

    def __init__(self, kept: bool, batch: int = 1) -> None:
        self.batch = batch
        self.plan: Plan | None = None
        self.tape = Tape()
        self.space = RecordedSpace(self.tape) if kept else WeightSpace()
        self.sweep = Sweep(self.space)
        self._points: dict[str, list[Recorded]] = {}
        self._steps: dict[str, tuple[int, int, list[Recorded], Any]] = {}
        self._kept: dict[str, Any] = {}

    def point(self, name: str, values: Sequence[Ext]) -> None:
        """Names a point."""
        self.space.points[name] = self._given(self._points.setdefault(name, []), values)
        if isinstance(self.space, RecordedSpace):
            self.space.know(name)

    def _given(self, known: list[Recorded], values: Sequence[Ext]) -> list[Ext]:
        if not isinstance(self.space, RecordedSpace):
            return list(values)
        if not known:
            known += [Recorded(v, self.tape) for v in values]
        for x, v in zip(known, values, strict=True):
            x.take(v)
        return list(known)

    def step(self, name: str, challenges: Sequence[Ext], work: Callable[..., T]) -> T:
        """``work(*challenges)``, which depends on these, on the points and the steps before it alone."""
        if not isinstance(self.space, RecordedSpace):
            return work(*challenges)
        if name in self._steps:
            first, last, given, found = self._steps[name]
            self._given(given, challenges)
            self.tape.again(first, last)
            out: T = found
            return out
        first, given = len(self.tape.steps), []
        self._given(given, challenges)
        self.space.known_sums()
        with self.tape.recording():
            out = work(*given)
        self._steps[name] = first, len(self.tape.steps), given, out
        return out

    def kept(self, name: str, make: Callable[[], T]) -> T:
        """What follows from the steps' results and the program alone, not from values: of all proofs the same."""
        if not isinstance(self.space, RecordedSpace):
            return make()
        if name not in self._kept:
            self._kept[name] = make()
        found: T = self._kept[name]
        return found

    @contextmanager
    def forgotten_if_broken_off(self) -> Iterator[None]:
        """Around a proof. What is recorded refers to itself, and would wait for the collector."""
        try:
            yield
        except BaseException:
            self.space.forget()
            raise

    def end(self, pk: ProvingKey, kept: bool = True) -> None:
        """Of a proof: the next one under the key may go this course, if it is ``kept`` and short enough."""
        if not (kept and isinstance(self.space, RecordedSpace)) or len(self.tape.steps) + self.space.count > MOST:
            self.space.forget()
            return
        self.space.release()
        _kept[pk] = self

    @staticmethod
    def of(pk: ProvingKey, kept: bool, batch: int = 1) -> Course:
        """A new one, or the one that no other proof is on. A key has that of its last proof, of one batch size."""
        found = _kept.pop(pk, None) if kept else None
        return found if found is not None and found.batch == batch else Course(kept, batch)
