"""How the kernels are compiled: without the form that C would call, a tenth of the time that compiling takes."""

from typing import Any

from numba import njit

_compiled: Any = njit  # Numba's types leave out an option

kernel = _compiled(nogil=True, cache=True, no_cfunc_wrapper=True)
"""What the pool calls: kept between processes, holds no lock."""

part = _compiled(nogil=True, no_cfunc_wrapper=True)
"""What kernels call: in the machine code of each of them."""
