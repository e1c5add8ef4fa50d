"""The verifying key: a program, what its proofs hide, and the root of its committed params.

Bytes: magic, version, 1 byte "hiding", number of proofs, length of the program, program (``isa.encoding``), 1 byte "has
params", root.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from blake3 import blake3

from syurmy.isa.encoding import decode
from syurmy.isa.errors import InputError
from syurmy.isa.program import Program
from syurmy.isa.refusal import refusing

PROTOCOL_VERSION = 2
VK_MAGIC = b"SYURMYVK"
HEAD = struct.Struct("<HBIQ")
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
            raise InputError(f"a key for {proofs} proofs, at least 1 and at most {MAX_PROOFS}", code="K144")
        committed = any(p.committed for p in program.params)
        if hiding is None:
            hiding = committed or any(not i.public for i in program.inputs)
        return Mode(hiding, proofs if hiding and committed else 0)


CLEAR = Mode(False)


@dataclass(frozen=True)
class VerifyingKey:
    """What the verifier needs: ``program`` (encoded), ``params_root`` (None without committed params), ``mode``."""

    program: bytes
    params_root: bytes | None
    mode: Mode = CLEAR

    def to_bytes(self) -> bytes:
        root = b"\0" if self.params_root is None else b"\1" + self.params_root
        head = HEAD.pack(PROTOCOL_VERSION, self.mode.hiding, self.mode.proofs, len(self.program))
        return VK_MAGIC + head + self.program + root

    @staticmethod
    def from_bytes(data: bytes) -> VerifyingKey:
        """Raises ``InputError`` on anything that ``to_bytes`` did not write."""
        if data[:8] != VK_MAGIC or len(data) < 18:
            raise InputError("this is not a verifying key", code="K120")
        version = int.from_bytes(data[8:10], "little")
        if version != PROTOCOL_VERSION:
            raise InputError(
                f"the key has protocol version {version}, this program speaks {PROTOCOL_VERSION}",
                code="K121",
                help="make the key again with `syurmy-vm setup`" if version < PROTOCOL_VERSION else "update syurmy-vm",
            )
        if len(data) < 8 + HEAD.size:
            raise InputError("the verifying key is truncated", code="K122")
        _, hiding, proofs, size = HEAD.unpack_from(data, 8)
        rest = data[8 + HEAD.size :]
        if size >= len(rest):
            raise InputError("the verifying key is truncated", code="K122")
        program, tail = rest[:size], rest[size:]
        if not (tail == b"\0" or (len(tail) == 33 and tail[:1] == b"\1")):
            raise InputError("the verifying key is damaged at its end", code="K122")
        key = VerifyingKey(program, tail[1:] or None, Mode(bool(hiding), proofs))
        if hiding > 1 or proofs > MAX_PROOFS or (proofs > 0) != (bool(hiding) and key.params_root is not None):
            raise InputError("the verifying key does not say what its proofs hide", code="K122")
        with refusing(unusable):
            has_params = any(p.committed for p in decode(program).params)
        if has_params != (key.params_root is not None):
            raise InputError("the verifying key has no root for its params", code="K122")
        return key

    def digest(self) -> bytes:
        return blake3(b"syurmy-vm verifying key" + self.to_bytes()).digest()


def unusable(reason: str) -> InputError:
    """The refusal of a key."""
    return InputError(f"the verifying key cannot be used: {reason}", code="K123")
