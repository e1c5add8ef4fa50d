"""The transcript (section 11.2), and the reading of a proof through it."""

from __future__ import annotations

from blake3 import blake3

from tests.reference_verifier.errors import require
from tests.reference_verifier.field import K, P

SHOWN = 32  # bytes of a message that a log writes out


def digest(data: bytes) -> bytes:
    """H."""
    return blake3(data).digest()


def keyed(name: str, data: bytes) -> bytes:
    """H(name; data)."""
    return blake3(data, key=digest(name.encode())).digest()


class Transcript:
    """``log``: a line for every absorb and challenge."""

    def __init__(self) -> None:
        self.buffer = bytearray(digest(b"syurmy-vm transcript v2"))
        self.log: list[str] = []

    def _message(self, kind: bytes, label: str, length: int) -> None:
        name = label.encode()
        self.buffer += kind + len(name).to_bytes(2, "little") + name + length.to_bytes(8, "little")

    def absorb(self, label: str, data: bytes) -> None:
        self._message(b"A", label, len(data))
        self.buffer += data
        shown = data.hex() if len(data) <= SHOWN else f"blake3 {digest(data).hex()}"
        self.log.append(f"absorb {label}: {len(data)} bytes {shown}".rstrip())

    def absorb_zeros(self, label: str, count: int) -> None:
        """The same of so many zero bytes; the log says so."""
        self._message(b"A", label, count)
        self.buffer += bytes(count)
        self.log.append(f"absorb {label}: {count} bytes, zero")

    def _squeeze(self, kind: bytes, label: str, length: int) -> list[int]:
        self._message(kind, label, length)
        drawn = blake3(self.buffer).digest(length=32 + length)
        self.buffer = bytearray(drawn[:32])
        return [int.from_bytes(drawn[i : i + 8], "little") for i in range(32, 32 + length, 8)]

    def challenge(self, label: str) -> K:
        words = [w for w in self._squeeze(b"C", label, 64) if w < P]
        drawn = K(words[0], words[1])
        self.log.append(f"challenge {label}: {drawn.a} {drawn.b}")
        return drawn

    def challenges(self, label: str, count: int) -> list[K]:
        return [self.challenge(label) for _ in range(count)]

    def positions(self, label: str, count: int, bound: int) -> list[int]:
        found: dict[int, None] = {}
        while len(found) < count:
            for word in self._squeeze(b"Q", label, 8 * count):
                if len(found) < count:
                    found[word % bound] = None
        drawn = sorted(found)
        self.log.append(f"challenge {label}: {' '.join(map(str, drawn))} of {bound}")
        return drawn


class Reader:
    """Reads a proof; what is read is absorbed under its label."""

    def __init__(self, data: bytes, transcript: Transcript) -> None:
        self.data = data
        self.at = 0
        self.transcript = transcript

    def take(self, count: int) -> bytes:
        """Bytes that are not absorbed."""
        require(self.at + count <= len(self.data), "format", "it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def bytes(self, label: str, count: int) -> bytes:
        data = self.take(count)
        self.transcript.absorb(label, data)
        return data

    def base_elements(self, label: str, count: int) -> list[int]:
        """Elements of F."""
        data = self.bytes(label, 8 * count)
        out = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
        require(all(x < P for x in out), "format", f"an element of {label} is not canonical")
        return out

    def elements(self, label: str, count: int) -> list[K]:
        """Elements of K."""
        words = self.base_elements(label, 2 * count)
        return [K(a, b) for a, b in zip(words[::2], words[1::2], strict=True)]

    def grind(self, step: str, label: str, bits: int) -> None:
        seed = self.transcript.challenge("grinding seed").to_bytes()
        nonce = self.bytes(label, 8)
        found = int.from_bytes(keyed("syurmy-vm grinding v2", seed + nonce)[:8], "little")
        require(found % 2**bits == 0, step, "the proof of work is missing")

    def end(self) -> None:
        require(self.at == len(self.data), "format", "it does not end where the protocol does")
