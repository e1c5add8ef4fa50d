"""Bundles: a proof of a whole in one proof per segment, and the key of the whole (protocol section 12).

    bundle      = "SYURMYBP" version key-digest count lengths proofs
    certificate = "SYURMYBC" version key-digest count lengths certificates
    key         = "SYURMYBK" version interface segment-keys description

Segments are linked by names: what an earlier segment puts out under a name is what later ones take in under it. Both
declare it committed, and their proofs name the same commitment; or public, and they show the same values. Which inputs
and outputs are those of the whole is said by the interface.

A whole may be run in steps: a bundle has proofs of all segments for each, and what one step is given or puts out is
what the next is given, as the key says (``Steps``).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

from blake3 import blake3

from syurmy.isa.encoding import Reader, Writer
from syurmy.isa.errors import InputError
from syurmy.isa.inference import Types, infer_types
from syurmy.isa.program import Input, Output, Program
from syurmy.isa.records import cached_property, dataclass
from syurmy.isa.refusal import refusing
from syurmy.isa.source import Source, content, other_kind
from syurmy.isa.summary import Summary
from syurmy.isa.types import TensorType
from syurmy.isa.wellformed import MAX_SEGMENTS, valid_name
from syurmy.prover.protocol.description import Description
from syurmy.prover.protocol.key import PROTOCOL_VERSION, VerifyingKey, refuse_version, renewed
from syurmy.prover.protocol.proof import Report, Sent
from syurmy.prover.protocol.transcript import Rejected

KEY_MAGIC = b"SYURMYBK"
MAGIC = b"SYURMYBP" + struct.pack("<H", PROTOCOL_VERSION)
CERTIFICATE_MAGIC = b"SYURMYBC" + struct.pack("<H", PROTOCOL_VERSION)
CONTEXT = b"syurmy-vm bundle key"
MAX_PORTS = 1 << 12  # inputs, or outputs, of the whole, or what its steps hand on
MAX_FOLLOWED = 5 * 10**5  # instructions that are followed again in loops, of all segments: a few seconds
_VERSION = struct.Struct("<H")
_HEAD = struct.Struct("<32sI")
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Link:
    """A tensor that more than one segment names: which of them puts it out (None: it is an input of the whole), which
    take it in, in order, and whether it is shown or committed."""

    name: str
    type: TensorType
    source: int | None
    readers: tuple[int, ...]
    public: bool

    @property
    def segments(self) -> tuple[int, ...]:
        """All that name it."""
        return self.readers if self.source is None else (self.source, *self.readers)


@dataclass(frozen=True)
class Port:
    """An input or output of the whole, by its name in the segments."""

    name: str
    public: bool
    committed: bool = False


@dataclass(frozen=True)
class Carried:
    """What a step hands on: the next one's input ``target`` is its output ``source``, or its input of that name if it
    has no such output. ``first``: what every entry of a public ``target`` is in the first step; None: anything."""

    source: str
    target: str
    first: int | None = None


@dataclass(frozen=True)
class Steps:
    """A whole that is run again and again: at ``most`` how often, and what is ``carried`` from each step to the next,
    in the order in which it is compared."""

    most: int
    carried: tuple[Carried, ...]


@dataclass(frozen=True, repr=False)
class BundleKey(Summary):
    """What verifies bundles: ``name`` of the whole, its ``inputs`` and ``outputs``, and the verifying keys of its
    ``segments``; and how it is run in ``steps``, if it is. Raises ``InputError`` K127 where these do not fit
    together."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    segments: tuple[VerifyingKey, ...]
    description: Description = Description()
    steps: Steps | None = None

    def __post_init__(self) -> None:
        if not valid_name(self.name):
            raise unusable(f"'{self.name}' cannot be a name")
        if not 1 <= len(self.segments) <= MAX_SEGMENTS:
            raise unusable(f"it has {len(self.segments)} segments, 1 to {MAX_SEGMENTS} are possible")
        if len({key.mode.hiding for key in self.segments}) != 1:
            raise unusable("some of its segments hide what others show")
        if not 1 <= self.most_proofs <= MAX_SEGMENTS:
            raise unusable(f"its bundles have up to {self.most_proofs} proofs, 1 to {MAX_SEGMENTS} are possible")
        with refusing(unusable, mistakes=True):
            self.description.check(self.interface)
            self._check_steps()

    @property
    def most_proofs(self) -> int:
        """How many proofs a bundle may have."""
        return len(self.segments) * (1 if self.steps is None else self.steps.most)

    def _check_steps(self) -> None:
        if self.steps is None:
            return
        if not self.steps.carried:
            raise unusable("its steps hand nothing on")
        inputs = {i.name: i for i in self.interface.inputs}
        outputs = {o.name: o for o in self.interface.outputs}
        made = {o.name: t.final[o.name] for p, t in zip(self.programs, self._types, strict=True) for o in p.outputs}
        targets: set[str] = set()
        for c in self.steps.carried:
            source: Input | Output | None = outputs.get(c.source, inputs.get(c.source))
            target = inputs.get(c.target)
            if source is None or target is None or c.target in targets:
                raise unusable(f"its steps hand on '{c.source}' as '{c.target}', which is no single input of the whole")
            targets.add(c.target)
            if not (source.public and target.public) and not (source.committed and target.committed):
                raise unusable(f"'{c.source}' is {source.visibility}, '{c.target}' is {target.visibility}")
            a = made[c.source] if isinstance(source, Output) else source.type
            if a.shape != target.type.shape or (target.committed and a.dtype != target.type.dtype):
                raise unusable(f"'{c.source}' is {a}, '{c.target}' is {target.type}")
            if c.first is not None and not (target.public and max(target.type.lo, 0) <= c.first <= target.type.hi):
                raise unusable(f"'{c.target}' cannot be {c.first} in the first step")

    @property
    def hiding(self) -> bool:
        """Do its proofs hide all that is not public?"""
        return self.segments[0].mode.hiding

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """The segments' programs, without committed params."""
        return tuple(key.decoded for key in self.segments)

    @cached_property
    def _types(self) -> tuple[Types, ...]:
        """Of the segments' programs. Raises ``InputError`` K127 where their loops take too long to follow."""
        found, again = [], 0
        for k, program in enumerate(self.programs):
            found.append(infer_types(program, max_steps=self.segments[k].max_steps))
            again += max(0, found[-1].followed - len(program.code))
            if again > MAX_FOLLOWED:
                raise unusable(f"the loops of its segments, up to segment {k}, take too long to check")
        return tuple(found)

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Those of the segments, in the order in which they are first named."""
        return _Wiring(self).links

    @property
    def shared_params(self) -> tuple[str, ...]:
        """Committed params that several segments declare. Each has a commitment to its own: that they are the same is
        what who ran set-up says."""
        names = [p.name for program in self.programs for p in program.params if p.committed]
        return tuple(sorted(name for name, count in Counter(names).items() if count > 1))

    @cached_property
    def interface(self) -> Program:
        """The declarations of the whole, without code."""
        types = {i.name: i.type for p in self.programs for i in p.inputs}
        _ = self.links  # refuses an input that no segment declares
        inputs = tuple(Input(p.name, types[p.name], p.public, p.committed) for p in self.inputs)
        outputs = tuple(Output(p.name, p.public, p.committed) for p in self.outputs)
        return Program(self.name, inputs, (), (), outputs, ())

    def _head(self) -> bytes:
        w = Writer()
        w.text(self.name)
        for ports in (self.inputs, self.outputs):
            w.uint(len(ports))
            for p in ports:
                w.text(p.name)
                w.uint(2 if p.committed else int(p.public))
        if self.steps is not None:
            w.uint(0)
            w.uint(self.steps.most)
            w.uint(len(self.steps.carried))
            for c in self.steps.carried:
                w.text(c.source)
                w.text(c.target)
                w.uint(0 if c.first is None else c.first + 1)
        w.uint(len(self.segments))
        return KEY_MAGIC + _VERSION.pack(PROTOCOL_VERSION) + bytes(w.out)

    def digest(self) -> bytes:
        """32 bytes: of the interface, the digests of the segments' keys in order, and the description's digest."""
        described = blake3(b"syurmy-vm description" + self.description.to_bytes()).digest()
        keys = b"".join(key.digest() for key in self.segments)
        return blake3(CONTEXT + self._head() + keys + described).digest()

    def to_bytes(self) -> bytes:
        w = Writer()
        for data in (*(key.to_bytes() for key in self.segments), self.description.to_bytes()):
            w.uint(len(data))
            w.out += data
        return self._head() + bytes(w.out)

    @staticmethod
    def from_bytes(data: bytes) -> BundleKey:
        """Raises ``InputError`` on anything that ``to_bytes`` did not write."""
        if data[:8] != KEY_MAGIC or len(data) < 10:
            raise InputError("this is not the verifying key of a bundle", code="K120")
        (version,) = _VERSION.unpack_from(data, 8)
        refuse_version("the key", version, "setup", "K121")
        r = Reader(data[10:])

        def port() -> Port:
            name = r.text()
            return Port(name, *r.visibility())

        def carried() -> Carried:
            source, target, first = r.text(), r.text(), r.uint()
            return Carried(source, target, first - 1 if first else None)

        with refusing(unusable, mistakes=True):
            try:
                name = r.text()
                inputs, outputs = r.list(port, MAX_PORTS), r.list(port, MAX_PORTS)
                count, steps = r.uint(MAX_SEGMENTS), None
                if not count:
                    steps = Steps(r.uint(MAX_SEGMENTS), tuple(r.list(carried, MAX_PORTS)))
                    count = r.uint(MAX_SEGMENTS)
                keys = [r.take(r.uint(len(data))) for _ in range(count)]
                described = r.take(r.uint(len(data)))
            except InputError as e:
                raise unusable("it is damaged") from e
            segments = tuple(map(VerifyingKey.from_bytes, keys))
            key = BundleKey(name, inputs, outputs, segments, Description.from_bytes(described), steps)
        if key.to_bytes() != data:
            raise unusable("it is damaged at its end")
        return key

    @staticmethod
    def load(source: BundleKey | Source) -> BundleKey:
        """The key in a file, or in bytes; a key itself is as it is. Raises ``InputError``."""
        if isinstance(source, BundleKey):
            return source
        if hasattr(source, "summary"):
            raise other_kind(source, "the verifying key of a bundle")
        return BundleKey.from_bytes(content(source, "a verifying key"))

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        from syurmy.files import write_whole

        write_whole(Path(path), self.to_bytes())

    def summary(self) -> list[tuple[str, str]]:
        rows = [("of program", self.name), ("digest", f"{self.digest().hex()[:16]}…")]
        rows += [("segments", str(len(self.segments))), ("links", str(len(self.links)))]
        return rows + ([] if self.steps is None else [("steps", f"1 to {self.steps.most}")])


def miscounted(key: BundleKey, proofs: int) -> str | None:
    """What is wrong with the number of proofs in a bundle; None if nothing is."""
    size = len(key.segments)
    if key.steps is None:
        return None if proofs == size else f"it holds {proofs} proofs of {size} segments"
    if proofs % size or not size <= proofs <= key.most_proofs:
        whole = "" if size == 1 else f" of {size} segments each"
        return f"it holds {proofs} proofs of 1 to {key.steps.most} steps{whole}"
    return None


def unusable(reason: str) -> InputError:
    """The refusal of a key of bundles."""
    return InputError(f"the verifying key of bundles cannot be used: {reason}", code="K127")


class _Wiring:
    """What the segments' declarations say of their links; refuses all that is not a chain of segments in order."""

    def __init__(self, key: BundleKey) -> None:
        self.outer = {p.name: p for p in key.inputs}
        self.left = {p.name: p for p in key.outputs}
        if len(self.outer) != len(key.inputs) or len(self.left) != len(key.outputs):
            raise unusable("an input or output is named twice")
        self.made: dict[str, tuple[int, Output, TensorType]] = {}
        self.entered: dict[str, list[tuple[int, Input]]] = {}
        for k, (program, types) in enumerate(zip(key.programs, key._types, strict=True)):
            for i in program.inputs:
                self.enter(k, i)
            for o in program.outputs:
                self.leave(k, o, types.final[o.name])
        for name in self.outer:
            if name not in self.entered:
                raise unusable(f"no segment declares the input '{name}'")
        for name in self.left:
            if name not in self.made:
                raise unusable(f"no segment declares the output '{name}'")
        for name, (k, _, _) in self.made.items():
            if name not in self.left and (name not in self.entered or name in self.outer):
                raise unusable(f"segment {k} puts out '{name}', which nothing takes in")
        self.links = tuple(self._links())

    def enter(self, k: int, i: Input) -> None:
        earlier = self.entered.setdefault(i.name, [])
        if i.name in self.outer:
            p = self.outer[i.name]
            if p.public != i.public or (p.committed and not i.committed):
                raise unusable(f"segment {k} declares the input '{i.name}' {i.visibility}")
            if earlier and (
                i.type != earlier[0][1].type or not (i.public or (i.committed and earlier[0][1].committed))
            ):
                raise unusable(f"segment {k} declares the input '{i.name}' otherwise than segment {earlier[0][0]}")
        elif i.name in self.made:
            j, o, t = self.made[i.name]
            if t != i.type or (o.public, o.committed) != (i.public, i.committed) or not (i.public or i.committed):
                raise unusable(f"segment {k} takes in '{i.name}' otherwise than segment {j} puts it out")
        else:
            raise unusable(f"segment {k} takes in '{i.name}', which nothing puts out before")
        earlier.append((k, i))

    def leave(self, k: int, o: Output, t: TensorType) -> None:
        if o.name in self.made or (o.name in self.entered and o.name not in self.outer):
            raise unusable(f"segment {k} puts out '{o.name}', which was there before")
        if o.name in self.outer and all(j != k for j, _ in self.entered.get(o.name, ())):
            raise unusable(f"segment {k} puts out '{o.name}', which is an input of the whole")
        if o.name in self.left:
            p = self.left[o.name]
            if (p.public, p.committed) != (o.public, o.committed) and (p.public or p.committed or o.public):
                raise unusable(f"segment {k} declares the output '{o.name}' {o.visibility}")
        elif not o.committed:
            raise unusable(f"segment {k} puts out '{o.name}', which is {o.visibility} and no output of the whole")
        self.made[o.name] = k, o, t

    def _links(self) -> list[Link]:
        out = []
        for name, places in self.entered.items():
            readers = tuple(k for k, _ in places)
            first = places[0][1]
            if name in self.outer:
                if len(readers) > 1:
                    out.append(Link(name, first.type, None, readers, first.public))
            else:
                out.append(Link(name, first.type, self.made[name][0], readers, first.public))
        return out


@dataclass(repr=False)
class Bundle(Sent):
    """``data`` is the whole bundle. ``report``: of one just made, what it took."""

    data: bytes
    report: Report = field(default_factory=Report)

    what = "a bundle of proofs"
    magic = MAGIC
    named = len(MAGIC)

    @staticmethod
    def of(key: BundleKey, proofs: Sequence[bytes], report: Report | None = None) -> Bundle:
        """The bundle of these proofs, one of each segment in order, step after step."""
        if (fault := miscounted(key, len(proofs))) is not None:
            raise ValueError(fault)
        data = _packed(MAGIC, key, proofs)
        return Bundle(data) if report is None else Bundle(data, report)

    def proofs(self) -> list[bytes]:
        """One of each segment, in order. Raises ``Rejected`` for bytes that are no bundle."""
        return _unpacked(self.data, MAGIC, "bundle", "proof")


class BundleCertificate(Sent):
    """The certificate of a whole's key: those of its segments' keys (section 12.2)."""

    what = "the key certificate of a bundle"
    magic = CERTIFICATE_MAGIC
    named = len(CERTIFICATE_MAGIC)
    code = "K152"

    @staticmethod
    def of(key: BundleKey, parts: Sequence[bytes]) -> BundleCertificate:
        """Of one certificate for each segment in order, no bytes where nothing is committed."""
        if [bool(part) for part in parts] != [segment.params_root is not None for segment in key.segments]:
            raise ValueError("a certificate for each segment that commits a param, and no other")
        return BundleCertificate(_packed(CERTIFICATE_MAGIC, key, parts))

    def parts(self) -> list[bytes]:
        """One of each segment, in order, empty where there is none. Raises ``Rejected`` for other bytes."""
        return _unpacked(self.data, CERTIFICATE_MAGIC, "certificate of a bundle", "certificate")

    def digest(self) -> bytes:
        """What a statement names."""
        return blake3(b"syurmy-vm bundle certificate" + self.data).digest()


def _packed(magic: bytes, key: BundleKey, parts: Sequence[bytes]) -> bytes:
    head = magic + _HEAD.pack(key.digest(), len(parts))
    return b"".join([head, *(_LENGTH.pack(len(p)) for p in parts), *parts])


def _unpacked(data: bytes, magic: bytes, what: str, part: str) -> list[bytes]:
    """Raises ``Rejected`` for bytes that ``_packed`` does not give."""
    start = len(magic) + _HEAD.size
    if data[:8] != magic[:8] or len(data) < start:
        raise Rejected("format", f"this is not a {what}")
    if data[:10] != magic:
        version = int.from_bytes(data[8:10], "little")
        todo = renewed(version, "prove" if part == "proof" else "certify")
        raise Rejected("format", f"the {what} has protocol version {version}, not {PROTOCOL_VERSION}: {todo}")
    _, count = _HEAD.unpack_from(data, len(magic))
    if not 1 <= count <= MAX_SEGMENTS or len(data) < start + _LENGTH.size * count:
        raise Rejected("format", f"the {what} is truncated, or says that it has too many parts")
    at = start + _LENGTH.size * count
    out = []
    for k in range(count):
        (size,) = _LENGTH.unpack_from(data, start + _LENGTH.size * k)
        if size > len(data) - at:
            raise Rejected("format", f"the {what} ends within {part} {k} of {count}, counted from 0")
        out.append(data[at : at + size])
        at += size
    if at != len(data):
        raise Rejected("format", f"{len(data) - at} bytes after the end of the {what}")
    return out
