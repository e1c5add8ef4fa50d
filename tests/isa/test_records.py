"""Our ``dataclass`` and ``cached_property`` do what the standard library's do."""

import dataclasses
import functools

import pytest

from syurmy.isa import records


def classes(dataclass, cached_property):
    @dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2
        tags: list[str] = dataclasses.field(default_factory=list, compare=False, repr=False)

        @cached_property
        def total(self):
            """Their sum."""
            return self.x + self.y

    @dataclass
    class Counted:
        start: int
        of: dict[str, int] = dataclasses.field(default_factory=dict)
        last: int = dataclasses.field(init=False, default=0)
        seen: list[int] = dataclasses.field(init=False, default_factory=list)

        def __post_init__(self):
            self.last = self.start

    @dataclass(eq=False)
    class Same(Counted):
        more: str = "m"

    @dataclass(frozen=True, init=False, eq=False)
    class Own:
        x: int

        def __init__(self):
            self.__dict__["x"] = 5

        def __hash__(self):
            return 7

    return Point, Counted, Same, Own


def seen(made):
    Point, Counted, Same, Own = made
    a, b = Point(1), Point(x=1, y=2, tags=["t"])
    out = [a == b, hash(a) == hash(b), {a: 1}[b], a != Point(2), a == (1, 2), a.tags is Point(1).tags, a.total]
    out += [
        repr(b),
        dataclasses.replace(a, y=9).total,
        [f.name for f in dataclasses.fields(Point)],
        Point.total.__doc__,
    ]
    c = Counted(3)
    c.start = 4
    out += [repr(c), c == Counted(4), c.last, Counted.__hash__, repr(Same(1, {"k": 2}, "n")), Same(1) == Same(1)]
    out += [repr(Own()), hash(Own()), Point.__match_args__]
    for wrong in (lambda: Point(), lambda: Counted(1, last=2), lambda: setattr(a, "x", 3), lambda: delattr(a, "x")):
        with pytest.raises((TypeError, dataclasses.FrozenInstanceError)) as e:
            wrong()
        out.append(type(e.value))
    return out


def test_they_are_those_of_the_standard_library():
    ours = seen(classes(records.dataclass, records.cached_property))
    assert ours == seen(classes(dataclasses.dataclass, functools.cached_property))


def test_a_constructor_names_its_module():
    Point = classes(records.dataclass, records.cached_property)[0]
    assert Point.__init__.__globals__["__name__"] == __name__
