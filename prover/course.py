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
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from syurmy.prover.field import NON_RESIDUE, U64, Ext, P, ext_list
from syurmy.prover.protocol.claims import Sweep
from syurmy.prover.protocol.weights import Weight, WeightSpace

if TYPE_CHECKING:
    from syurmy.prover.keys import ProvingKey

T = TypeVar("T")
MOST = 1 << 16  # elements and weights that are kept, some 300 bytes each

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


class Tape:
    """How elements were made, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[Recorded, Callable[..., Ext], tuple[Any, ...]]] = []
        self._records = False

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
        for out, how, of in self.steps[first:last]:
            if how is Ext.__mul__ and isinstance(of[1], Ext):  # two of three steps: twice as fast
                (a, b), (c, d) = (of[0].a, of[0].b), (of[1].a, of[1].b)
                out.a, out.b = (a * c + NON_RESIDUE * b * d) % P, (a * d + b * c) % P
            else:
                out.take(how(*of))


class RecordedSpace(WeightSpace):
    """Weights whose elements and arrays are worked out again."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape
        self._ahead: list[Weight] = []  # whose arrays were computed for others to start from

    def forget(self) -> None:
        super().forget()
        self._ahead.clear()
        self.tape.steps.clear()  # they refer to weights, and these to this space

    def known_sums(self) -> None:
        """Forget the sums that are not recorded."""
        self._sums = {k: x for k, x in self._sums.items() if isinstance(x, Recorded)}

    def release(self) -> None:
        """Drop all values. Weights stay, those of sums of weights for whom has them only: their keys are values."""
        for w in (*self._memo.values(), *self._ahead):
            w.__dict__.pop("array", None)
        self._sums, self._values, self._vectors = {}, {}, {}
        sums = [key for key in self._memo if isinstance(key, tuple) and key[0] == "linear"]
        for key in sums:
            self._memo[object()] = self._memo.pop(key)

    @property
    def count(self) -> int:
        return len(self._memo)

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
    """The claims of one proof at a time, and of the next one of the same plan. ``kept``: whether it may have one."""

    def __init__(self, kept: bool) -> None:
        self.tape = Tape()
        self.space = RecordedSpace(self.tape) if kept else WeightSpace()
        self.sweep = Sweep(self.space)
        self._points: dict[str, list[Recorded]] = {}
        self._steps: dict[str, tuple[int, int, list[Recorded], Any]] = {}

    def point(self, name: str, values: Sequence[Ext]) -> None:
        """Names a point."""
        self.space.points[name] = self._given(self._points.setdefault(name, []), values)

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

    @contextmanager
    def ending(self, pk: ProvingKey) -> Iterator[None]:
        """Around a proof: the next one under the key may go this course, none does where this one was broken off. What
        is recorded refers to itself, and would wait for the collector."""
        try:
            yield
        except BaseException:
            self.space.forget()
            raise
        self.end(pk)

    def end(self, pk: ProvingKey) -> None:
        """Keeps it, if it is short enough."""
        if not isinstance(self.space, RecordedSpace) or len(self.tape.steps) + self.space.count > MOST:
            self.space.forget()
            return
        self.space.release()
        _kept[pk] = self

    @staticmethod
    def of(pk: ProvingKey, kept: bool) -> Course:
        """A new one, or the one that no other proof is on."""
        return (_kept.pop(pk, None) if kept else None) or Course(kept)
