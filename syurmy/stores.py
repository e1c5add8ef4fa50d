"""Proving keys under their digests in a shared folder or an object store (fsspec: ``/mnt/keys``, ``s3://bucket/keys``).

    STORE/DIGEST/program        the program's encoding
    STORE/DIGEST/params         its committed params (safetensors)
    STORE/DIGEST/key            the proving key's file
    STORE/DIGEST/contents.json  length and BLAKE3 of these, written last: without it nothing is there

Who may write there can say anything: the list is short, files have the lengths that it says and not a byte more is
read, and together they fit on the disk; a program is at most 1 GiB, params are as long as that program declares.

Who may read the store may read the weights and what hides them in proofs. The count of what may still be opened of a
key is not there: it stays beside the key that was published, and proofs ask for their share of it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3

from syurmy.files import written_whole
from syurmy.isa.encoding import decode, encode
from syurmy.isa.errors import InputError, SyurmyError

if TYPE_CHECKING:
    from syurmy.isa.program import Program
    from syurmy.prover.keys import ProvingKey

FORMAT = 1
CONTENTS, FILES = "contents.json", ("program", "params", "key")
LONGEST_LIST = 1 << 12  # bytes; it has three lengths and digests
LONGEST_PROGRAM = 1 << 30
BLOCK = 1 << 24  # bytes that are read at once
ROOM = 1 << 26  # bytes of the disk that are left for others
_FETCHING = threading.Lock()  # threads of one worker share its folder


@dataclass(frozen=True)
class Store:
    """A place for keys. ``url``: as fsspec has it."""

    url: str

    def publish(self, program: Program, key: Path, digest: bytes) -> None:
        """Put a key and its program there, unless they are, in the sizes that are told. Raises ``InputError`` X163."""
        from safetensors.numpy import save_file

        with self._reached() as (fs, root):
            folder = f"{root}/{digest.hex()}"
            if _is_whole(fs, folder):
                return
            with tempfile.TemporaryDirectory() as temporary:
                here = Path(temporary)
                (here / "program").write_bytes(encode(program))
                save_file(_committed(program), here / "params")
                (here / "key").symlink_to(key.resolve())
                contents = {"format": FORMAT, "files": {name: _measured(here / name) for name in FILES}}
                (here / CONTENTS).write_text(json.dumps(contents))
                for name in (*FILES, CONTENTS):
                    _put(fs, here / name, f"{folder}/{name}")

    def fetch(self, digest: bytes, into: Path) -> Path:
        """The folder below ``into`` with a key's files: copied there, and their digests compared, when it is first
        asked for. Raises ``InputError`` X163."""
        folder = into / digest.hex()
        with _FETCHING:
            if folder.is_dir():
                return folder
            into.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".fetched-", dir=into))
            try:
                with self._reached() as (fs, root):
                    from_there = f"{root}/{digest.hex()}"
                    listed = _listed(fs, from_there)
                    free = shutil.disk_usage(temporary).free - ROOM
                    if (needed := sum(size for size, _ in listed.values())) > free:
                        raise ValueError(f"the files of {from_there} have {needed:,} bytes, {free:,} are free here")
                    for name, (size, kept) in listed.items():
                        _get(fs, f"{from_there}/{name}", temporary / name, size)
                        if _measured(temporary / name) != [size, kept]:
                            raise ValueError(f"{from_there}/{name} is damaged: delete it and prove again")
                os.replace(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return folder

    def load(self, digest: bytes, into: Path) -> ProvingKey:
        """The key that is there under a digest, as ``fetch`` brings it, without a count of its own; files that are not
        those of this key do not stay. Raises ``InputError`` X163."""
        from safetensors import SafetensorError

        folder = self.fetch(digest, into)
        try:
            key = load(folder)
            if (found := key.verifying_key.digest()) != digest:
                raise ValueError(f"it is the key {found.hex()[:16]}…")
        except (SyurmyError, SafetensorError, KeyError, ValueError, TypeError, OSError) as e:
            shutil.rmtree(folder, ignore_errors=True)
            message = f"the store {self.url} has another key, or none, under {digest.hex()[:16]}…: {e}"
            raise InputError(message, code="X163", help="delete that folder there and prove again") from e
        return key

    @contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        """The file system and the path in it; what goes wrong there becomes ``InputError`` X163."""
        from fsspec.core import url_to_fs

        try:
            yield url_to_fs(self.url)
        except InputError:
            raise
        except Exception as e:  # every protocol has errors of its own
            reason = getattr(e, "strerror", None) or str(e) or type(e).__name__
            if isinstance(e, FileNotFoundError) and " " not in reason:  # some name the path and nothing else
                reason = f"there is no {reason}"
            help = "memory:// is in each process its own" if self.url.startswith("memory:") else ""
            raise InputError(f"the store {self.url} cannot be used: {reason}", code="X163", help=help) from e


def load(folder: Path) -> ProvingKey:
    """The key that was fetched into a folder, without a count of its own. Raises ``InputError``, and for files that are
    none of a store what reading them does."""
    from safetensors.numpy import load_file

    from syurmy.prover.keys import ProvingKey

    program = decode((folder / "program").read_bytes())
    committed = [p for p in program.params if p.committed]
    most = sum(p.type.size * p.type.dtype.bits // 8 + len(p.name) + 256 for p in committed) + 1024  # with their header
    if (size := (folder / "params").stat().st_size) > most:
        raise ValueError(f"its params have {size:,} bytes, those that the program declares at most {most:,}")
    program = replace(program, data={**program.data, **load_file(folder / "params")})
    return ProvingKey.load(folder / "key", program)


def _committed(program: Program) -> dict[str, Any]:
    """The committed params, as wide as they are declared."""
    return {
        p.name: np.array(program.data[p.name], f"<i{p.type.dtype.bits // 8}", order="C")  # one entry stays of no axis
        for p in program.params
        if p.committed
    }


def _measured(path: Path) -> list[Any]:
    """Length and BLAKE3 of a file."""
    h = blake3(max_threads=blake3.AUTO)
    h.update_mmap(path)
    return [path.stat().st_size, h.hexdigest()]


def _is_whole(fs: Any, folder: str) -> bool:
    """Whether a key is there, all its files as long as they were: what is damaged otherwise shows when it is read."""
    try:
        return all(fs.info(f"{folder}/{name}")["size"] == size for name, (size, _) in _listed(fs, folder).items())
    except (FileNotFoundError, ValueError):
        return False


def _listed(fs: Any, folder: str) -> dict[str, tuple[int, str]]:
    """Length and digest of each file of a key, as the list beside them says. Raises ``ValueError`` for what is none."""
    path = f"{folder}/{CONTENTS}"
    try:
        data = fs.cat_file(path, start=0, end=LONGEST_LIST + 1)
    except FileNotFoundError:
        raise FileNotFoundError(path) from None  # some say another thing
    damaged = ValueError(f"{path} is damaged: delete it and prove again")
    try:
        if len(data) > LONGEST_LIST:
            raise damaged
        contents = json.loads(data)
        version, found = contents["format"], {name: (size, kept) for name, (size, kept) in contents["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged from None
    if version != FORMAT:
        raise ValueError(f"{path} has format {str(version)[:20]}, this version of syurmy-vm reads {FORMAT}")
    whole = all(type(size) is int and size >= 0 and isinstance(kept, str) for size, kept in found.values())
    if not whole or tuple(found) != FILES or found["program"][0] > LONGEST_PROGRAM:
        raise damaged
    return found


def _get(fs: Any, source: str, target: Path, size: int) -> None:
    """Copies a file of this length. Raises ``ValueError`` where it has another, as soon as that shows."""
    with fs.open(source, "rb") as f, target.open("wb") as out:
        left = size
        while left and (data := f.read(min(left, BLOCK))):
            out.write(data)
            left -= len(data)
        if left or f.read(1):
            message = f"{source} has {'fewer' if left else 'more'} than the {size:,} bytes of its list, it is damaged"
            raise ValueError(f"{message}: delete it and prove again")


def _put(fs: Any, source: Path, target: str) -> None:
    """A file under its name or not at all: stores of objects do that by themselves, folders by renaming. (``makedirs``
    would make a bucket of any name that is free; where there are folders, ``put_file`` makes them.)"""
    if "file" not in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol):
        fs.put_file(str(source), target)
        return
    fs.makedirs(fs._parent(target), exist_ok=True)
    try:
        with written_whole(Path(target), mode=0o600) as (temporary,):  # its owner's alone
            shutil.copyfile(source, temporary)
    except InputError as e:
        raise OSError(e.message) from e  # it is the store that cannot be used
