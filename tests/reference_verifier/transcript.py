"""The transcript and the reader of a proof (protocol, section 11.2), with a log of every absorb and challenge."""

from __future__ import annotations

from blake3 import blake3

from tests.reference_verifier.affine import Affine, Value
from tests.reference_verifier.field import ONE, ZERO, K, P

SHOWN = 32  # bytes of a message that the log writes out


class Rejected(Exception):
    """The proof or the key is refused, in a ``step``."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step


class Transcript:
    """``log``: a line for every absorb and challenge."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._text = blake3(b"syurmy-vm transcript v2").digest()

    def _message(self, kind: bytes, label: str, size: int) -> bytes:
        name = label.encode()
        return kind + len(name).to_bytes(2, "little") + name + size.to_bytes(8, "little")

    def absorb(self, label: str, data: bytes) -> None:
        self._text += self._message(b"A", label, len(data)) + data
        shown = data.hex() if len(data) <= SHOWN else f"blake3 {blake3(data).hexdigest()}"
        self.log.append(f"absorb {label}: {len(data)} bytes {shown}".rstrip())

    def absorb_zeros(self, label: str, count: int) -> None:
        self._text += self._message(b"A", label, count) + bytes(count)
        self.log.append(f"absorb {label}: {count} bytes, zero")

    def squeeze(self, kind: bytes, label: str, size: int) -> bytes:
        self._text += self._message(kind, label, size)
        out: bytes = blake3(self._text).digest(length=32 + size)
        self._text = out[:32]
        return out[32:]

    def challenge(self, label: str) -> K:
        """The first two of eight words that are below p."""
        data = self.squeeze(b"C", label, 64)
        words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, 64, 8)]
        a, b = [w for w in words if w < P][:2]
        self.log.append(f"challenge {label}: {a} {b}")
        return K(a, b)

    def challenges(self, label: str, count: int) -> list[K]:
        return [self.challenge(label) for _ in range(count)]

    def positions(self, label: str, count: int, bound: int) -> list[int]:
        """``count`` distinct positions below ``bound``, sorted."""
        chosen: set[int] = set()
        while len(chosen) < count:
            data = self.squeeze(b"Q", label, 8 * count)
            for i in range(0, len(data), 8):
                if len(chosen) < count:
                    chosen.add(int.from_bytes(data[i : i + 8], "little") % bound)
        self.log.append(f"challenge {label}: {' '.join(map(str, sorted(chosen)))} of {bound}")
        return sorted(chosen)


class Reader:
    """Reads a proof; what is read is absorbed. While ``pads`` is a number, ``messages`` come under the pads from that
    number on, and ``zero`` collects ``relations``; None: everything is as it was sent."""

    def __init__(self, transcript: Transcript, data: bytes) -> None:
        self.transcript = transcript
        self.pads: int | None = None
        self.relations: list[Affine] = []
        self._left = data

    def raw(self, label: str, size: int) -> bytes:
        if size > len(self._left):
            raise Rejected("format", f"the proof ends inside {label}")
        out, self._left = self._left[:size], self._left[size:]
        self.transcript.absorb(label, out)
        return out

    def words(self, label: str, count: int) -> list[int]:
        """Elements of F."""
        data = self.raw(label, 8 * count)
        out = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
        if any(x >= P for x in out):
            raise Rejected("format", f"{label} holds an element that is not canonical")
        return out

    def elements(self, label: str, count: int) -> list[K]:
        """Elements of K, as they are."""
        words = self.words(label, 2 * count)
        return [K(words[i], words[i + 1]) for i in range(0, len(words), 2)]

    def messages(self, label: str, count: int) -> list[Value]:
        """Elements of K that a hiding proof sends under pads."""
        sent = self.elements(label, count)
        if self.pads is None:
            return list(sent)
        first, self.pads = self.pads, self.pads + count
        return [Affine(x, {first + i: -ONE}) for i, x in enumerate(sent)]

    def sum_of_products(self, pairs: list[tuple[Value, Value]]) -> Value:
        """sum x*y. Of padded messages x - a, y - b: xy - xb - ya, and one pad for the sum of the ab."""
        out: Value = ZERO
        for x, y in pairs:
            if isinstance(x, Affine) and isinstance(y, Affine):
                bare = Affine(-(x.known * y.known), {})
                out = out + x * y.known + y * x.known + bare
            else:
                assert isinstance(x, K)
                assert isinstance(y, K)
                out = out + x * y
        if self.pads is not None:
            out = out + Affine(ZERO, {self.pads: ONE})
            self.pads += 1
        return out

    def zero(self, value: Value, step: str, reason: str) -> None:
        """``value`` must be zero: at once, or as a relation between pads."""
        if isinstance(value, Affine):
            self.relations.append(value)
        elif value != ZERO:
            raise Rejected(step, reason)

    def done(self) -> None:
        if self._left:
            raise Rejected("format", f"{len(self._left)} bytes after the end of the proof")
