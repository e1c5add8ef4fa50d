"""One function per kind of input. Each takes bytes and returns; only ``SyurmyError`` is an answer to bad bytes.

An accepted proof must be the untouched one: a mutated proof that is accepted raises ``Accepted``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

import syurmy
import syurmy.assembler
from syurmy.isa.errors import SyurmyError
from syurmy.isa.path import Path as Executed
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.protocol.path import encode_path
from syurmy.prover.protocol.statement import MAGIC
from syurmy.prover.verifier.verify import Verifier

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

DESCRIBED = syurmy.Description(
    "small",
    bytes(32),
    (syurmy.Quantity("x", "voltage", "real", "float32", (Fraction(1, 10),) * 4, "mV"),),
    (syurmy.Quantity("y", labels=("no", "yes"), columns=False),),
)


class Accepted(AssertionError):
    """A proof that nobody made was accepted."""


def program(data: bytes) -> None:
    """Program text, then the run of what assembles."""
    try:
        p = syurmy.assemble(data.decode("utf-8", "replace"))
    except (SyurmyError, syurmy.assembler.AssemblyErrors):
        return
    try:
        syurmy.run(p, {i.name: [[]] for i in p.inputs}, max_steps=STEPS)
    except SyurmyError:
        return


def key(data: bytes) -> None:
    """A verifying key, planned, and the first bytes of a proof for it."""
    try:
        vk = VerifyingKey.from_bytes(data)
        verifier = Verifier(vk, max_steps=STEPS)
        path = encode_path(Executed())
        verifier.verify(MAGIC + bytes(32) + vk.digest() + len(path).to_bytes(4, "little") + path + bytes(200))
    except SyurmyError:
        return
    raise Accepted("a proof of zeros")


@cache
def _honest() -> tuple[Verifier, bytes]:
    pk, vk = syurmy.setup(syurmy.assemble(SMALL))
    trace = syurmy.run(pk.program, {"x": [1, -2, 3, 100], "n": 1})
    return Verifier(vk, max_steps=STEPS), syurmy.prove(pk, trace).to_bytes()


def proof(data: bytes) -> None:
    """A proof for a small program with a loop, a branch, RAM and params."""
    verifier, honest = _honest()
    try:
        verifier.verify(data)
    except SyurmyError:
        return
    if data != honest:
        raise Accepted("a mutated proof")


def model(data: bytes) -> None:
    """A model file, through the importer to assembly."""
    with tempfile.TemporaryDirectory(prefix="syurmy-fuzz-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        try:
            syurmy.compile_onnx(path, folder)
        except (SyurmyError, syurmy.assembler.AssemblyErrors):
            return


def seeds(name: str) -> list[bytes]:
    """What mutation starts from: the kept corpus and honest inputs."""
    kept = [p.read_bytes() for p in sorted((CORPUS / name).glob("*"))] if (CORPUS / name).exists() else []
    texts = sorted((ROOT / "programs").glob("*.tasm"))
    if name == "program":
        return [*kept, SMALL.encode(), *(p.read_bytes() for p in texts if p.stat().st_size < 5000)]
    if name == "key":
        small = [syurmy.assemble(SMALL), *(syurmy.load(ROOT / "programs" / f"{n}.tasm") for n in ("life", "bfs"))]
        return [*kept, *(syurmy.setup(p, DESCRIBED if p is small[0] else None)[1].to_bytes() for p in small)]
    if name == "proof":
        return [*kept, _honest()[1]]
    return [*kept, _network()]


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


TARGETS: dict[str, Callable[[bytes], None]] = {"program": program, "key": key, "proof": proof, "model": model}
