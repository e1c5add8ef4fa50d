"""Programs that are proven in segments: their keys, their runs, and bundles of their proofs.

The segments of ``DIR/model.tasm`` lie in ``DIR/segments/N/model.tasm``, their keys beside them, one key of the whole
(``prover/protocol/bundle.py``) beside the whole. Only one segment's key and trace are in memory at a time.

What is run in steps, a bundle of which has proofs of every one, is kept in the same way: a program in one piece is its
own only segment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import syurmy
from syurmy import committing, keys
from syurmy.files import read_bytes, write_whole
from syurmy.isa.arrays import I64, Array
from syurmy.isa.errors import InputError, SyurmyError, Trap
from syurmy.isa.program import Program
from syurmy.isa.segments import cut
from syurmy.parts import Parts, Share
from syurmy.prover.protocol.bundle import Bundle, BundleCertificate, BundleKey, Port, Steps
from syurmy.prover.protocol.certificate import Certificate
from syurmy.prover.protocol.description import Description
from syurmy.prover.protocol.key import DEFAULT_PROOFS, Mode, VerifyingKey
from syurmy.prover.protocol.proof import Report
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.tensors import TensorOpening
from syurmy.prover.verifier.bundle import BundleCertified, BundleStatement, BundleVerifier, certified
from syurmy.prover.verifier.certificate import Certified, check_certificate
from syurmy.prover.verifier.verify import Statement
from syurmy.vm.events import Event, Executed, Fetched, Halted, Listener, Trapped

if TYPE_CHECKING:
    from syurmy.cluster import Cluster, Task
    from syurmy.prover.keys import ProvingKey

FOLDER = "segments"
TEXTS = 2  # the longest, that a key for steps is for unless told otherwise
SPARE = 2  # proofs beyond those of the bundle in which what crosses stays hidden: as many may break off
Tell = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Segmented:
    """A program in its file, the instructions before which it is cut, and what its integers stand for; ``steps``: how
    it is run again and again, if it is."""

    path: Path
    program: Program
    cuts: tuple[int, ...]
    description: Description = field(default_factory=Description)
    steps: Steps | None = None

    @cached_property
    def segments(self) -> tuple[Program, ...]:
        return cut(self.program, self.cuts)

    @property
    def starts(self) -> tuple[int, ...]:
        """The instruction of the whole with which each segment begins."""
        return (0, *self.cuts)

    def file(self, k: int) -> Path:
        """The program of segment ``k``."""
        return self.path.parent / FOLDER / str(k) / self.path.name

    def keys_of(self, k: int, folder: Path | None) -> Path:
        """The folder of the keys of segment ``k``."""
        return (self.path.parent if folder is None else folder) / FOLDER / str(k)

    def key_of(self, k: int, folder: Path | None) -> Path:
        """The proving key of segment ``k``."""
        return keys.key_paths(self.file(k), self.keys_of(k, folder))[0]

    def load(self, k: int, keys_folder: Path | None = None) -> ProvingKey:
        """The proving key of segment ``k``, which ``obtain`` has seen to."""
        from syurmy.prover.keys import ProvingKey

        return ProvingKey.load(self.key_of(k, keys_folder), self.segments[k])

    def described(self, k: int) -> Description:
        """What the key of segment ``k`` says: of the whole's inputs and outputs that it declares."""
        d, program = self.description, self.segments[k]
        inputs, outputs = {i.name for i in program.inputs}, {o.name for o in program.outputs}
        mine = tuple(x for x in d.inputs if x.name in inputs), tuple(x for x in d.outputs if x.name in outputs)
        out = Description(d.title, d.source, *mine)
        try:
            out.check(program)
        except InputError:  # a register that crosses has the name under which another one is shown
            return Description(d.title, d.source)
        return out

    def key(self, segments: Sequence[VerifyingKey]) -> BundleKey:
        """The key of the whole with these keys of its segments."""
        inputs = tuple(Port(i.name, i.public, i.committed) for i in self.program.inputs)
        outputs = tuple(Port(o.name, o.public, o.committed) for o in self.program.outputs)
        return BundleKey(self.program.name, inputs, outputs, tuple(segments), self.description, self.steps)

    @property
    def most_proofs(self) -> int:
        """How many a bundle may have."""
        return len(self.segments) * (1 if self.steps is None else self.steps.most)


def usual_proofs(at: Segmented) -> int:
    """For how many proofs a key is unless told otherwise."""
    return DEFAULT_PROOFS if at.steps is None else max(DEFAULT_PROOFS, TEXTS * at.steps.most)


# ---- keys ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """The key of the whole; ``paths``: its file, then the segments' proving keys; ``reused``: nothing was made;
    ``replaced``: the digest of the key that it took the place of."""

    key: BundleKey
    paths: tuple[Path, ...]
    reused: bool
    replaced: bytes | None = None


def obtain(
    at: Segmented,
    folder: Path | None = None,
    max_steps: int | None = None,
    agreed: Callable[[str], bool] = lambda change: False,
    no_zk: bool = False,
    proofs: int | None = None,
    renew: bool = False,
    tell: Tell = lambda phase, fraction: None,
) -> Kept:
    """The keys of all segments, one after the other in memory, and that of the whole, which is written last; see
    ``keys.obtain``. It is agreed once to replace what others have. Raises ``InputError`` as that does."""
    hiding = False if no_zk else Mode.of(at.program).hiding
    vk_path = keys.key_paths(at.path, folder)[1]
    old = keys.readable(vk_path)
    answers: list[bool] = []

    def once(change: str) -> bool:
        if not answers:
            answers.append(old is None or agreed(change))
        return answers[0]

    found: list[VerifyingKey] = []
    paths, reused = [vk_path], True
    for k, program in enumerate(at.segments):
        tell(f"set-up of segment {k + 1} of {len(at.segments)}", k / len(at.segments))
        where = at.keys_of(k, folder)
        try:
            kept = keys.obtain(
                program,
                at.file(k),
                where,
                max_steps,
                once,
                no_zk,
                proofs,
                renew,
                at.described(k),
                hiding,
                usual_proofs(at),
            )
        except InputError as e:
            if e.code != "F120" or not k or renew:  # which begins with the first
                raise
            message = f"{e.message}; the keys of {k} of {len(at.segments)} segments are there"
            raise InputError(message, code="F120", help="make room: the same command goes on from there") from e
        found.append(kept.key.verifying_key)
        paths.append(keys.key_paths(at.file(k), where)[0])
        reused &= kept.reused
    key = at.key(found)
    data, replaced = key.to_bytes(), None
    if old is not None and old.digest() != key.digest():
        replaced = old.digest()
        if not once(f"{vk_path} is {replaced.hex()[:16]}…, the key of this program is {key.digest().hex()[:16]}…"):
            raise InputError(
                f"{vk_path} is the key of other segments",
                code="K160",
                help="--rekey replaces it, --keys DIR keeps both",
            )
    if not vk_path.exists() or read_bytes(vk_path) != data:
        write_whole(vk_path, data)
    return Kept(key, tuple(paths), reused, replaced)


@dataclass(frozen=True)
class Certifying:
    """A certificate of the key of a whole, and what it says; ``resumed``: segments whose certificates were there;
    ``left``: see ``prover.certify.proofs_left``, of the segment that has the fewest."""

    certificate: BundleCertificate
    certified: BundleCertified
    resumed: int
    left: tuple[int, int] | None


def certify(
    key: BundleKey,
    load: Callable[[int], ProvingKey],
    parts: Parts,
    tell: Tell = lambda phase, fraction: None,
) -> Certifying:
    """A certificate of the key of a whole. ``load`` gives the proving key of a segment. What is finished in ``parts``
    is taken from there. Raises ``InputError`` as ``syurmy.certify``, for each segment."""
    from syurmy.prover.certify import proofs_left as left_of

    count = len(key.segments)
    found: list[tuple[bytes, Certified | None]] = []
    resumed, left = 0, list[tuple[int, int]]()
    if all(segment.params_root is None for segment in key.segments):
        raise InputError("no param is committed: there is nothing to certify", code="K149")
    for k, segment in enumerate(key.segments):
        if segment.params_root is None:
            found.append((b"", None))
            continue
        own = load(k)
        if own.verifying_key.digest() != segment.digest():
            message = f"the proving key of segment {k} is not that of the whole's key"
            raise InputError(message, code="K131", help="syurmy-vm setup makes the key of the whole again")
        kept = _kept_certificate(segment, parts.proof(k))
        resumed += kept is not None
        found.append(kept or _certified(k, own, parts, _telling(tell, k, count)))
        left += [one] if (one := left_of(own)) is not None else []
    made = BundleCertificate.of(key, [data for data, _ in found])
    fewest = (min(a for a, _ in left), min(b for _, b in left)) if left else None
    return Certifying(made, certified(key, made, [said for _, said in found]), resumed, fewest)


def _kept_certificate(segment: VerifyingKey, data: bytes | None) -> tuple[bytes, Certified] | None:
    """A certificate that was made before, if it holds."""
    with suppress(Rejected):
        return None if data is None else (data, check_certificate(segment, Certificate(data)))
    return None


def _certified(k: int, own: ProvingKey, parts: Parts, tell: Tell) -> tuple[bytes, Certified]:
    """Makes, checks and keeps the certificate of segment ``k``'s key."""
    made = syurmy.certify(own, tell)
    said = check_certificate(own.verifying_key, made)
    parts.keep(k, made.data)
    return made.data, said


# ---- runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """``inputs`` and ``outputs`` of the whole, private ones too; ``values``: these and what crosses, by name;
    ``branches``: how many bits the path has; ``batch``: how many inputs."""

    inputs: dict[str, I64]
    outputs: dict[str, I64]
    values: dict[str, I64]
    steps: int
    branches: int
    batch: int


def run(
    at: Segmented,
    inputs: Mapping[str, Array],
    batch: bool = False,
    max_steps: int | None = None,
    listeners: Sequence[Listener] = (),
    tell: Tell = lambda phase, fraction: None,
) -> Run:
    """Run all segments in order; of each only what crosses is kept. Listeners hear the whole's instructions and steps.
    Raises as ``syurmy.run``; ``max_steps`` is of each segment."""
    values = _checked(at.program, inputs, batch)
    given = dict(values)
    steps = branches = count = 0
    for k, program in enumerate(at.segments):
        tell("execute", k / len(at.segments))
        mine = {i.name: values[i.name] for i in program.inputs}
        heard = [_shifted(listener, at.starts[k], steps, k + 1 == len(at.segments)) for listener in listeners]
        try:
            trace = syurmy.run(program, mine, batch=batch, max_steps=max_steps, listeners=heard)
        except Trap as e:
            e.instruction = None if e.instruction is None else e.instruction + at.starts[k]
            raise
        values |= trace.outputs
        steps, count = steps + len(trace.path), trace.batch
        branches += sum(map(len, trace.bits.values()))
    outputs = {o.name: values[o.name] for o in at.program.outputs}
    return Run(given, outputs, values, steps, branches, count)


def _checked(program: Program, inputs: Mapping[str, Array], batch: bool) -> dict[str, I64]:
    """The inputs of the whole. Raises ``InputError`` as running it does."""
    from syurmy.vm.inputs import validated, validated_batch

    if not batch:
        return validated(program, inputs)
    each = validated_batch(program, inputs)
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


def _shifted(listener: Listener, start: int, steps: int, last: bool) -> Listener:
    """Tells of a segment's instructions what they are in the whole."""

    def heard(event: Event) -> None:
        if isinstance(event, Fetched | Executed | Trapped):
            listener(replace(event, index=event.index + start, step=event.step + steps))
        elif isinstance(event, Halted) and last:
            listener(replace(event, steps=event.steps + steps))

    return heard


# ---- proofs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proven:
    """A bundle and what it says; ``resumed``: segments whose proofs were there."""

    bundle: Bundle
    statement: BundleStatement
    resumed: int


def prove(
    at: Segmented,
    key: BundleKey,
    load: Callable[[int], ProvingKey],
    done: Run,
    openings: Mapping[str, TensorOpening],
    parts: Parts,
    tell: Tell = lambda phase, fraction: None,
    elsewhere: Cluster | None = None,
    keys_folder: Path | None = None,
    memory: int | None = None,
    verifier: BundleVerifier | None = None,
) -> Proven:
    """A bundle of proofs of a run. ``load`` gives the proving key of a segment; ``openings``: of the whole's committed
    inputs and outputs. What is finished in ``parts`` is taken from there. ``elsewhere``: proves the others instead of
    this process, with the keys in ``keys_folder``. ``verifier``: checks them; they rest on the certificate that it has,
    if it has one. ``memory``, and what is raised: as ``syurmy.prove``."""
    parted = Parted(at, key, done, openings, parts, verifier)
    report = Report()
    resumed = len(parted.finished)
    pending = [k for k in range(len(at.segments)) if k not in parted.finished]
    for k in pending if elsewhere is None else ():
        parted.finish(k, *parted.proven(k, load(k), report, _telling(tell, k, len(at.segments)), memory))
    if elsewhere is not None:
        tell(f"{len(pending)} segments on the cluster", resumed / len(at.segments))
        for k, proof, took in elsewhere.proven([parted.task(k, elsewhere, keys_folder) for k in pending]):
            add(report, took)
            parted.finish(k, *parted.verified(k, proof))
            tell(f"{len(pending)} segments on the cluster", len(parted.finished) / len(at.segments))
    return bundled(parted.verifier, [parted.finished[k] for k in range(len(at.segments))], report, resumed)


def bundled(verifier: BundleVerifier, found: Sequence[tuple[bytes, Statement]], report: Report, resumed: int) -> Proven:
    bundle = Bundle.of(verifier.key, [proof for proof, _ in found], report)
    statement = verifier.joined([said for _, said in found])
    report.proof_bytes, report.soundness_bits = len(bundle.data), statement.soundness_bits
    report.soundness = statement.soundness
    return Proven(bundle, statement, resumed)


class Parted:
    """A run whose segments are proven one by one: the commitments to what crosses, and the proofs that there are."""

    def __init__(
        self,
        at: Segmented,
        key: BundleKey,
        done: Run,
        openings: Mapping[str, TensorOpening],
        parts: Parts | Share,
        verifier: BundleVerifier | None = None,
    ) -> None:
        self.at, self.key, self.done, self.given, self.parts = at, key, done, openings, parts
        self.verifier = BundleVerifier(key) if verifier is None else verifier
        self.certificates = self.verifier.certificate and self.verifier.certificate.parts()
        self.links = {x.name: (n, x) for n, x in enumerate(key.links) if not x.public and x.name not in openings}
        self.openings = {name: self.kept(name) or self.fresh(name) for name in self.links}
        self.finished: dict[int, tuple[bytes, Statement]] = {}
        for k in range(len(at.segments)):
            if (found := self.resumed(k)) is not None:
                self.finished[k] = found
        while spent := [name for name in self.links if not self.lasts(name)]:
            for name in spent:  # too many proofs broke off: those that name it are made again, with another commitment
                self.openings[name] = self.fresh(name)
                for k in self.links[name][1].segments:
                    self.finished.pop(k, None)

    def stacked(self, name: str) -> I64:
        values = self.done.values[name]
        return values if self.done.batch > 1 else values[None]

    def kept(self, name: str) -> TensorOpening | None:
        """The commitment to a link that was made before, if it is to this run's values."""
        return kept_opening(self.parts.opening(self.links[name][0]), self.stacked(name), self.key.hiding)

    def fresh(self, name: str) -> TensorOpening:
        """A new commitment to a link, kept before anything names it."""
        number, link = self.links[name]
        k = link.segments[0]
        opening = committing.commit(
            self.at.segments[k], name, self.done.values[name], hiding=self.key.hiding,
            proofs=len(link.segments) + SPARE, batch=self.done.batch > 1, description=self.at.described(k),
        )  # fmt: skip
        opening.save(self.parts.opening(number))
        return opening

    def lasts(self, name: str) -> bool:
        """Does a commitment stay hidden in all the proofs that are still to be made?"""
        return proofs_left(self.openings[name]) >= sum(k not in self.finished for k in self.links[name][1].segments)

    def commitments(self, k: int) -> dict[str, TensorOpening]:
        """Those that the proof of segment ``k`` names."""
        program, known = self.at.segments[k], self.openings | dict(self.given)
        names = [i.name for i in program.inputs if i.committed] + [o.name for o in program.outputs if o.committed]
        return {name: known[name] for name in names}

    def resting(self, k: int) -> bytes | None:
        """The certificate that the proof of segment ``k`` rests on."""
        return self.certificates[k] or None if self.certificates else None

    def resumed(self, k: int) -> tuple[bytes, Statement] | None:
        """The kept proof of segment ``k``, if it holds and is of this run."""
        proof = self.parts.proof(k)
        if proof is None:
            return None
        try:
            said = self.verifier.segment(k).verify(proof)
        except Rejected:
            return None
        named = {name: x.commitment.digest() for name, x in self.commitments(k).items()}
        shown = said.inputs | said.outputs
        same = {name: c.digest() for name, c in said.commitments.items()} == named and said.batch == self.done.batch
        same &= all(np.array_equal(x, self.done.values[name]) for name, x in shown.items())
        return (proof, said) if same else None

    def proven(
        self, k: int, key: ProvingKey, report: Report, tell: Tell, memory: int | None
    ) -> tuple[bytes, Statement]:
        """Runs, proves and verifies segment ``k``."""
        program, batch = self.at.segments[k], self.done.batch > 1
        inputs = {i.name: self.done.values[i.name] for i in program.inputs}
        trace = syurmy.run(program, inputs, batch=batch, max_steps=key.verifying_key.max_steps)
        made = syurmy.prove(
            key, trace, tell, commitments=self.commitments(k), certificate=self.resting(k), memory=memory
        )
        add(report, made.report)
        return self.verified(k, made.data)

    def task(self, k: int, cluster: Cluster, keys_folder: Path | None) -> Task:
        """Segment ``k`` for a worker."""
        program, path, key = self.at.segments[k], self.at.file(k), self.at.key_of(k, keys_folder)
        inputs = {i.name: self.done.values[i.name] for i in program.inputs}
        digest, batch = self.key.segments[k].digest(), self.done.batch > 1
        named = self.commitments(k)
        return cluster.task(k, f"segment {k}", (program, path), (digest, key), inputs, named, batch, self.resting(k))

    def verified(self, k: int, proof: bytes) -> tuple[bytes, Statement]:
        """A proof just made, and what it says. Raises ``SyurmyError`` V110 where it is rejected."""
        try:
            return proof, self.verifier.segment(k).verify(proof)
        except Rejected as e:
            message = f"the proof just made of segment {k} is rejected at step '{e.step}': {e.reason}"
            help = f"delete {self.at.file(k).parent} and compile again; if it stays, please report it"
            raise SyurmyError(message, code="V110", help=help) from e

    def finish(self, k: int, proof: bytes, said: Statement) -> None:
        self.parts.keep(k, proof)
        self.finished[k] = proof, said


def kept_opening(path: Path, stacked: I64, hiding: bool) -> TensorOpening | None:
    """The opening in a file, if it is one of these values that can still be used."""
    try:
        opening = TensorOpening.load(path) if path.exists() else None
        usable = opening is not None and (opening.allowance is None or opening.allowance.used >= 0)
    except InputError:
        return None
    if opening is None or not usable or opening.commitment.mode.hiding != hiding:
        return None
    return opening if np.array_equal(opening.values, stacked) else None


def proofs_left(opening: TensorOpening) -> float:
    """In how many more proofs a commitment stays hidden."""
    if opening.allowance is None:
        return math.inf
    each = opening.allowance.limit // opening.commitment.mode.proofs
    return (opening.allowance.limit - opening.allowance.used) / each


def add(total: Report, one: Report) -> None:
    """Adds what one segment's proof took."""
    for name in ("instructions", "steps", "leaves", "columns", "committed_entries"):
        setattr(total, name, getattr(total, name) + getattr(one, name))
    for phase, seconds in one.seconds.items():
        total.seconds[phase] = total.seconds.get(phase, 0.0) + seconds
    total.peak_mb = max(total.peak_mb, one.peak_mb)


def _telling(tell: Tell, k: int, count: int) -> Tell:
    """Tells of a segment's progress what it is of the whole's."""
    return lambda phase, fraction: tell(f"segment {k + 1} of {count}: {phase}", (k + fraction) / count)
