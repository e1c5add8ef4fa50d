"""How the kernels are compiled: without the form that C would call, and no machine code for what only they call."""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

_compiled: Any = njit  # Numba's types leave out an option


class _Inside(JITCodeLibrary):
    """A function for others to contain: they are optimised with it, and machine code is made of them only."""

    codegen = property(lambda self: self)

    def set_env(self, name: str, environment: Any) -> None:
        """Is done where there is machine code."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class _Part(Compiler):
    def compile_extra(self, function: Callable[..., Any]) -> Any:
        context = self.state.targetctx
        self.state.library = _Inside(context.codegen(), function.__qualname__)
        result = super().compile_extra(function)
        entry = lambda *args: njit(function)(*args)  # noqa: E731  (Numba knows a compiled function by what Python calls)
        context.insert_user_function(entry, result.fndesc, [result.library])
        return result._replace(entry_point=entry)


class _Kernel(Compiler):
    def compile_extra(self, function: Callable[..., Any]) -> Any:
        result = super().compile_extra(function)
        for environment in result._find_referenced_environments():  # those of its parts
            result.library.codegen.set_env(environment.env_name, environment)
        return result


kernel = _compiled(nogil=True, cache=True, no_cfunc_wrapper=True, pipeline_class=_Kernel)
"""What the pool calls: kept between processes, holds no lock."""


def part(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """What kernels call: in the machine code of each of them. Called from Python, it is compiled anew each time."""
    if function is None:
        return lambda f: part(f, **options)
    options |= {"nogil": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": True, "pipeline_class": _Part}
    made = _compiled(**options)(function)

    def add_overload(result: Any) -> None:  # not where calls from Python look for machine code
        made.overloads[tuple(result.signature.args)] = result

    made.add_overload = add_overload
    return made
