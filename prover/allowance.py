"""How many positions of a hiding matrix may still be opened before its random coefficients are used up: of the params
of a key, or of a committed tensor.

A commitment with T random coefficients per row hides its matrix while fewer than T of its columns are known. So every
proof takes its positions from the allowance *before* it is made: a file beside the key, which is locked, read, written
and brought to disk under the lock. A proof that fails has used its share all the same. A copy without a count is
refused; ``hand_over`` gives one a count of its own, and takes as much here. What nobody can see is that a key is copied
together with its count.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from syurmy.isa.errors import InputError

if TYPE_CHECKING:
    from syurmy.prover.protocol.budget import Opening


@dataclass(frozen=True)
class Subject:
    """What an allowance is of, in errors: ``whole`` is counted for, ``part`` hidden; ``renew``: what to do."""

    whole: str
    part: str
    renew: str
    more: str


KEY = Subject(
    "key",
    "the key's params",
    "make a new key with `syurmy-vm setup PROG --renew",
    " --proofs N`, for the N proofs that will be made with it and all of its copies",
)
TENSOR = Subject(
    "opening",
    "the committed tensor",
    "commit to the tensor anew with `syurmy-vm commit",
    " --proofs N`, for the N proofs that will be made with its opening and all copies of that",
)
SHARE = "`syurmy-vm share FILE COPY --proofs N`"
_RECORD = struct.Struct("<8s32sQ")
_MAGIC = b"SYURMYAL"
_THREADS = threading.Lock()  # locks of files exclude processes only
os.register_at_fork(before=_THREADS.acquire, after_in_parent=_THREADS.release, after_in_child=_THREADS.release)


class Allowance:
    """``limit`` positions for the key with this digest. The count lies in the file ``path``, or without one in a
    nameless temporary file, which forked processes share with this one."""

    def __init__(
        self, digest: bytes, limit: int, path: Path | None = None, used: int = 0, subject: Subject = KEY
    ) -> None:
        """With a path: the file that ``create`` made."""
        self.subject = subject
        self.digest = digest
        self.limit = limit
        self.path = path
        self._own: int | None = None
        if path is None:
            file = tempfile.TemporaryFile()  # noqa: SIM115 (kept as long as the key is)
            self._own = os.dup(file.fileno())
            file.close()
            os.pwrite(self._own, _RECORD.pack(_MAGIC, digest, used), 0)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # modules may be gone at the end of a process
        if (own := getattr(self, "_own", None)) is not None:
            close(own)

    def __copy__(self) -> Allowance:
        return self  # there is one count, whatever is copied around it

    def __deepcopy__(self, memo: object) -> Allowance:
        return self

    def __reduce__(self) -> tuple[type[Allowance], tuple[object, ...]]:
        if self.path is None:  # the number of a descriptor means another file elsewhere
            raise InputError(
                f"the {self.subject.whole} counts its proofs in memory and cannot be sent to another process",
                code="K155",
                help="save it, and load it there",
            )
        return Allowance, (self.digest, self.limit, self.path, 0, self.subject)

    def create(self, path: Path) -> None:
        """Count in a new file from now on, which only its owner may read; it replaces that of another key there.
        ``InputError`` K145 for a key that counts in a file already: two counts would allow twice as much."""
        if self.path is not None:
            if self.path.resolve() != path.resolve():
                raise InputError(
                    f"the {self.subject.whole}'s proofs are counted in {self.path} already",
                    code="K145",
                    help=f"a copy would not know of them; give it a part of them: {SHARE}",
                )
            return
        with self._locked() as fd:
            used = self._read(fd)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX)
                os.fchmod(descriptor, 0o600)
                os.pwrite(descriptor, _RECORD.pack(_MAGIC, self.digest, used), 0)
                os.ftruncate(descriptor, _RECORD.size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.path = path
            if self._own is not None:  # what a fork still counts there is of no use to it
                os.pwrite(self._own, _RECORD.pack(_MAGIC, self.digest, self.limit), 0)

    @property
    def used(self) -> int:
        """Positions taken so far."""
        with self._locked() as fd:
            return self._read(fd)

    def proofs(self, opening: Opening) -> int | None:
        """How many more proofs of a key, opened like this one, it is enough for; None where they open no params."""
        return (self.limit - self.used) // opening.matrices[1].queries if opening.counts.rows else None

    def take(self, positions: int) -> None:
        """Takes so many. ``InputError`` P180 where fewer are left."""
        with self._locked() as fd:
            used = self._read(fd)
            if used + positions > self.limit:
                left = f"{self.limit - used:,} of {self.limit:,} positions are left"
                raise InputError(
                    f"{self.subject.part} would not stay hidden: {left} to be opened, and this takes {positions:,}",
                    code="P180",
                    help=self.subject.renew + self.subject.more,
                )
            os.pwrite(fd, _RECORD.pack(_MAGIC, self.digest, used + positions), 0)
            os.fsync(fd)

    def hand_over(self, positions: int, path: Path) -> None:
        """Takes so many for a copy, which counts in a new file at ``path``. ``InputError`` P180 where fewer are
        left."""
        self.take(positions)
        Allowance(self.digest, self.limit, used=self.limit - positions, subject=self.subject).create(path)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        with _THREADS:
            fd = self._own if self.path is None and self._own is not None else self._open()
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX)
                yield fd
            finally:
                if fd != self._own:
                    os.close(fd)  # gives the lock back
                else:
                    fcntl.lockf(fd, fcntl.LOCK_UN)

    def _open(self) -> int:
        assert self.path is not None
        try:
            return os.open(self.path, os.O_RDWR)
        except OSError as e:
            raise self._lost(e.strerror or str(e)) from e

    def _read(self, fd: int) -> int:
        data = os.pread(fd, _RECORD.size + 1, 0)
        if len(data) != _RECORD.size:
            raise self._lost("it is damaged")
        magic, digest, used = _RECORD.unpack(data)
        if magic != _MAGIC or digest != self.digest:
            raise self._lost(f"it belongs to another {self.subject.whole}")
        return int(used)

    def _lost(self, why: str) -> InputError:
        return InputError(
            f"how many proofs were made with the {self.subject.whole} is not known: {self.path}: {why}",
            code="P181",
            help=f"without this count {self.subject.part} would not stay hidden. A copy gets one by {SHARE}; else"
            f" {self.subject.renew}`",
        )
