"""Every instruction is described completely. The walk counts: an empty registry fails."""

import pytest

import syurmy.isa.ops  # noqa: F401
from syurmy.isa.instruction import REGISTRY, Argument, register
from syurmy.isa.manual import required
from syurmy.isa.wellformed import KINDS, of_kind, valid_name

OPS = list(REGISTRY.values())


def test_the_walk_is_not_empty() -> None:
    expected = """
        mov reshape transpose slice concat pad broadcast flip im2col put
        add sub neg addi muli sum mul matmul einsum conv2d dot
        rescale clamp cast lut relu abs sign lt le gt ge eq ne select max min
        reduce_max reduce_min argmax argmin div mod isqrt shr shl and or xor not
        repeat end halt assert reveal
    """
    assert set(expected.split()) <= REGISTRY.keys()
    assert len(OPS) == len(REGISTRY) >= 54


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_definition_is_complete(op) -> None:
    assert REGISTRY[op.name] is op
    assert valid_name(op.name)
    assert op.family
    assert isinstance(op.proof, Argument)
    assert op.control == (op.proof is Argument.NONE)
    assert len((op.__doc__ or "").split()) >= 3
    assert op.example.split()[0] == op.name
    for method in ("infer", "execute", "constrain"):
        assert op.control or method in dir(type(op)), method
        assert op.control or getattr(type(op), method) is not getattr(type(op).__mro__[-2], method, None), method


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_syntax_is_consistent(op) -> None:
    assert len(set(op.sources)) == len(op.sources)
    assert not op.variadic or op.sources
    assert not op.reads_dst or op.has_dst
    names = [a.name for a in op.attributes]
    assert len(set(names)) == len(names)
    for a in op.attributes:
        assert valid_name(a.name)
        assert a.kind in KINDS
        assert a.doc
        assert a.default is None or of_kind(a, a.default)
    positional = [a for a in op.attributes if a.positional]
    optional = [not required(a) for a in positional]
    assert optional == sorted(optional), "required positional attributes come first"


def test_a_name_is_registered_once() -> None:
    cls = type(REGISTRY["halt"])
    with pytest.raises(ValueError, match="defined twice"):
        register(cls)
