"""Proving and verifying keys.

The verifying key carries the program (its canonical encoding) and the root of the committed params. Bounds of
params are fields of the program and are checked here, by set-up: who did not run it trusts the key's maker on that,
and on the params matrix being encoded as this module encodes it. Where nothing is hidden, anyone who has the params can
run set-up again and compare keys; a key that hides params is another one every time.

A proving key's file: magic, manifest (JSON), then arrays at 64-byte offsets, mapped into memory when it is loaded and
never copied. The manifest has the digest of the params that the key was made for and of its rows of integers, so that
neither is laid out anew to be compared. Of tree and codeword a load reads nothing: a proof from damaged ones is
rejected; a large codeword is not in the file where a proof can do without (prover/commitment.py).

Where something is hidden and there are params, the key holds their random coefficients: these and the params are
secret, so only its owner may read the file. Beside it lies ``PROG.pk.used``, the count of what was opened of them
(prover/allowance.py).
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from blake3 import blake3

from syurmy import costs
from syurmy.isa.arrays import Array, Integers
from syurmy.isa.encoding import encode
from syurmy.isa.errors import InputError
from syurmy.isa.path import DEFAULT_MAX_STEPS, MAX_STEPS
from syurmy.isa.program import Program
from syurmy.isa.summary import Summary
from syurmy.isa.wellformed import l1_bound
from syurmy.prover.allowance import Allowance
from syurmy.prover.commitment import Commitment, ParamsCommitment, commit_params, in_rows, kept
from syurmy.prover.kernels.matrix import IntegerMatrix
from syurmy.prover.protocol.description import Description, wrong
from syurmy.prover.protocol.key import MAX_PROOFS, PROTOCOL_VERSION, Mode, VerifyingKey, refuse_version
from syurmy.prover.protocol.layout import MatrixLayout
from syurmy.prover.protocol.merkle import DIGEST
from syurmy.prover.protocol.plan import Plan, fixed_plan, params_layout
from syurmy.prover.secrets import Secrets
from syurmy.prover.trees import ShortTree

PK_MAGIC = b"SYURMYPK"
ALIGN = 64
LONGEST_MANIFEST = 1 << 24  # bytes
DAMAGE = OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError  # raised of a file


@dataclass(frozen=True, eq=False, repr=False)
class ProvingKey(Summary):
    """A program with its params, its plan, and the params' commitment; ``allowance`` where that hides them."""

    program: Program
    plan: Plan | None  # where the path does not depend on data
    verifying_key: VerifyingKey
    params: ParamsCommitment | None
    allowance: Allowance | None = None

    @property
    def mode(self) -> Mode:
        return self.verifying_key.mode

    def summary(self) -> list[tuple[str, str]]:
        return self.verifying_key.summary()

    def save(self, path: str | Path) -> None:
        """Write one file: complete under its name, or not there; and, where params are hidden, the count of what was
        opened of them to ``PATH.used`` before it, so that there is no key without it."""
        from syurmy.files import written_whole

        with written_whole(Path(path), mode=self._readers) as (temporary,):
            self.write(temporary, used_path(Path(path)))

    @property
    def _readers(self) -> int:
        """Who may read the file."""
        return 0o600 if self.mode.hiding else 0o644

    def write(self, path: Path, used: Path) -> None:
        """``save`` into a file that is there, and its count to ``used``."""
        arrays: dict[str, Array] = {}
        if self.params is not None:
            assert isinstance(self.params.commitment.tree, ShortTree)
            arrays = {"leaves": self.params.commitment.tree.leaves, "above": self.params.commitment.tree.above}
            if self.params.commitment.codeword is not None:
                arrays["codeword"] = self.params.commitment.codeword
            arrays |= {f"integers {i}": rows for i, rows in enumerate(self.params.integers.groups)}
            if self.params.commitment.tail is not None:
                arrays["tail"] = self.params.commitment.tail
        if self.allowance is not None:
            self.allowance.create(used)
        with path.open("r+b") as f:
            os.fchmod(f.fileno(), self._readers)  # before there is anything to read
            _write(f, self, arrays)

    @staticmethod
    def load(path: str | Path, program: Program, max_steps: int | None = None) -> ProvingKey:
        """The key that ``save`` wrote for this program, these params and this step limit (any unless given).

        Raises ``InputError`` if the file is damaged or belongs to others.
        """
        recorded, arrays = _read(Path(path))
        if max_steps is not None and max_steps != recorded.max_steps:
            raise InputError(f"the proving key was made for runs of at most {recorded.max_steps} steps", code="K131")
        layout = params_layout(program, recorded.mode)
        params = allowance = root = None
        if layout is not None:
            shape = layout.shape
            groups: list[Array] = []
            while (rows := arrays.pop(f"integers {len(groups)}", None)) is not None:
                groups.append(rows)
            expected: dict[str, tuple[np.dtype[Any], tuple[int, int]]] = {
                "leaves": (np.dtype(np.uint8), (shape.n, DIGEST)),
                "above": (np.dtype(np.uint8), ShortTree.shape_above(shape.n)),
            }
            if "codeword" in arrays:
                expected["codeword"] = np.dtype(np.uint64), (shape.n, shape.height)
            if shape.tail:
                expected["tail"] = np.dtype(np.uint64), (shape.tail, shape.height)
            found = {name: (a.dtype, a.shape) for name, a in arrays.items()}
            if found != expected or params_digest(program) != recorded.params:
                raise InputError("the proving key was made for other params", code="K131")
            if _integers_digest(groups) != recorded.integers:
                raise _damaged(Path(path))
            integers = IntegerMatrix.of(groups)
            if integers.shape != (shape.rows, shape.cols):
                raise InputError("the proving key was made for other params", code="K131")
            tree = ShortTree(arrays["leaves"], arrays["above"])
            commitment = Commitment(shape, arrays.get("codeword"), tree, None, arrays.get("tail"), integers)
            params = ParamsCommitment(commitment, integers)
            root = tree.root
        description = Description.from_bytes(recorded.description)
        vk = VerifyingKey(encode(program), root, description, recorded.max_steps, recorded.mode)
        if vk.digest() != recorded.digest:
            raise InputError("the proving key was made for another program", code="K131")
        if layout is not None and layout.shape.tail:
            allowance = Allowance(recorded.digest, layout.shape.tail - 1, used_path(Path(path)))
        return ProvingKey(program, fixed_plan(program, recorded.max_steps, recorded.mode), vk, params, allowance)


def leaves(path: Path) -> int:
    """How many lookup leaves a proof of one run under the proving key in a file has, to prepare for it; 0 where that is
    not known. Nothing is checked."""
    try:
        with path.open("rb") as f:
            length = struct.unpack_from("<Q", f.read(16), 8)[0]
            return int(json.loads(f.read(min(length, LONGEST_MANIFEST))).get("leaves", 0))
    except (*DAMAGE, struct.error):
        return 0


def used_path(key: Path) -> Path:
    """Beside a proving key: the count of what was opened of its params."""
    return key.with_name(key.name + ".used")


def counted(path: Path) -> tuple[Allowance | None, int]:
    """The allowance of the proving key in a file, None where it hides no params, and how many proofs it is for. Raises
    ``InputError`` if the file is damaged."""
    recorded, arrays = _read(path)
    if "tail" not in arrays:
        return None, recorded.mode.proofs
    return Allowance(recorded.digest, len(arrays["tail"]) - 1, used_path(path)), recorded.mode.proofs


def setup(
    program: Program,
    mode: Mode | None = None,
    *,
    description: Description | None = None,
    max_steps: int = DEFAULT_MAX_STEPS,
    single: bool = False,
) -> ProvingKey:
    """Check the bounds of params, commit to them, make the keys, for runs of at most ``max_steps`` instructions.
    ``description``: what the key says to people; ``mode``: what proofs hide, by default all that is not public. Every
    hiding key with params is another one: their commitment is randomised. ``single``: the key is for processes that
    prove once (``commitment.kept``).

    Raises ``InputError`` where a param breaks a bound that the program declares, or the description is of another.
    """
    if not 1 <= max_steps <= MAX_STEPS:
        raise InputError(f"a limit of {max_steps} steps is not possible", code="K144", help=f"1 to {MAX_STEPS} are")
    check_bounds(program)
    mode = Mode.of(program) if mode is None else mode
    described = description or Description()
    described.check(program)
    plan = fixed_plan(program, max_steps, mode)
    for node in plan.system.publics if plan is not None else ():
        if node.source == "output" and (problem := described.output(node.name).problem(node.shape[1:])):
            raise wrong(problem)
    layout = params_layout(program, mode)
    params = allowance = None
    if layout is not None:
        secrets = None
        if mode.hiding:  # two keys never share coefficients, as each counts what is opened of its own
            told = [encode(program), repr((mode, max_steps)).encode(), described.to_bytes()]
            secrets = Secrets.fresh([*told, params_digest(program)])
        seconds = 0.0 if plan is None or single else costs.proof_seconds(plan)
        keep = kept(layout.shape, seconds, single)
        params = commit_params(params_matrix(program, layout), layout.shape, secrets, keep)
    root = params.commitment.root if params is not None else None
    vk = VerifyingKey(encode(program), root, described, max_steps, mode)
    if layout is not None and layout.shape.tail:
        allowance = Allowance(vk.digest(), layout.shape.tail - 1)
    return ProvingKey(program, plan, vk, params, allowance)


def check_bounds(program: Program) -> None:
    """Every param has its shape, lies in its interval and keeps its recorded L1 bounds."""
    for p in program.params:
        if p.name not in program.data:
            raise InputError(f"param '{p.name}' has no values", code="K140", help="assemble the program with its data")
        values = program.data[p.name]
        if values.shape != p.type.shape:
            raise InputError(f"param '{p.name}' has shape {values.shape}, not {p.type.shape}", code="K141")
        if values.size and (int(values.min()) < p.type.lo or int(values.max()) > p.type.hi):
            raise InputError(f"param '{p.name}' leaves its interval [{p.type.lo}, {p.type.hi}]", code="K142")
        for axes, bound in p.l1:
            if values.size and l1_bound(values, axes) > bound:
                raise InputError(f"param '{p.name}' breaks its L1 bound {bound} over axes {axes}", code="K143")


def params_matrix(program: Program, layout: MatrixLayout) -> IntegerMatrix:
    """The committed params in their rows."""
    return in_rows({name: program.data[str(name)][None] for name in layout.places}, layout)


def params_digest(program: Program) -> bytes:
    """BLAKE3 of the committed params, as wide as they are declared, in order of declaration (the encoding of the
    program has their names and types). Raises ``InputError`` K142 for one that is not of its declared type."""
    params = blake3(max_threads=blake3.AUTO)
    for p in program.params:
        if p.committed:
            given = program.data[p.name]
            values = np.asarray(given, dtype=f"<i{p.type.dtype.bits // 8}")
            if values.dtype != given.dtype and not np.array_equal(values, given):
                raise InputError(f"param '{p.name}' leaves its interval [{p.type.lo}, {p.type.hi}]", code="K142")
            params.update(_bytes(values))
    return params.digest()


def _integers_digest(groups: Sequence[Integers]) -> bytes:
    rows = blake3(max_threads=blake3.AUTO)
    for g in groups:
        rows.update(repr((g.dtype.str, g.shape)).encode())
        rows.update(_bytes(g))
    return rows.digest()


def _bytes(a: Array) -> memoryview:
    """The bytes of a contiguous array, not copied."""
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8).data


@dataclass(frozen=True)
class Recorded:
    """What the file of a proving key says of it, beside its arrays."""

    digest: bytes
    max_steps: int
    description: bytes
    mode: Mode
    params: bytes
    integers: bytes


def _write(f: BinaryIO, made: ProvingKey, arrays: dict[str, Array]) -> None:
    key = made.verifying_key
    integers = () if made.params is None else made.params.integers.groups
    manifest: dict[str, Any] = {
        "version": PROTOCOL_VERSION,
        "key": key.digest().hex(),
        "max_steps": key.max_steps,
        "hiding": key.mode.hiding,
        "proofs": key.mode.proofs,
        "description": key.description.to_bytes().hex(),
        "leaves": 0 if made.plan is None else made.plan.used_leaves,
        "params": params_digest(made.program).hex(),
        "integers": _integers_digest(integers).hex(),
        "arrays": {},
    }
    offset = 0
    for name, a in arrays.items():
        manifest["arrays"][name] = [a.dtype.str, list(a.shape), offset]
        offset += -(-a.nbytes // ALIGN) * ALIGN
    head = json.dumps(manifest, sort_keys=True).encode()
    start = -(-(16 + len(head)) // ALIGN) * ALIGN
    f.write((PK_MAGIC + struct.pack("<Q", len(head)) + head).ljust(start, b"\0"))
    for a in arrays.values():
        f.write(_bytes(a))
        f.write(bytes(-a.nbytes % ALIGN))


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is not a proving key, or is damaged", code="K130", help="run setup again")


def _read(path: Path) -> tuple[Recorded, dict[str, Array]]:
    damaged = _damaged(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as f:
            head = f.read(16)
            if head[:8] != PK_MAGIC or len(head) < 16:
                raise damaged
            length = struct.unpack_from("<Q", head, 8)[0]
            if length > min(size, LONGEST_MANIFEST):
                raise damaged
            manifest = json.loads(f.read(length))
            refuse_version(str(path), manifest["version"], "setup", "K132")
            start = -(-(16 + length) // ALIGN) * ALIGN
            arrays: dict[str, Array] = {}
            for name, (dtype, shape, offset) in manifest["arrays"].items():
                if start + offset + math.prod(shape) * np.dtype(dtype).itemsize > size:
                    raise damaged
                arrays[name] = np.asarray(
                    np.memmap(path, dtype=np.dtype(dtype), mode="r", offset=start + offset, shape=tuple(shape))
                )
            mode = Mode(bool(manifest["hiding"]), int(manifest["proofs"]))
            if not 0 <= mode.proofs <= MAX_PROOFS or (mode.proofs and not mode.hiding):
                raise damaged
            digest, described = bytes.fromhex(manifest["key"]), bytes.fromhex(manifest["description"])
            params, integers = bytes.fromhex(manifest["params"]), bytes.fromhex(manifest["integers"])
            return Recorded(digest, int(manifest["max_steps"]), described, mode, params, integers), arrays
    except DAMAGE:
        raise damaged from None
