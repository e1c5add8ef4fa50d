"""Verifies bundles: every segment's proof, every link, and what they say together (protocol section 12)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from syurmy.isa.arrays import I64
from syurmy.isa.errors import InputError
from syurmy.isa.records import dataclass
from syurmy.isa.refusal import refusing
from syurmy.isa.source import Source
from syurmy.isa.summary import Summary
from syurmy.prover.protocol.bundle import Bundle, BundleCertificate, BundleKey, Steps, miscounted
from syurmy.prover.protocol.certificate import Certificate
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.protocol.proof import Proof
from syurmy.prover.protocol.tensors import TensorCommitment
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.certificate import Certified, check_certificate
from syurmy.prover.verifier.verify import Statement, Verifier


@dataclass(frozen=True, repr=False)
class BundleCertified(Summary):
    """What an accepted certificate says of a whole's key; ``segments``: of those of its segments, None where no param
    is committed. ``soundness`` has the bits of each, ``soundness_bits`` is the least of them. That a param of several
    segments (``shared_params``) is the same in each it does not say."""

    program: str
    key_digest: bytes
    digest: bytes
    soundness_bits: float
    soundness: list[tuple[str, float]]
    segments: tuple[Certified | None, ...]
    shared_params: tuple[str, ...]

    def summary(self) -> list[tuple[str, str]]:
        return [("of program", self.program), ("key", f"{self.key_digest.hex()[:16]}…")]


def check_bundle_certificate(key: BundleKey | Source, certificate: BundleCertificate | Source) -> BundleCertified:
    """Accepts the certificate of a whole's key, or raises ``Rejected``, which says of what segment; ``InputError`` for
    a file that cannot be read, or is none, and for a key that cannot be used or has no committed params."""
    whole, found = BundleKey.load(key), BundleCertificate.given(certificate)
    if all(segment.params_root is None for segment in whole.segments):
        raise InputError("no param is committed: there is nothing to certify", code="K149")
    with refusing(partial(Rejected, "format"), mistakes=True):
        parts = found.parts()
    if (named := found.key_digest) != (own := whole.digest()):
        which = f"it names {named.hex()[:16]}, this is {own.hex()[:16]} of {whole.name}"
        raise Rejected("statement", f"the certificate belongs to another key: {which}")
    if len(parts) != (size := len(whole.segments)):
        raise Rejected("segments", f"it holds {len(parts)} certificates of {size} segments")
    pairs = [(segment, Certificate(part)) for segment, part in zip(whole.segments, parts, strict=True)]
    for k, (segment, one) in enumerate(pairs):  # what needs no work first
        if (segment.params_root is None) != (not one.data):
            raise Rejected(f"segment {k}", "its certificate is missing" if not one.data else "it commits no param")
        if (whose := _whose(whole, one.key_digest)) not in (None, k):
            raise Rejected(f"segment {k}: statement", f"it is the certificate of segment {whose}")
    return certified(whole, found, [_certified(k, *pair) if pair[1].data else None for k, pair in enumerate(pairs)])


def certified(key: BundleKey, certificate: BundleCertificate, segments: Sequence[Certified | None]) -> BundleCertified:
    """What a certificate says of the whole's key, of which each part was accepted under its segment's."""
    rows = [(f"segment {k}", one.soundness_bits) for k, one in enumerate(segments) if one is not None]
    own, said = key.digest(), certificate.digest()
    return BundleCertified(key.name, own, said, _least(rows), rows, tuple(segments), key.shared_params)


def _certified(k: int, segment: VerifyingKey, certificate: Certificate) -> Certified:
    try:
        return check_certificate(segment, certificate)
    except Rejected as e:
        raise Rejected(f"segment {k}: {e.step}", e.reason) from e


@dataclass(frozen=True, repr=False)
class BundleStatement(Statement):
    """What an accepted bundle says of the whole; ``segments``: what its proofs say one by one; ``links``: the digest of
    the commitment to every tensor that is handed on and not shown; ``shared_params``: see ``BundleKey``. Instructions
    (of ``reveals`` and ``branches``) are counted through all segments, without the halts between them.

    ``soundness`` has the bits of each proof, ``soundness_bits`` is the least of them.

    Of a whole that is run in steps ``steps`` has what each says; inputs and outputs are stacked, with a first axis more
    that counts steps, committed inputs are those of the first step, committed outputs those of the last."""

    segments: tuple[Statement, ...] = ()
    links: tuple[tuple[str, bytes], ...] = ()
    shared_params: tuple[str, ...] = ()
    steps: tuple[BundleStatement, ...] = ()


class BundleVerifier(Summary):
    """The key of a whole. The plan of a segment is made when its proof is read, and let go of with the next: a
    stranger's key may have many. ``certificate``: that of the key, which is checked here, once. ``max_steps``,
    ``max_batch``: of each proof, as ``Verifier`` takes them. Raises ``SyurmyError`` if the key cannot be used, here or,
    where that is a segment's program, in ``verify``; ``Rejected`` for a certificate that does not hold."""

    def __init__(
        self,
        key: BundleKey | Source,
        *,
        certificate: BundleCertificate | Source | None = None,
        max_steps: int | None = None,
        max_batch: int | None = None,
    ) -> None:
        self.key = BundleKey.load(key)
        self.max_steps, self.max_batch = max_steps, max_batch
        self.certificate = None if certificate is None else BundleCertificate.given(certificate)
        self.certified = None if self.certificate is None else check_bundle_certificate(self.key, self.certificate)
        self._last: tuple[int, Verifier] | None = None

    def segment(self, k: int) -> Verifier:
        """That of one segment's proofs; they are counted through all steps. The last one is kept, which may be that of
        the next step, too."""
        at, last = k % len(self.key.segments), self._last
        if last is None or last[0] != at:
            certified = None if self.certified is None else self.certified.segments[at]
            made = Verifier(
                self.key.segments[at], max_steps=self.max_steps, max_batch=self.max_batch, certified=certified
            )
            last = self._last = at, made
        return last[1]

    def verify(self, bundle: Bundle | Source) -> BundleStatement:
        """Accepts, or raises ``Rejected``, which says of what segment or link; no other exception on any bytes. Raises
        ``InputError`` for a file that cannot be read, or is no bundle, and for a segment's key that cannot be used."""
        found = Bundle.given(bundle)
        with refusing(partial(Rejected, "format"), mistakes=True):
            proofs = found.proofs()
            if (named := found.key_digest) != (own := self.key.digest()):
                which = f"it names {named.hex()[:16]}, this is {own.hex()[:16]} of {self.key.name}"
                raise Rejected("statement", f"the bundle belongs to another key: {which}")
            if (fault := miscounted(self.key, len(proofs))) is not None:
                raise Rejected("segments" if self.key.steps is None else "steps", fault)
            return self.joined([self.part(k, proof) for k, proof in enumerate(proofs)])

    def joined(self, parts: Sequence[Statement]) -> BundleStatement:
        """What the whole says, of accepted proofs: see ``joined``. Raises ``Rejected``."""
        return joined(self.key, parts, None if self.certified is None else self.certified.digest)

    def part(self, k: int, proof: bytes) -> Statement:
        """What proof ``k`` of a bundle says. Raises ``Rejected``."""
        try:
            return self.segment(k).verify(proof)
        except Rejected as e:
            whose = _whose(self.key, Proof(proof).key_digest)
            own = whose in (None, k % len(self.key.segments))
            reason = e.reason if own else f"it is the proof of segment {whose}"
            raise Rejected(f"{_place(self.key, k)}: {e.step}", reason) from e

    def summary(self) -> list[tuple[str, str]]:
        return self.key.summary()


def _whose(key: BundleKey, named: bytes) -> int | None:
    """The segment whose key has this digest, if one has."""
    return next((k for k, segment in enumerate(key.segments) if segment.digest() == named), None)


def _place(key: BundleKey, k: int) -> str:
    """Of proof ``k`` the segment, the step or both."""
    step, segment = divmod(k, len(key.segments))
    names = [] if key.steps is None else [f"step {step}"]
    names += [f"segment {segment}"] if len(key.segments) > 1 or key.steps is None else []
    return ", ".join(names)


def joined(key: BundleKey, parts: Sequence[Statement], certificate: bytes | None = None) -> BundleStatement:
    """What the whole says, of accepted proofs of all of its segments in order, step after step, and the digest of the
    key's ``certificate`` that was checked. Raises ``Rejected`` for a link that does not hold: the last thing between
    the parts and the whole."""
    size = len(key.segments)
    for k, part in enumerate(parts):
        if part.key_digest != key.segments[k % size].digest():
            raise Rejected(_place(key, k), "its proof belongs to another key")
        if part.batch != parts[0].batch:
            first = _place(key, 0)
            raise Rejected(_place(key, k), f"it is of {part.batch} inputs, {first} of {parts[0].batch}")
    if key.steps is None:
        return _once(key, parts, certificate)
    steps = []
    for k in range(0, len(parts), size):
        try:
            steps.append(_once(key, parts[k : k + size], certificate))
        except Rejected as e:
            raise Rejected(f"step {k // size}: {e.step}", e.reason) from e
    return _chained(key, key.steps, steps)


def _once(key: BundleKey, parts: Sequence[Statement], certificate: bytes | None) -> BundleStatement:
    """What the whole says of one run. Raises ``Rejected``."""
    links = []
    for link in key.links:
        first, *others = link.segments
        for k in others:
            if not _same(parts[first], parts[k], link.name, link.public, link.source is not None):
                what = "shows other values of it than" if link.public else "names another commitment to it than"
                raise Rejected(f"link '{link.name}'", f"segment {k} {what} segment {first}")
        if not link.public:
            links.append((link.name, parts[first].commitments[link.name].digest()))
    return _whole(key, parts, tuple(links), certificate)


def _chained(key: BundleKey, how: Steps, steps: Sequence[BundleStatement]) -> BundleStatement:
    """What steps say together. Raises ``Rejected`` for what is not handed on."""
    links = []
    committed = {i.name for i in key.inputs if i.committed}  # a public input may be a committed output, too
    for c in how.carried:
        if c.first is not None and not (steps[0].inputs[c.target] == c.first).all():
            found = steps[0].inputs[c.target].reshape(-1).tolist()
            raise Rejected(f"link '{c.target}'", f"step 0 shows {found}, {c.first} is where steps begin")
    for k, (before, after) in enumerate(pairwise(steps), 1):
        for c in how.carried:
            if c.target in committed:
                x, y = (s.commitments[name] for s, name in ((before, c.source), (after, c.target)))
                if x.digest() != y.digest():
                    what = f"step {k} names another commitment to it than step {k - 1} to '{c.source}'"
                    raise Rejected(f"link '{c.target}'", what)
                links.append((f"step {k}: {c.target}", y.digest()))
                continue
            v, w = (before.outputs if c.source in before.outputs else before.inputs)[c.source], after.inputs[c.target]
            if not np.array_equal(v, w):
                shown, said = (q.reshape(-1)[:4].tolist() for q in (w, v))
                what = f"step {k} shows {shown}, step {k - 1} says '{c.source}' = {said}"
                raise Rejected(f"link '{c.target}'", what)
    first, last = steps[0], steps[-1]
    inputs, outputs = (
        {name: np.stack([getattr(s, side)[name] for s in steps]) for name in getattr(first, side)}
        for side in ("inputs", "outputs")
    )
    commitments = {name: (first if name in committed else last).commitments[name] for name in first.commitments}
    code = sum(len(p.code) - 1 for p in key.programs)
    reveals = [(k * code + i, v) for k, s in enumerate(steps) for i, v in s.reveals]
    branches = {k * code + i: bits for k, s in enumerate(steps) for i, bits in s.branches.items()}
    parts = tuple(part for s in steps for part in s.segments)
    rows = [(_place(key, k), part.soundness_bits) for k, part in enumerate(parts)]
    inner = [(f"step {k}: {name}", digest) for k, s in enumerate(steps) for name, digest in s.links]
    return BundleStatement(
        key.name, key.digest(), inputs, outputs, reveals, _least(rows), rows, first.batch, branches,
        key.description, key.hiding, commitments, first.certificate, parts, (*inner, *links), key.shared_params,
        tuple(steps),
    )  # fmt: skip


def _least(rows: Sequence[tuple[str, float]]) -> float:
    """The bits of a bundle: those of its weakest proof, as every call of the hash is a try at one (section 12)."""
    return min(bits for _, bits in rows)


def _same(a: Statement, b: Statement, name: str, public: bool, made: bool) -> bool:
    """Do two segments name the same tensor? ``made``: by the first of them."""
    if not public:
        return a.commitments[name].digest() == b.commitments[name].digest()
    x, y = (a.outputs if made else a.inputs)[name], b.inputs[name]
    return x.shape == y.shape and np.array_equal(x, y)


def _whole(
    key: BundleKey, parts: Sequence[Statement], links: tuple[tuple[str, bytes], ...], certificate: bytes | None
) -> BundleStatement:
    inputs: dict[str, I64] = {}
    outputs: dict[str, I64] = {}
    commitments: dict[str, TensorCommitment] = {}
    declared = {i.name: part for p, part in zip(key.programs, parts, strict=True) for i in p.inputs}
    made = {o.name: part for p, part in zip(key.programs, parts, strict=True) for o in p.outputs}
    for port in key.inputs:  # of several segments that declare one, all show the same
        if port.public:
            inputs[port.name] = declared[port.name].inputs[port.name]
        elif port.committed:
            commitments[port.name] = declared[port.name].commitments[port.name]
    for port in key.outputs:
        if port.public:
            outputs[port.name] = made[port.name].outputs[port.name]
        elif port.committed:
            commitments[port.name] = made[port.name].commitments[port.name]
    reveals: list[tuple[int, I64]] = []
    branches: dict[int, Sequence[int]] = {}
    first = 0
    for program, part in zip(key.programs, parts, strict=True):
        reveals += [(first + i, v) for i, v in part.reveals]
        branches |= {first + i: bits for i, bits in part.branches.items()}
        first += len(program.code) - 1
    rows = [(f"segment {k}", part.soundness_bits) for k, part in enumerate(parts)]
    return BundleStatement(
        key.name, key.digest(), inputs, outputs, reveals, _least(rows), rows, parts[0].batch, branches,
        key.description, key.hiding, commitments, certificate, tuple(parts), links, key.shared_params,
    )  # fmt: skip
