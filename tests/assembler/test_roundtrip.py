"""``assemble(disassemble(p)) == p`` and ``decode(encode(p)) == p`` for random programs."""

from hypothesis import HealthCheck, given

from syurmy.assembler import assemble, disassemble
from syurmy.isa.encoding import decode, digest, encode
from syurmy.isa.program import Program
from tests.assembler.random_programs import programs
from tests.examples import examples


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
    assert decoded.code == p.code
    assert encode(assemble(disassemble(decoded))) == data
