"""Bundles: proofs of segments that are linked by the names they declare (section 12)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syurmy.isa.errors import SyurmyError
from syurmy.isa.inference import Types, infer_types
from syurmy.isa.types import TensorType
from syurmy.isa.wellformed import valid_name
from tests.reference_verifier.errors import Rejected, require
from tests.reference_verifier.files import VERSION, Bytes, Key, read_key
from tests.reference_verifier.transcript import digest
from tests.reference_verifier.verify import Statement, Verifier

PRIVATE, PUBLIC, COMMITTED = range(3)
MAX_SEGMENTS = 2**10
MAX_FOLLOWED = 5 * 10**5
MAX_NAMED = 2**12


@dataclass(frozen=True)
class BundleKey:
    """``inputs`` and ``outputs``: the interface, names and how they are shown. ``links``: names that several segments
    declare, and these segments. ``most``: steps, 0 where the whole is not run in steps; ``carried``: what each hands
    on."""

    name: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    segments: list[bytes]
    digest: bytes
    links: Mapping[str, list[int]]
    most: int = 0
    carried: Sequence[Carried] = ()


@dataclass(frozen=True)
class Carried:
    """The next step's input ``target`` is this one's ``source``, an output (``made``) or an input, both ``public`` or
    both committed; ``first``: what its entries are in the first step, or None."""

    source: str
    target: str
    first: int | None
    made: bool
    public: bool


@dataclass(frozen=True)
class Declared:
    """An input or output of a segment, as its program says."""

    segment: int
    visibility: int
    type: TensorType


def _visibility(public: bool, committed: bool) -> int:
    return COMMITTED if committed else PUBLIC if public else PRIVATE


def _few(f: Bytes) -> int:
    count = f.leb128()
    require(count <= MAX_NAMED, "bundle key", "it names too many inputs, outputs or tensors that are carried")
    return count


def _interface(f: Bytes) -> dict[str, int]:
    out: dict[str, int] = {}
    for _ in range(_few(f)):
        name = f.text()
        require(name not in out, "bundle key", f"{name} stands in the interface twice")
        out[name] = f.leb128()
        require(out[name] <= COMMITTED, "bundle key", "an input or output is shown in no known way")
    return out


def read_bundle_key(data: bytes) -> BundleKey:
    f = Bytes(data, "bundle key")
    require(f.take(8) == b"SYURMYBK", "bundle key", "this is no key of a bundle")
    require(f.number(2) == VERSION, "bundle key", "it is of another version")
    name = f.text()
    require(valid_name(name), "bundle key", "it has no name")
    inputs, outputs = _interface(f), _interface(f)
    count, most, handed = f.leb128(), 0, list[tuple[str, str, int]]()
    stepped = count == 0
    if stepped:
        most = f.leb128()
        handed = [(f.text(), f.text(), f.leb128()) for _ in range(_few(f))]
        require(len(handed) > 0, "bundle key", "steps hand nothing on")
        count = f.leb128()
    require(1 <= count <= MAX_SEGMENTS, "bundle key", "the number of segments is out of range")
    proofs = count * most if stepped else count
    require(1 <= proofs <= MAX_SEGMENTS, "bundle key", "the number of proofs is out of range")
    head = data[: f.at]
    encoded = [f.take(f.leb128()) for _ in range(count)]
    segments = [read_key(k) for k in encoded]
    description = f.take(f.leb128())
    f.end()
    require(len({k.hiding for k in segments}) == 1, "bundle key", "some segments hide and some do not")
    named = b"".join(k.digest for k in segments)
    name_of = digest(b"syurmy-vm bundle key" + head + named + digest(b"syurmy-vm description" + description))
    links = links_of(segments, inputs, outputs)
    carried = carried_of(segments, inputs, outputs, handed)
    return BundleKey(name, inputs, outputs, encoded, name_of, links, most, carried)


def carried_of(
    segments: Sequence[Key],
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    handed: Sequence[tuple[str, str, int]],
) -> list[Carried]:
    """Raises ``Rejected`` where steps cannot hand on what the key says."""

    def rule(condition: bool, name: str, message: str) -> None:
        require(condition, "steps", f"{name}: {message}")

    taken_in = {i.name: i.type for k in segments for i in k.program.inputs}
    put_out = {o.name: t.final[o.name] for k, t in zip(segments, types_of(segments), strict=True)
               for o in k.program.outputs}  # fmt: skip
    found: list[Carried] = []
    for source, target, first in handed:
        rule(target in inputs, target, "it is no input")
        rule(all(c.target != target for c in found), target, "two are handed on to it")
        made = source in outputs
        rule(made or source in inputs, source, "nothing has this name")
        shown = outputs[source] if made else inputs[source]
        rule(shown == inputs[target] != PRIVATE, target, "it is shown in different ways")
        a, b = put_out[source] if made else taken_in[source], taken_in[target]
        rule(a.shape == b.shape, target, "its shapes differ")
        rule(shown == PUBLIC or a.dtype == b.dtype, target, "its dtypes differ")
        rule(first == 0 or (shown == PUBLIC and b.lo <= first - 1 <= b.hi), target, "it cannot begin so")
        found.append(Carried(source, target, first - 1 if first else None, made, shown == PUBLIC))
    return found


def types_of(segments: Sequence[Key]) -> list[Types]:
    out, again = [], 0
    for k in segments:
        try:
            out.append(infer_types(k.program, max_steps=k.max_steps))
        except SyurmyError as e:
            raise Rejected("bundle key", f"a segment's program is refused: {e}") from None
        again += max(0, out[-1].followed - len(k.program.code))
        require(again <= MAX_FOLLOWED, "bundle key", "inference follows too many instructions again")
    return out


def links_of(segments: Sequence[Key], inputs: Mapping[str, int], outputs: Mapping[str, int]) -> dict[str, list[int]]:
    """The names that several segments declare. Raises ``Rejected`` where the segments are not linked by the rules."""

    def rule(condition: bool, name: str, message: str) -> None:
        require(condition, "links", f"{name}: {message}")

    types = types_of(segments)
    first: dict[str, Declared] = {}  # of inputs of the interface
    made: dict[str, Declared] = {}  # outputs so far
    taken: set[str] = set()  # outputs that a later segment takes in
    declared: dict[str, dict[int, None]] = {}
    shared: dict[str, list[Declared]] = {}
    for k, key in enumerate(segments):
        program = key.program
        mine = {i.name for i in program.inputs}
        for i in program.inputs:
            here = Declared(k, _visibility(i.public, i.committed), i.type)
            declared.setdefault(i.name, {})[k] = None
            if i.name in inputs:
                of_whole = inputs[i.name]
                rule((here.visibility == PUBLIC) == (of_whole == PUBLIC), i.name, "it is public in one place")
                rule(of_whole != COMMITTED or here.visibility == COMMITTED, i.name, "it is not committed here")
                rule(first.setdefault(i.name, here).type == i.type, i.name, "its types differ")
                shared.setdefault(i.name, []).append(here)
                continue
            source = made.get(i.name)
            rule(source is not None, i.name, "no earlier segment puts it out")
            assert source is not None
            rule(here.visibility == source.visibility != PRIVATE, i.name, "it is shown in different ways")
            rule(here.type == source.type, i.name, "its types differ")
            taken.add(i.name)
        for o in program.outputs:
            here = Declared(k, _visibility(o.public, o.committed), types[k].final[o.name])
            declared.setdefault(o.name, {})[k] = None
            rule(o.name not in made, o.name, "two segments put it out")
            rule(o.name not in inputs or o.name in mine, o.name, "it is an input of the whole")
            rule(o.name in inputs or o.name not in mine, o.name, "it is what another segment puts out")
            made[o.name] = here
    for several in shared.values():
        if len(several) > 1:
            shown = {d.visibility for d in several}
            rule(PRIVATE not in shown, "inputs", "one that several segments declare is private")
    for name, here in made.items():
        if name in outputs:
            of_whole = outputs[name]
            as_there = here.visibility == of_whole or (of_whole == PRIVATE and here.visibility == COMMITTED)
            rule(as_there, name, "it is shown in different ways")
        else:
            rule(here.visibility == COMMITTED, name, "it leaves a segment and is not committed")
            later = name in taken or any(k > here.segment for k in declared[name])
            rule(later, name, "no later segment takes it in")
    rule(all(name in first for name in inputs), "inputs", "one of the whole is declared by no segment")
    rule(all(name in made for name in outputs), "outputs", "one of the whole is put out by no segment")
    return {name: list(where) for name, where in declared.items() if len(where) > 1}


def verify_bundle(key: bytes, bundle: bytes, certificate: bytes | None = None) -> list[Statement]:
    """The statements of the segments; with the key's ``certificate`` also of proofs that rest on it. Raises
    ``Rejected``."""
    known = read_bundle_key(key)
    verifiers = verifiers_of(known, certificate)
    proofs, size = parts_of(known, bundle, b"SYURMYBP"), len(known.segments)
    count = len(proofs)
    whole = count == size if not known.most else count % size == 0 and size <= count <= known.most * size
    require(whole, "bundle", "it has another number of proofs")
    statements = [verifiers[k % size].verify(proof) for k, proof in enumerate(proofs)]
    require(len({s.path.batch for s in statements}) == 1, "links", "the proofs are of different numbers of inputs")
    steps = [statements[k : k + size] for k in range(0, count, size)]
    for one in steps:
        check_links(known.links, one)
    check_steps(known.carried, steps)
    return statements


def verifiers_of(known: BundleKey, certificate: bytes | None) -> list[Verifier]:
    """Of the segments' proofs, each with its part of the certificate, which is verified. Raises ``Rejected``."""
    if certificate is None:
        return [Verifier(segment) for segment in known.segments]
    parts = parts_of(known, certificate, b"SYURMYBC")
    require(len(parts) == len(known.segments), "certificate", "it has another number of parts")
    committed = [read_key(segment).root is not None for segment in known.segments]
    require(any(committed), "certificate", "no segment has committed params")
    require([len(part) > 0 for part in parts] == committed, "certificate", "a part and a root go together")
    return [Verifier(segment, part or None) for segment, part in zip(known.segments, parts, strict=True)]


def parts_of(known: BundleKey, data: bytes, magic: bytes) -> list[bytes]:
    """What a bundle or a certificate under this key is made of."""
    f = Bytes(data, "bundle")
    require(f.take(8) == magic, "bundle", "this is no such file")
    require(f.number(2) == VERSION, "bundle", "it is of another version")
    require(f.take(32) == known.digest, "bundle", "it is one of another key")
    count = f.number(4)
    require(1 <= count <= MAX_SEGMENTS, "bundle", "the number of parts is out of range")
    lengths = [f.number(8) for _ in range(count)]
    parts = [f.take(n) for n in lengths]
    f.end()
    return parts


def check_steps(carried: Sequence[Carried], steps: Sequence[Sequence[Statement]]) -> None:
    for c in carried:
        if c.first is not None:
            entries = _shown(steps[0], c.target, False)
            require(all(x == c.first for x in entries), "steps", f"{c.target} does not begin with {c.first}")
        for before, after in itertools.pairwise(steps):
            if not c.public:
                theirs = [s.commitments[c.target] for s in after if c.target in s.commitments]
                mine = [s.commitments[c.source] for s in before if c.source in s.commitments]
                require(len({*mine, *theirs}) == 1, "steps", f"the commitment to {c.target} is not handed on")
            else:
                same = _shown(before, c.source, c.made) == _shown(after, c.target, False)
                require(same, "steps", f"{c.target} is not handed on")


def _shown(step: Sequence[Statement], name: str, made: bool) -> Sequence[int]:
    """What a step shows of an input, or an output (``made``)."""
    source = "output" if made else "input"
    return next(v.entries for s in step for v in s.values if v.name == name and v.source == source)


def check_links(links: Mapping[str, Sequence[int]], statements: Sequence[Statement]) -> None:
    for name, where in links.items():
        digests = {statements[k].commitments[name] for k in where if name in statements[k].commitments}
        require(len(digests) <= 1, "links", f"the segments' commitments to {name} differ")
        shown = [v.entries for k in where for v in statements[k].values if v.name == name and v.source != "reveal"]
        require(all(v == shown[0] for v in shown), "links", f"the segments show different values of {name}")
