"""One function per kind of input. Each takes bytes and says whether they were taken, or refused with a ``SyurmyError``,
the only answer to bad bytes.

An accepted proof must be the untouched one: a mutated proof that is accepted raises ``Accepted``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

import syurmy
import syurmy.assembler
import syurmy.compiler.pipeline  # at once, so that it is among what is instrumented
from syurmy.isa.errors import SyurmyError
from syurmy.isa.path import Path as Executed
from syurmy.prover.protocol.bundle import BundleKey
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.verifier.bundle import BundleVerifier, check_bundle_certificate
from syurmy.prover.verifier.verify import Verifier
from tests.bundles import rejoined, walking, whole_of
from tests.fuzz.measure import head

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).resolve().parent / "corpus"
STEPS = 20_000  # of a fuzzed program

SMALL = """
.input x : i8[4] private
.input n : i8[] public in 1..3
.param w : i8[4, 4] committed = {{1, 2, 3, 4}, {-1, -2, -3, -4}, {5, 6, 7, 8}, {0, 1, 0, 1}}
.param one : i8[] public = {1}
.ram m : i8[4, 2]
.output y public
    matmul  t, x, w
    rescale t, t, 2, i8
    repeat 3, k
    relu    t, t
    slice   u, t, axis=0, start=k, len=1
    put     t, u, axis=0, at=0
    end
    lt      more, one, n
    bz      more, done
    load    r, m[n]
done:
    mov y, t
    halt
"""

LINKED = """
.input x : i8[4] private
.input n : i8[] public in 1..3
.param w : i8[4, 4] committed = {{1, 2, 3, 4}, {-1, -2, -3, -4}, {5, 6, 7, 8}, {0, 1, 0, 1}}
.output y public
    matmul  t, x, w
    rescale t, t, 2, i8
    mul     u, t, n
    add     y, u, x
    halt
"""

DESCRIBED = syurmy.Description(
    "small",
    bytes(32),
    (syurmy.Quantity("x", "voltage", "real", "float32", (Fraction(1, 10),) * 4, "mV"),),
    (syurmy.Quantity("y", labels=("no", "yes"), columns=False),),
)


class Accepted(AssertionError):
    """A proof that nobody made was accepted."""


def program(data: bytes) -> bool:
    """Program text, then the run of what assembles."""
    try:
        p = syurmy.assemble(data.decode("utf-8", "replace"))
    except (SyurmyError, syurmy.assembler.AssemblyErrors):
        return False
    try:
        syurmy.run(p, {i.name: np.full(i.type.shape, i.type.hi) for i in p.inputs}, max_steps=STEPS)
    except (SyurmyError, MemoryError):  # of large inputs
        return False
    return True


def key(data: bytes) -> bool:
    """A verifying key, planned, and the first bytes of a proof for it."""
    try:
        vk = VerifyingKey.from_bytes(data)
        verifier = Verifier(vk, max_steps=STEPS)
    except SyurmyError:
        return False
    try:
        verifier.verify(head(vk, Executed()) + bytes(200))
    except SyurmyError:
        return True
    raise Accepted("a proof of zeros")


@cache
def _honest() -> tuple[Verifier, bytes]:
    pk, vk = syurmy.setup(syurmy.assemble(SMALL))
    trace = syurmy.run(pk.program, {"x": [1, -2, 3, 100], "n": 1})
    return Verifier(vk, max_steps=STEPS), syurmy.prove(pk, trace).to_bytes()


def proof(data: bytes) -> bool:
    """A proof for a small program with a loop, a branch, RAM and params."""
    verifier, honest = _honest()
    try:
        verifier.verify(data)
    except SyurmyError:
        return False
    if data != honest:
        raise Accepted("a mutated proof")
    return True


def bundle_key(data: bytes) -> bool:
    """The key of a model in segments, and a bundle of proofs of zeros for it: each segment is planned."""
    try:
        whole = BundleKey.from_bytes(data)
        verifier = BundleVerifier(whole, max_steps=STEPS)
    except SyurmyError:
        return False
    proofs = [head(k, Executed()) + bytes(200) for k in whole.segments]
    for k, one in enumerate(proofs):  # of a bundle the first one that is refused ends it
        with suppress(SyurmyError):
            verifier.part(k, one)
            raise Accepted("a proof of zeros")
    try:
        verifier.verify(rejoined(whole, proofs))
    except SyurmyError:
        return True
    raise Accepted("a bundle of proofs of zeros")


@cache
def _honest_bundle() -> tuple[BundleVerifier, bytes]:
    """Two segments, one link and an input that both read, nothing hidden, as that is shorter."""
    whole = whole_of(syurmy.assemble(LINKED), [2], hiding=False)
    with tempfile.TemporaryDirectory(prefix="syurmy-fuzz-") as folder:
        made = whole.proven(Path(folder) / "parts", {"x": np.array([1, -2, 3, 4]), "n": np.array(2)})
    return whole.verifier, made.bundle.data


def bundle(data: bytes) -> bool:
    """A bundle of the proofs of two segments."""
    verifier, honest = _honest_bundle()
    try:
        verifier.verify(data)
    except SyurmyError:
        return False
    if data != honest:
        raise Accepted("a mutated bundle")
    return True


@cache
def _honest_certificate() -> bytes:
    whole = whole_of(syurmy.assemble(LINKED), [2], hiding=False)  # the keys of ``_honest_bundle``
    with tempfile.TemporaryDirectory(prefix="syurmy-fuzz-") as folder:
        return whole.certified(Path(folder) / "parts").certificate.data


def bundle_certificate(data: bytes) -> bool:
    """The certificate of that bundle's key."""
    try:
        check_bundle_certificate(_honest_bundle()[0].key, data)
    except SyurmyError:
        return False
    if data != _honest_certificate():
        raise Accepted("a mutated certificate of a bundle's key")
    return True


def model(data: bytes) -> bool:
    """A model file, through the importer to assembly."""
    with tempfile.TemporaryDirectory(prefix="syurmy-fuzz-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        try:
            syurmy.compile_onnx(path, Path(folder) / "compiled")
        except (SyurmyError, syurmy.assembler.AssemblyErrors):
            return False
        return True


def kept(name: str) -> list[bytes]:
    """What fuzzing or an attack once found."""
    return [p.read_bytes() for p in sorted((CORPUS / name).glob("*"))]


def honest(name: str) -> list[bytes]:
    """Inputs that are taken."""
    texts = sorted((ROOT / "programs").glob("*.tasm"))
    if name == "program":
        short = (p.read_bytes() for p in texts if p.stat().st_size < 5000)
        return [SMALL.encode(), *filter(program, short)]  # some need files
    if name == "key":
        small = [syurmy.assemble(SMALL), *(syurmy.load(ROOT / "programs" / f"{n}.tasm") for n in ("life", "bfs"))]
        return [*(syurmy.setup(p, DESCRIBED if p is small[0] else None)[1].to_bytes() for p in small)]
    if name == "proof":
        return [_honest()[1]]
    if name == "bundle_key":
        return [_honest_bundle()[0].key.to_bytes(), walking(False).key.to_bytes()]
    if name == "bundle":
        return [_honest_bundle()[1]]
    if name == "bundle_certificate":
        return [_honest_certificate()]
    return [_network()]


def _network() -> bytes:
    """A convolution, a table, a matrix product."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {"k": rng.normal(size=(2, 1, 3, 3)), "w": rng.normal(size=(8, 3))}
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"]),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Flatten", ["s"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()],
    )
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(m.SerializeToString())


TARGETS: dict[str, Callable[[bytes], bool]] = {
    "program": program,
    "key": key,
    "proof": proof,
    "model": model,
    "bundle_key": bundle_key,
    "bundle": bundle,
    "bundle_certificate": bundle_certificate,
}
