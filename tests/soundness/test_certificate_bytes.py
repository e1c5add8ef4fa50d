"""Key certificates: every byte edited, what a hiding one tells, what a hostile key costs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import syurmy
from syurmy.isa.arrays import I64
from syurmy.isa.encoding import decode
from syurmy.isa.errors import ConstraintError, InputError
from syurmy.isa.path import Path
from syurmy.prover.certify import Certifier, certify
from syurmy.prover.keys import ProvingKey, setup
from syurmy.prover.protocol.budget import Opening
from syurmy.prover.protocol.certificate import Certificate, certificate_plan
from syurmy.prover.protocol.key import Mode, VerifyingKey
from syurmy.prover.protocol.path import encode_path
from syurmy.prover.protocol.plan import Plan
from syurmy.prover.protocol.statement import CERTIFICATE_MAGIC, start_transcript
from syurmy.prover.protocol.transcript import Rejected, Sender
from syurmy.prover.prove import prove
from syurmy.prover.verifier import certificate as certificates
from syurmy.prover.verifier.certificate import Certified, ReadingCertificate, check_certificate
from tests.soundness import common as c
from tests.soundness import test_simulator as hidden
from tests.soundness.certificates import LARGE, SMALL, honest, refused
from tests.soundness.simulator import Programmed, Simulator, programmed

# ---- every byte ------------------------------------------------------------------------------------------------------


def edited(source: str, rng: random.Random) -> Iterator[bytes]:
    data, fields = honest(source).data, honest(source).fields
    seen: dict[str, int] = {}
    for k, (label, o, n) in enumerate(fields):
        seen[label] = seen.get(label, 0) + 1
        if not n or seen[label] > 3:
            continue
        place = o + rng.randrange(n)
        yield data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        yield data[:o] + data[o + n :]
        yield data[: o + n] + data[o:]
        yield data[:o] + rng.randbytes(n) + data[o + n :]
        yield data[:o]
        yield data[: o + n - 1]
        if k + 1 < len(fields) and (m := fields[k + 1][2]):
            yield data[:o] + data[o + n : o + n + m] + data[o : o + n] + data[o + n + m :]
    yield from (data + b"\0", data + data, data[:-1], b"", data[:10], data[:74], data[:74] + bytes(1 << 20))


@pytest.mark.parametrize("source", [c.DENSE, LARGE, c.hiding(c.DENSE)])
def test_every_field_edited(source):
    """Refused with a reason, or no certificate at all."""
    vk = c.keys(source).verifying_key
    for data in edited(source, random.Random(source)):
        if data == honest(source).data:
            continue
        with pytest.raises((Rejected, InputError)) as e:
            check_certificate(vk, data)
        assert e.type is Rejected or e.value.code == "K152"
        assert e.type is not Rejected or (e.value.step in c.STEPS and e.value.reason)


def test_a_path_or_another_certificate():
    """Fields that a certificate has no use for have one form."""
    source = c.DENSE
    pk = c.keys(source)

    class Naming(Certifier):
        def planned(self, path: Path) -> Plan:
            self.certificate = bytes(31) + b"\1"
            return super().planned(path)

    refused(pk, Naming(pk).run().data, "statement", "a certificate names no other")
    for path, step in ((Path(2), "path"), (Path(1, {0: (0,)}), "statement")):
        other, said = Certifier(pk), encode_path(path)
        sent = {"path length": len(said).to_bytes(4, "little"), "path": said}
        other.sender = c.HookedSender(other.transcript, lambda label, before, data, sent=sent: sent.get(label, data))
        with pytest.raises(Rejected) as e:
            check_certificate(pk.verifying_key, other.run().data)
        assert e.value.step == step


# ---- hiding ----------------------------------------------------------------------------------------------------------


def test_it_takes_of_the_allowance():
    """At most what one proof takes; of a key for one proof none is left, so it is not made."""
    for proofs in (2, 16):
        program = syurmy.assemble(c.DENSE)
        pk = setup(program, Mode.of(program, True, proofs))
        assert pk.allowance is not None
        certificate = certify(pk)
        taken = pk.allowance.used
        assert taken == Opening.of(certificate_plan(program, pk.mode)).matrices[1].queries
        for _ in range(proofs - 1):
            assert prove(pk, c.trace_of(c.DENSE), certificate=certificate)
        pk.allowance.take(pk.allowance.limit - pk.allowance.used)
        with pytest.raises(InputError, match="are left to be opened"):
            certify(pk)
    pk = setup(program, Mode.of(program, True, 1))
    with pytest.raises(InputError, match="leaves one proof less"):
        certify(pk)
    assert pk.allowance is not None
    assert pk.allowance.used == 0


class Simulated(Simulator):
    magic, proofs = CERTIFICATE_MAGIC, 2

    def planned(self) -> Plan:
        return certificate_plan(self.program, self.mode)


def checked(vk: VerifyingKey, data: bytes, seed: int) -> None:
    plan = certificate_plan(decode(vk.program), vk.mode)
    programmed(ReadingCertificate(vk, plan, data), seed).accept()


@pytest.mark.parametrize("source", [SMALL, LARGE, c.DENSE, c.ROWS])
def test_simulated_certificates_are_accepted(source):
    """Of params that nobody knows."""
    simulator = Simulated(syurmy.assemble(source), np.random.default_rng(1))
    data = simulator.proof({}, seed=7)
    checked(simulator.key, data, 7)
    with pytest.raises(Rejected):
        check_certificate(simulator.key, data)


@pytest.mark.parametrize("source", [SMALL, c.DENSE, c.ROWS])
def test_every_byte_is_of_a_known_kind(source):
    found = honest(c.hiding(source)) if source != SMALL else certify(setup(syurmy.assemble(source)))
    assert {label for label, _, _ in found.fields} <= hidden.EVERY
    at = 0
    for _, offset, size in found.fields:
        assert offset == at
        at += size
    assert at == len(found.data)


class Fixed(Certifier):
    """Its challenges are programmed."""

    def __init__(self, pk: ProvingKey) -> None:
        super().__init__(pk)
        self.transcript = Programmed(5)
        start_transcript(self.transcript, self.magic)
        self.sender = Sender(self.transcript)


@pytest.mark.parametrize("made", [Certifier, Fixed])
def test_two_certificates_agree_nowhere(made):
    """But where they are public, and in columns of the params at equal positions."""
    pk = c.keys(c.hiding(c.DENSE))
    one, two = (made(pk).run() for _ in range(2))
    pairs = zip(hidden.fields_of(one.fields, one.data), hidden.fields_of(two.fields, two.data), strict=True)
    for (label, a), (other, b) in pairs:
        assert label == other
        if label in hidden.PUBLIC:
            assert a == b
        elif label in hidden.SECRET and label != "params columns":
            x, y = (np.frombuffer(v, "<u8") for v in (a, b))
            assert len(x) != len(y) or not ((x == y) & (x != 0)).any(), label


COUNT = 80


def test_certificates_of_two_keys_and_simulations_look_alike():
    """Whatever the params: every element is spread evenly over many keys, and not correlated with others."""
    program = syurmy.assemble(c.TWO_DENSE)
    data: list[dict[str, I64]] = [{"w": [3, -1, 2], "v": [1, 4, -2]}, {"w": [-1, -1, 3], "v": [-2, -1, 4]}]
    of = []
    for values in data:
        arrays = {n: np.array(v, np.int8) for n, v in values.items()}
        made = [Fixed(setup(replace(program, data=arrays), Mode(True, 2))).run() for _ in range(COUNT)]
        of.append(np.stack([np.frombuffer(hidden.secret_part(m.fields, m.data), "<u8") for m in made]))
    simulated = []
    for i in range(COUNT):
        simulator = Simulated(program, np.random.default_rng(i))
        proof = simulator.proof({}, 5)
        simulated.append(np.frombuffer(hidden.secret_part(hidden.simulated_fields(simulator), proof), "<u8"))
    of.append(np.stack(simulated))
    assert len({x.shape[1] for x in of}) == 1
    still = [(x == x[0]).all(axis=0) for x in of]
    assert all((a == still[0]).all() for a in still)
    assert all((x[:, still[0]] == 0).all() for x in of)
    for x in of:
        spread, correlation = hidden.deviation(x[:, ~still[0]])
        assert spread < 13, spread
        assert correlation < 6.5, correlation


# ---- hostile keys ----------------------------------------------------------------------------------------------------


def test_many_large_tables_are_charged(monkeypatch):
    """Tables are built only where the work for them is allowed."""
    lines = [f".param w{i} : i16[256, 256] committed bounds {-i}..32000\n" for i in range(4)]
    uses = "".join(f"    add y, y, w{i}\n" for i in range(4))
    source = "".join(lines) + f".input x : i8[256, 256] private\n.output y public\n    mov y, x\n{uses}    halt\n"
    program = syurmy.assemble(source)
    assert certificate_plan(program)
    monkeypatch.setattr("syurmy.isa.cost.FREE", 2**16 + 2**13)
    monkeypatch.setattr("syurmy.isa.cost.RATE", 0)
    with pytest.raises(ConstraintError, match="tables"):
        certificate_plan(program)


def test_summary():
    found: Certified = check_certificate(c.keys(c.DENSE).verifying_key, honest(c.DENSE))
    assert dict(found.summary())["of program"] == found.program
    assert "bytes" in dict(honest(c.DENSE).summary())["of"]
    assert Certificate.load(honest(c.DENSE).to_bytes()).digest() == honest(c.DENSE).digest()
    assert certificates.CERTIFICATE_MAGIC[:8] == honest(c.DENSE).data[:8]
