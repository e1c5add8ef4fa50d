"""The kernels' cache on disk: what Numba keeps between processes; a damaged or unwritable one does no harm.

A file is ``digest of the rest | pickle``. One that does not match its digest counts as absent: the kernel is compiled
again and the file replaced (machine code with a flipped bit must not run). A folder that cannot be written costs the
compiling in every process, and a warning once. Compiling itself is told to the logger ``syurmy.kernels`` at level INFO.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import logging
import pickle
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba.core import dispatcher
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile
from numba.core.environment import Environment, lookup_environment
from numba.core.runtime import _nrt_python  # type: ignore[attr-defined]

log = logging.getLogger("syurmy.kernels")
DIGEST = 32
counted = {"loaded": 0, "compiled": 0}  # of this process
_told: set[str] = set()
_started = _last = 0.0
EVERY = 10.0  # seconds between two notes on compiling


def sealed(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST).digest() + data


def opened(data: bytes) -> Any:
    """What ``sealed`` holds, unpickled; ValueError where it is damaged."""
    if sealed(data[DIGEST:]) != data:
        raise ValueError("the digest does not match")
    return _Unpickler(io.BytesIO(data[DIGEST:])).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _environment if name == "_rebuild_env" else super().find_class(module, name)


def _environment(module: str, constants: list[Any], name: str) -> Any:
    """The environment of a function in machine code, which reads its constants only, without importing the function's
    module (Numba's own take 27 ms)."""
    known = lookup_environment(name)
    if known is None:
        known = Environment(vars(sys.modules[module]) if module in sys.modules else {"__name__": module})
        known.consts[:] = constants
        known.env_name = name
        Environment._memo[name] = known
    return known


def usable(folder: Path) -> Path:
    """``folder`` if a file can be written there, otherwise one for this process alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as e:
        own = tempfile.TemporaryDirectory(prefix="syurmy-kernels-")
        atexit.register(own.cleanup)
        _unkept(folder, e)
        return Path(own.name)


def _unkept(folder: Path | str, e: OSError) -> None:
    if "unkept" not in _told:
        _told.add("unkept")
        log.warning("kernels cannot be kept in %s (%s): they are compiled again each time", folder, e.strerror or e)


class _File(IndexDataCacheFile):
    def _load_index(self) -> dict[Any, str]:
        try:
            version, stamp, overloads = opened(Path(self._index_path).read_bytes())
        except FileNotFoundError:
            return {}
        except Exception:  # a pickle may raise anything
            return {}
        return overloads if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        with self._open_for_write(self._index_path) as f:
            f.write(sealed(self._dump((self._version, self._source_stamp, overloads))))

    def _load_data(self, name: str) -> Any:
        try:
            return opened(Path(self._data_path(name)).read_bytes())
        except Exception:
            return None

    def _save_data(self, name: str, data: Any) -> None:
        with self._open_for_write(self._data_path(name)) as f:
            f.write(sealed(self._dump(data)))


@functools.cache
def _nothing() -> bytes:
    """LLVM's form of a module without functions."""
    return llvm.parse_assembly("").as_bitcode()  # type: ignore[no-any-return]


class _Results(CompileResultCacheImpl):
    """Machine code without LLVM's form of it, which takes longer to read than all the rest. Only a kernel that is
    compiled and calls this one needs it: it is read then."""

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        (name, kind, (machine, bitcode)), description, *rest = payload
        engine = target_context.codegen()._engine
        engine._defined_symbols |= {
            description.llvm_func_name,
            description.llvm_cpython_wrapper_name,
            description.llvm_cfunc_wrapper_name,
        }
        result = super().rebuild(target_context, ((name, kind, (machine, _nothing())), description, *rest))
        library = result.library
        library._shared_module = None

        def module() -> Any:
            if library._shared_module is None:
                library._shared_module = llvm.parse_bitcode(bitcode)
                engine._load_defined_symbols(library._shared_module)
            return library._shared_module

        library._get_module_for_linking = module
        return result


def _start_runtime() -> None:
    """Numba's functions in C as symbols, which machine code from the cache calls. Compiling needs some in LLVM's form
    as well, which Numba makes itself then."""
    if "runtime" not in _told:
        _told.add("runtime")
        for name, address in _nrt_python.c_helpers.items():
            llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


class KernelCache(FunctionCache):
    """What ``njit(cache=True)`` uses once ``install`` was called."""

    _impl_class = _Results

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        old = self._cache_file
        self._cache_file = _File(old._cache_path, Path(old._index_name).stem, old._source_stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """As Numba does, but for loading what only compiling needs: a third of a second that a process which finds
        all its kernels does without."""
        found = None
        try:
            _start_runtime()
            found = self._load_overload(sig, target_context)
        except Exception as e:  # written by a Numba or an LLVM that does not fit
            log.info("a kernel in the cache cannot be loaded: %s", e)
        if found is not None:
            counted["loaded"] += 1
            return found
        target_context.refresh()
        if "compiling" not in _told:
            global _started
            _told.add("compiling")
            _started = time.perf_counter()
            log.info("compiling kernels, once on this machine; it takes about half a minute")
        if "helpers" not in _told and self._py_func.__module__.startswith("syurmy.prover.kernels."):
            _told.add("helpers")
            from syurmy.prover.kernels import first, pool

            first.help_with(Path(self._cache_path), pool.THREADS)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        counted["compiled"] += 1
        _progress()
        try:
            super().save_overload(sig, data)
        except OSError as e:
            _unkept(self._cache_path, e)


def _progress() -> None:
    """A line now and then, so that a first run is not taken for one that hangs."""
    global _last
    now = time.perf_counter()
    if now - max(_last, _started) >= EVERY:
        _last = now
        log.info("%d kernels compiled in %.0f s so far", counted["compiled"], now - _started)


@atexit.register
def _told_at_the_end() -> None:
    if counted["compiled"]:
        log.info("%d kernels compiled in %.0f s", counted["compiled"], time.perf_counter() - _started)


def install() -> None:
    """From now on ``njit(cache=True)`` uses ``KernelCache`` for our functions; those of others stay with Numba's."""
    chosen = lambda f: (KernelCache if f.__module__.startswith("syurmy.") else FunctionCache)(f)  # noqa: E731
    setattr(dispatcher, "FunctionCache", chosen)  # noqa: B010  (Numba is untyped)
    compiled: Any = dispatcher.Dispatcher
    extend = compiled._compilation_chain_init_hook

    def unless_ours(kernel: Any) -> None:  # Numba looks for extensions among all packages: 13 ms
        if not isinstance(kernel._cache, KernelCache):
            extend(kernel)

    compiled._compilation_chain_init_hook = unless_ours
