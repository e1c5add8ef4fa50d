"""The Fiat-Shamir transcript (BLAKE3) and the two ends of the message channel.

Everything that is absorbed is typed, labelled and length-prefixed. *Sending or reading a proof element absorbs it*:
there is no way to read a message unbound. ``Sender`` (prover) and ``Receiver`` (verifier) offer the same methods, so
that the protocol is written once per side in the same shape.

Soundness: a challenge depends on everything absorbed before it. The caller must absorb the statement first.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from blake3 import blake3

from syurmy.isa.errors import SyurmyError
from syurmy.prover.field import U64, Ext, P
from syurmy.prover.protocol.hidden import Hidden, Ledger, Pairs, Value, product_sums

DOMAIN = b"syurmy-vm transcript v2"


class Rejected(SyurmyError):
    """The proof is refused. ``step`` is the protocol step, ``reason`` one sentence."""

    code = "V100"

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.reason = reason


@lru_cache(maxsize=256)
def _head(kind: bytes, label: str) -> bytes:
    """How a message begins: what it is, and its label."""
    name = label.encode()
    return kind + len(name).to_bytes(2, "little") + name


class Transcript:
    """Hash chain of labelled messages. ``log`` lists ("absorb" | "challenge", label, bytes) for the inventory test;
    ``history`` the challenges in order, for a prover who reads its own messages again."""

    def __init__(self) -> None:
        self._state = blake3(DOMAIN).digest()
        self._buffer = blake3(self._state)
        self.log: list[tuple[str, str, int]] = []
        self.history: list[Ext] = []

    def absorb(self, label: str, data: bytes) -> None:
        self._buffer.update(_head(b"A", label) + len(data).to_bytes(8, "little"))
        self._buffer.update(data)
        self.log.append(("absorb", label, len(data)))

    def absorb_zeros(self, label: str, count: int) -> None:
        """``count`` zero bytes, hashed in chunks (protocol section 7)."""
        self._buffer.update(_head(b"A", label) + count.to_bytes(8, "little"))
        chunk = bytes(1 << 20)
        left = count
        while left > 0:
            self._buffer.update(chunk[: min(left, len(chunk))])
            left -= len(chunk)
        self.log.append(("absorb", label, count))

    def _squeeze(self, label: str, kind: bytes, size: int) -> bytes:
        self._buffer.update(_head(kind, label) + size.to_bytes(8, "little"))
        out = self._buffer.digest(length=32 + size)
        self._state = out[:32]
        self._buffer = blake3(self._state)
        self.log.append(("challenge", label, size))
        return out[32:]

    def challenge(self, label: str) -> Ext:
        """A uniform element of K (rejection sampling; 2^-128 of all draws would need more than four tries)."""
        data = self._squeeze(label, b"C", 64)
        good = [w for w in struct.unpack("<8Q", data) if w < P]
        self.history.append(Ext(good[0], good[1]))
        return self.history[-1]

    def challenges(self, label: str, n: int) -> list[Ext]:
        return [self.challenge(label) for _ in range(n)]

    def positions(self, label: str, count: int, bound: int) -> list[int]:
        """``count`` distinct positions below ``bound`` (a power of two, at least ``count``), sorted."""
        if count > bound:
            raise ValueError("more positions than there are columns")
        chosen: set[int] = set()
        while len(chosen) < count:
            for word in struct.unpack(f"<{count}Q", self._squeeze(label, b"Q", 8 * count)):
                if len(chosen) < count:
                    chosen.add(word % bound)
        return sorted(chosen)


class Replay(Transcript):
    """Gives challenges that were drawn before, in order, and absorbs nothing: for who reads a proof again."""

    def __init__(self, challenges: Sequence[Ext]) -> None:
        super().__init__()
        self._left = list(challenges)[::-1]

    def absorb(self, label: str, data: bytes) -> None:
        pass

    def challenge(self, label: str) -> Ext:
        return self._left.pop()


class Sender:
    """Prover's end: what is sent is appended to the proof and absorbed. ``fields`` names every piece of the proof."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self._parts: list[bytes] = []
        self._size = 0
        self.fields: list[tuple[str, int, int]] = []  # label, offset, length in bytes
        self._pads: U64 | None = None
        self._padded = 0

    @property
    def size(self) -> int:
        """Bytes sent so far."""
        return self._size

    @property
    def plain(self) -> bool:
        """Whether messages and challenges are what they are here, and not what a subclass makes of them: then a kernel
        may hash them (prover/layer.py)."""
        return type(self) is Sender and type(self.transcript) is Transcript

    def pad_with(self, pads: U64 | None) -> None:
        """From here on ``ext`` sends its elements plus the next of ``pads``, ``uint64[2, n]``; None: as they are."""
        self._pads = pads
        self._padded = 0

    def skip_pads(self, count: int) -> None:
        """The next ``count`` pads stand for products (protocol/hidden.py): nothing is sent under them."""
        self._padded += count

    def raw(self, label: str, data: bytes) -> None:
        """Send bytes whose length both sides know."""
        self.transcript.absorb(label, data)
        self.fields.append((label, self._size, len(data)))
        self._parts.append(data)
        self._size += len(data)

    def ext(self, label: str, values: Sequence[Ext]) -> None:
        if self._pads is not None:
            pads = self._pads[:, self._padded : self._padded + len(values)].tolist()
            self._padded += len(values)
            values = [v + Ext(a, b) for v, a, b in zip(values, *pads, strict=True)]
        self.raw(label, b"".join(v.a.to_bytes(8, "little") + v.b.to_bytes(8, "little") for v in values))

    def ext_array(self, label: str, values: U64) -> None:
        """``uint64[2, n]``; on the wire element by element, as in ``ext``."""
        self.raw(label, np.ascontiguousarray(values.T).astype("<u8").tobytes())

    def base_array(self, label: str, values: U64) -> None:
        self.raw(label, np.ascontiguousarray(values).astype("<u8").tobytes())

    def bytes(self) -> bytes:
        return b"".join(self._parts)


class Receiver:
    """Verifier's end: reads exactly what ``Sender`` wrote; a shortage or a non-canonical element is ``Rejected``.

    With a ``ledger``, elements that ``ext`` reads are hidden under pads (protocol/hidden.py)."""

    def __init__(self, transcript: Transcript, data: bytes, ledger: Ledger | None = None) -> None:
        self.transcript = transcript
        self.ledger = ledger
        self._data = data
        self._at = 0

    def raw(self, label: str, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise Rejected("format", f"the proof ends inside '{label}'")
        out = self._data[self._at : self._at + size]
        self._at += size
        self.transcript.absorb(label, out)
        return out

    def base_array(self, label: str, count: int) -> U64:
        """``uint64[count]``, every element below p."""
        out = np.frombuffer(self.raw(label, 8 * count), dtype="<u8").astype(np.uint64)
        if count and int(out.max()) >= P:
            raise Rejected("format", f"'{label}' holds a field element that is not canonical")
        return out

    def ext_array(self, label: str, count: int) -> U64:
        """``uint64[2, count]``."""
        return np.ascontiguousarray(self.base_array(label, 2 * count).reshape(count, 2).T)

    def ext(self, label: str, count: int) -> Sequence[Value]:
        sent = self.open_ext(label, count)
        return sent if self.ledger is None else self.ledger.hide(sent)

    def open_ext(self, label: str, count: int) -> list[Ext]:
        """Elements that are sent as they are in both modes."""
        data = self.raw(label, 16 * count)
        words = struct.unpack(f"<{2 * count}Q", data)
        if words and max(words) >= P:
            raise Rejected("format", f"'{label}' holds a field element that is not canonical")
        return [Ext(a, b) for a, b in zip(words[::2], words[1::2], strict=True)]

    def products(self, values: Sequence[Value], sums: tuple[Pairs, ...]) -> Sequence[Value]:
        """Sums of products of the elements that ``ext`` read last."""
        if self.ledger is None:
            return product_sums([v for v in values if isinstance(v, Ext)], sums)
        return self.ledger.products([v for v in values if isinstance(v, Hidden)], sums)

    def zero(self, value: Value, step: str, reason: str) -> None:
        """``value`` must be zero: ``Rejected`` where it is not, or a relation where it is hidden."""
        if isinstance(value, Hidden):
            assert self.ledger is not None
            self.ledger.relations.append(value)
        elif value:
            raise Rejected(step, reason)

    def done(self) -> None:
        if self._at != len(self._data):
            raise Rejected("format", f"{len(self._data) - self._at} bytes after the end of the proof")
