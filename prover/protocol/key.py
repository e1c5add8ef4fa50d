"""The verifying key: a program, how many steps a run of it may take, what its proofs hide, the root of its committed
params, and a description for people.

Bytes: magic, version, 1 byte "hiding", number of proofs, step limit, length of the program, program
(``isa.encoding``), 1 byte "has params", root; then length of the description (4 bytes), description
(``protocol.description``). The digest is of what comes before that length and of the description's digest.
"""

from __future__ import annotations

import struct
from pathlib import Path

from blake3 import blake3

from syurmy.isa.encoding import decode
from syurmy.isa.errors import InputError
from syurmy.isa.path import DEFAULT_MAX_STEPS, MAX_STEPS
from syurmy.isa.program import Program
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.refusal import refusing
from syurmy.isa.source import Source, content, other_kind
from syurmy.isa.summary import Summary
from syurmy.prover.protocol.description import Description

PROTOCOL_VERSION = 3
VK_MAGIC = b"SYURMYVK"
_HEAD = struct.Struct("<HBIQQ")
DEFAULT_PROOFS = 16
MAX_PROOFS = 1 << 14  # each needs more than a hundred random coefficients in every row of the params


@dataclass(frozen=True)
class Mode:
    """What the proofs under a key hide: nothing, or all that is not public (``hiding``). Committed params stay hidden
    in ``proofs`` proofs; 0 where there are none or nothing is hidden."""

    hiding: bool
    proofs: int = 0

    @staticmethod
    def of(program: Program, hiding: bool | None = None, proofs: int = DEFAULT_PROOFS) -> Mode:
        """Hiding unless all is public, or as asked. ``InputError`` for a number of proofs that no key can have."""
        if not 1 <= proofs <= MAX_PROOFS:
            raise InputError(f"a key for {proofs} proofs, at least 1 and at most {MAX_PROOFS}", code="K147")
        committed = any(p.committed for p in program.params)
        if hiding is None:
            hiding = committed or any(not i.public for i in program.inputs) or any(o.committed for o in program.outputs)
        return Mode(hiding, proofs if hiding and committed else 0)


CLEAR = Mode(False)


@dataclass(frozen=True, repr=False)
class VerifyingKey(Summary):
    """What the verifier needs: ``program`` (encoded), ``params_root`` (None without committed params), how many
    instructions a run may take (``max_steps``, of all inputs of a batch together) and what its proofs hide (``mode``);
    and what its values stand for."""

    program: bytes
    params_root: bytes | None
    description: Description = Description()
    max_steps: int = DEFAULT_MAX_STEPS
    mode: Mode = CLEAR

    @cached_property
    def decoded(self) -> Program:
        """``program``; ``InputError`` where these bytes are none."""
        return decode(self.program)

    @cached_property
    def program_digest(self) -> bytes:
        """32 bytes that stand for ``program``."""
        return _hashed(b"syurmy-vm program", self.program)

    def _decisive(self) -> tuple[bytes, bytes, bytes]:
        """All but the description: what is before the program, that, and what is behind it."""
        root = b"\0" if self.params_root is None else b"\1" + self.params_root
        mode = self.mode
        head = _HEAD.pack(PROTOCOL_VERSION, mode.hiding, mode.proofs, self.max_steps, len(self.program))
        return VK_MAGIC + head, self.program, root

    def to_bytes(self) -> bytes:
        description = self.description.to_bytes()
        return b"".join((*self._decisive(), struct.pack("<I", len(description)), description))

    @staticmethod
    def from_bytes(data: bytes) -> VerifyingKey:
        """Raises ``InputError`` on anything that ``to_bytes`` did not write."""
        if data[:8] != VK_MAGIC or len(data) < 8 + _HEAD.size:
            raise InputError("this is not a verifying key", code="K120")
        version, hiding, proofs, max_steps, size = _HEAD.unpack_from(data, 8)
        refuse_version("the key", version, "setup", "K121")
        if not 1 <= max_steps <= MAX_STEPS:
            raise InputError(f"the key allows {max_steps} steps, 1 to {MAX_STEPS} are possible", code="K122")
        behind = 8 + _HEAD.size + size
        if behind >= len(data):
            raise InputError("the verifying key is truncated", code="K122")
        program, tail = data[8 + _HEAD.size : behind], data[behind:]
        end = 33 if tail[:1] == b"\1" else 1
        root, length, description = tail[1:end], tail[end : end + 4], tail[end + 4 :]
        if tail[0] > 1 or len(length) < 4 or len(description) != int.from_bytes(length, "little"):
            raise InputError(
                "the verifying key is damaged at its end", code="K122", help="or older: run `syurmy-vm setup` again"
            )
        if hiding > 1 or proofs > MAX_PROOFS or (proofs > 0) != (hiding == 1 and len(root) > 0):
            raise InputError("the verifying key does not say what its proofs hide", code="K122")
        mode = Mode(hiding == 1, proofs)
        with refusing(unusable, mistakes=True):
            key = VerifyingKey(program, root or None, Description.from_bytes(description), max_steps, mode)
            key.description.check(key.decoded)
        if any(p.committed for p in key.decoded.params) != (key.params_root is not None):
            raise InputError("the verifying key has no root for its params", code="K122")
        return key

    @staticmethod
    def load(source: VerifyingKey | Source) -> VerifyingKey:
        """The key in a file, or in bytes; a key itself is as it is. Raises ``InputError``."""
        if isinstance(source, VerifyingKey):
            return source
        if hasattr(source, "summary"):
            raise other_kind(source, "a verifying key")
        return VerifyingKey.from_bytes(content(source, "a verifying key"))

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        from syurmy.files import write_whole

        write_whole(Path(path), self.to_bytes())

    def summary(self) -> list[tuple[str, str]]:
        rows = [("of program", self.decoded.name), ("digest", f"{self.digest().hex()[:16]}…")]
        return rows + ([("title", repr(self.description.title))] if self.description.title else [])

    def digest(self) -> bytes:
        """32 bytes that stand for the key."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        described = _hashed(b"syurmy-vm description", self.description.to_bytes())
        return _hashed(b"syurmy-vm verifying key", *self._decisive(), described)


def _hashed(*parts: bytes) -> bytes:
    """BLAKE3 of the parts, one after the other."""
    hasher = blake3()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def refuse_version(what: str, version: int, command: str, code: str) -> None:
    """Raises ``InputError`` with this code for what is of another protocol version; ``command`` makes it again."""
    if version != PROTOCOL_VERSION:
        message = f"{what} has protocol version {version}, this program speaks {PROTOCOL_VERSION}"
        raise InputError(message, code=code, help=renewed(version, command))


def renewed(version: int, command: str) -> str:
    """What to do about another version."""
    return f"make it again with `syurmy-vm {command}`" if version < PROTOCOL_VERSION else "update syurmy-vm"


def unusable(reason: str) -> InputError:
    """The refusal of a key."""
    return InputError(f"the verifying key cannot be used: {reason}", code="K123")
