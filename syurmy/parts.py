"""What is kept of a bundle, or of its key's certificate, while it is made: ``FILE.parts/``, which only its owner may
read.

    job.json    which key, which run (a salted digest of the inputs): of another run nothing is taken
    N.proof     the proof of segment N, as soon as it is made and verified; of a key's certificate, that of segment N
    N.opening   the commitment to link N, with the secrets that open it; N.opening.used: how often it was opened

Each proof is written whole, so an interrupted run goes on from the last one that was finished, with fresh randomness
for those that were not. Commitments are what the finished proofs name, so they are kept too, and each proof that is
begun takes its share of what may be opened of them before it is made, finished or not. When the bundle is written, the
folder goes.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from syurmy.files import read_bytes, write_whole
from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError
from syurmy.prover.tensors import TensorOpening

FORMAT = 1
OTHERS = "prove that run to its end, --proof FILE writes this one elsewhere, --force drops them"
JOB, LOCK = "job.json", "lock"
SALT = 32


def folder_of(target: Path) -> Path:
    """The folder of the parts of a bundle that will be written to ``target``."""
    return target.with_name(target.name + ".parts")


class Parts:
    """The folder, for one process at a time. Raises ``InputError`` F131 where it is of another run, unless ``force``
    lets that go, F132 where another process works in it. ``others``: what can be done about F131."""

    def __init__(
        self, folder: Path, key: bytes, inputs: Mapping[str, npt.ArrayLike], openings: Mapping[str, TensorOpening],
        force: bool = False, others: str = OTHERS,
    ) -> None:  # fmt: skip
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as e:
            raise InputError(f"cannot write {folder}: {e.strerror or e}", code="F120") from e
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._lock)
            raise InputError(f"another process is proving in {folder}", code="F132", help="wait for it") from e
        try:
            if not self._is_of(key, inputs, openings):
                if (folder / JOB).exists() and any(folder.glob("*.proof")) and not force:
                    raise InputError(
                        f"{folder} holds the finished parts of another run, or of another key's",
                        code="F131",
                        help=others,
                    )
                self._clear()
                salt = os.urandom(SALT)
                run = run_digest(salt, inputs, openings).hex()
                job = {"format": FORMAT, "key": key.hex(), "salt": salt.hex(), "run": run}
                write_whole(folder / JOB, json.dumps(job).encode(), mode=0o600)
        except BaseException:
            os.close(self._lock)
            raise

    def _is_of(self, key: bytes, inputs: Mapping[str, npt.ArrayLike], openings: Mapping[str, TensorOpening]) -> bool:
        try:
            job = json.loads((self.folder / JOB).read_text())
            digest = run_digest(bytes.fromhex(job["salt"]), inputs, openings)
            return (job["format"], job["key"], job["run"]) == (FORMAT, key.hex(), digest.hex())
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False

    def proof(self, k: int) -> bytes | None:
        """The kept proof of segment ``k``, if there is one."""
        path = self.folder / f"{k}.proof"
        return read_bytes(path) if path.exists() else None

    def kept(self, count: int) -> int:
        """How many of the first ``count`` segments have one."""
        return sum((self.folder / f"{k}.proof").exists() for k in range(count))

    def keep(self, k: int, proof: bytes) -> None:
        """Keep a proof that was verified."""
        write_whole(self.folder / f"{k}.proof", proof, mode=0o600)

    def opening(self, number: int) -> Path:
        """Where the opening of a link is kept."""
        return self.folder / f"{number}.opening"

    def finish(self) -> None:
        """The bundle is written: what was kept for it goes."""
        self._clear()
        (self.folder / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # somebody else's files are in it
            self.folder.rmdir()

    def _clear(self) -> None:
        """Removes what this module wrote, and was writing when a process was killed, the job first: what is left of it
        is never taken for a whole."""
        own = [p for p in self.folder.iterdir() if p.suffix in (".proof", ".opening", ".used", ".tmp")]
        for path in (self.folder / JOB, *own):
            path.unlink(missing_ok=True)

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._lock)  # gives it back


@dataclass(frozen=True)
class Share:
    """What is kept of one step: proofs and openings from these numbers on."""

    parts: Parts
    proofs: int
    openings: int

    def proof(self, k: int) -> bytes | None:
        """As ``Parts``."""
        return self.parts.proof(self.proofs + k)

    def keep(self, k: int, proof: bytes) -> None:
        """As ``Parts``."""
        self.parts.keep(self.proofs + k, proof)

    def opening(self, number: int) -> Path:
        """As ``Parts``."""
        return self.parts.opening(self.openings + number)


def run_digest(salt: bytes, inputs: Mapping[str, npt.ArrayLike], openings: Mapping[str, TensorOpening]) -> bytes:
    """What tells two runs apart, and nothing to who has not the salt."""
    h = blake3(b"syurmy-vm parts" + salt)
    for name, value in sorted(inputs.items()):
        x: I64 = np.ascontiguousarray(np.asarray(value, np.int64))
        h.update(repr((name, x.shape)).encode())
        h.update(x.tobytes())
    for name, opening in sorted(openings.items()):
        h.update(repr(name).encode() + opening.commitment.digest())
    return h.digest()
