"""``dataclass`` as in the standard library, in a third of the time: that one compiles up to six functions for a class,
and a process that verifies one proof would spend a tenth of its time on a hundred classes. Here the constructor alone
is compiled; the other methods are common to all classes. And ``cached_property`` as in Python 3.12 and later, which
takes no lock: two threads that ask at once may both work a value out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from functools import cached_property as cached_property
else:

    class cached_property:
        """The standard descriptor."""

        def __init__(self, work: Callable[[Any], Any]) -> None:
            self.work, self.__doc__ = work, work.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self.name = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__[self.name] = self.work(instance)
            return value

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, repr: bool = True, init: bool = True
    ) -> Any:
        """The standard decorator with these options."""

        def made(cls: type) -> type:
            before = set(cls.__dict__)
            dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
            fields = dataclasses.fields(cls)
            methods: dict[str, Any] = {}
            if init:
                methods["__init__"] = _constructor(cls, fields, frozen)
            if repr:
                methods["__repr__"] = _shown(tuple(f.name for f in fields if f.repr))
            if eq:
                compared = [f.name for f in fields if f.compare]
                methods["__eq__"], methods["__hash__"] = _compared(compared)
                if not frozen:
                    methods["__hash__"] = None
            if frozen:
                methods |= {"__setattr__": _frozen, "__delattr__": _frozen}
            for name, method in methods.items():
                if name not in before or (name == "__hash__" and cls.__dict__[name] is None):
                    setattr(cls, name, method)
            return cls

        return made if cls is None else made(cls)


def _constructor(cls: type, fields: tuple[Field[Any], ...], frozen: bool) -> Any:
    """Sets the fields, those with defaults if they are given, and calls ``__post_init__``."""
    known: dict[str, Any] = {"MISSING": MISSING, "__name__": cls.__module__}
    given, lines = [], ["_d = self.__dict__"] if frozen else []
    for f in fields:
        name = f.name
        value = name
        if f.default_factory is not MISSING:
            known[f"_f_{name}"] = f.default_factory
            value = f"_f_{name}() if {name} is MISSING else {name}" if f.init else f"_f_{name}()"
            given += [f"{name}=MISSING"] * f.init
        elif f.default is not MISSING:
            if not f.init:
                continue  # the class has it
            known[f"_v_{name}"] = f.default
            given.append(f"{name}=_v_{name}")
        elif f.init:
            given.append(name)
        else:
            continue
        lines.append(f"_d[{name!r}] = {value}" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    body = "\n ".join(lines or ["pass"])
    made: dict[str, Any] = {}
    exec(f"def __init__(self, {', '.join(given)}):\n {body}", known, made)
    made["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
    return made["__init__"]


def _shown(names: tuple[str, ...]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _compared(names: list[str]) -> tuple[Callable[[Any, object], Any], Callable[[Any], int]]:
    values: Callable[[Any], Any] = attrgetter(*names) if names else lambda self: ()

    def __eq__(self: Any, other: object) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(values(self))

    return __eq__, __hash__


def _frozen(self: Any, name: str, value: object = None) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")
