"""``assemble(disassemble(p)) == p`` and ``decode(encode(p)) == p`` for random programs."""

from collections.abc import Callable

from hypothesis import HealthCheck, given

from syurmy.assembler import assemble, disassemble
from syurmy.isa.encoding import decode, digest, encode
from syurmy.isa.program import Program
from tests.assembler.random_programs import programs
from tests.drawing import examples
from tests.isa.renaming import renamed


def local(p: Program) -> Callable[[int], str]:
    """What ``decode`` calls registers and counters: r0, r1, ... with what sets them apart from declared names."""
    declared = {d.name for kind in (p.inputs, p.params, p.luts, p.rams, p.outputs) for d in kind}

    def name(k: int) -> str:
        text = f"r{k}"
        while text in declared:
            text += "_"
        return text

    return name


@examples(150, suppress_health_check=list(HealthCheck))
@given(programs())
def test_text_and_bytes_keep_the_program(p: Program) -> None:
    data = encode(p)
    text = disassemble(p)
    again = assemble(text)
    assert encode(again) == data
    assert disassemble(again) == text
    decoded = decode(data)
    assert encode(decoded) == data
    assert digest(decoded) == digest(p)
    assert (decoded.inputs, decoded.params, decoded.luts) == (p.inputs, p.params, p.luts)
    assert (decoded.rams, decoded.outputs) == (p.rams, p.outputs)
    assert decoded.code == renamed(p, local(p)).code
    assert encode(renamed(p, lambda k: f"other{97 * k % 1009}.{k}")) == data
    assert encode(assemble(disassemble(decoded))) == data
