"""The verifying key: a program and the root of its committed params.

Bytes: magic, version, length of the program, program (``isa.encoding``), 1 byte "has params", root.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from blake3 import blake3

from syurmy.isa.encoding import decode
from syurmy.isa.errors import InputError
from syurmy.isa.refusal import refusing

PROTOCOL_VERSION = 2
VK_MAGIC = b"SYURMYVK"


@dataclass(frozen=True)
class VerifyingKey:
    """What the verifier needs: ``program`` (encoded) and ``params_root`` (None without committed params)."""

    program: bytes
    params_root: bytes | None

    def to_bytes(self) -> bytes:
        root = b"\0" if self.params_root is None else b"\1" + self.params_root
        return VK_MAGIC + struct.pack("<HQ", PROTOCOL_VERSION, len(self.program)) + self.program + root

    @staticmethod
    def from_bytes(data: bytes) -> VerifyingKey:
        """Raises ``InputError`` on anything that ``to_bytes`` did not write."""
        if data[:8] != VK_MAGIC or len(data) < 18:
            raise InputError("this is not a verifying key", code="K120")
        version, size = struct.unpack_from("<HQ", data, 8)
        if version != PROTOCOL_VERSION:
            raise InputError(
                f"the key has protocol version {version}, this program speaks {PROTOCOL_VERSION}",
                code="K121",
                help="make the key again with `syurmy-vm setup`" if version < PROTOCOL_VERSION else "update syurmy-vm",
            )
        rest = data[18:]
        if size >= len(rest):
            raise InputError("the verifying key is truncated", code="K122")
        program, tail = rest[:size], rest[size:]
        if not (tail == b"\0" or (len(tail) == 33 and tail[:1] == b"\1")):
            raise InputError("the verifying key is damaged at its end", code="K122")
        key = VerifyingKey(program, tail[1:] or None)
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
