"""The description in a key: exact scales, one encoding, bounded, printable; part of the digest, not of the proof."""

import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import syurmy
from syurmy.isa import reals
from syurmy.isa.errors import InputError, SyurmyError
from syurmy.prover.protocol.description import (
    CODE,
    INTEGER,
    MAX_BYTES,
    MAX_TEXT,
    RANK,
    REAL,
    Description,
    Quantity,
    scale_of,
)
from syurmy.prover.protocol.key import VerifyingKey
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.prove import prove
from syurmy.prover.verifier.verify import Verifier, verify

SOURCE = """
.program tiny
.input x : i16[2] public
.input k : i32[] private
.param w : i16[2] committed = {3, -1}
.output y public
.output digit public
    dot y, x, w
    argmax digit, x, axis=0
    halt
"""
FULL = Description(
    "a model",
    bytes(range(32)),
    (Quantity("x", "image", REAL, "float32", (Fraction(1, 3), scale_of(0.1)), "EUR"),),
    (
        Quantity("y", "", REAL, "float64", (Fraction(1, 100),)),
        Quantity("digit", "class", labels=("zero", 'the "one"')),
    ),
)


@pytest.fixture(scope="module")
def program():
    return syurmy.assemble(SOURCE)


@pytest.fixture(scope="module")
def keys(program):
    return syurmy.setup(program, FULL)


floats = st.floats(min_value=2.0**-1074, max_value=2.0**800, allow_nan=False)
fractions = st.one_of(floats.map(scale_of), st.builds(Fraction, st.integers(1, 10**9), st.integers(1, 10**9)))
texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=8)


@st.composite
def quantities(draw, name):
    form = draw(st.sampled_from((INTEGER, REAL, CODE, RANK)))
    dtype = draw(st.sampled_from(("int8", "bool", "uint64") if form == INTEGER else ("float16", "float32")))
    scales = draw(st.lists(fractions, min_size=1, max_size=3)) if form == REAL else []
    labels = draw(st.lists(texts, max_size=3))
    columns = bool(labels) and draw(st.booleans())
    return Quantity(name, draw(texts), form, dtype, tuple(scales), draw(texts), columns, tuple(labels))


@given(quantities("one"), quantities("two"), texts, st.booleans())
def test_every_description_survives_its_bytes(a, b, title, source):
    if a.title == b.title:
        return
    d = Description(title, bytes(range(32)) if source else b"", (a,), (b,))
    assert Description.from_bytes(d.to_bytes()) == d


@given(st.integers(-(2**61), 2**61 - 1), fractions)
def test_a_real_is_the_nearest_float64(q, scale):
    assert reals.reals(np.array([q, 1]), [scale])[0] == float(q * scale)
    both = reals.reals(np.array([[q, 1]]), [scale, Fraction(2)])
    assert both.tolist() == [[float(q * scale), 2.0]]


@given(fractions)
def test_decimals_are_as_many_as_a_unit_is_worth(scale):
    d = reals.decimals(scale)
    assert Fraction(1, 10**d) <= scale or d == 0
    assert d == 0 or Fraction(1, 10 ** (d - 1)) > scale


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_codes_are_decoded(dtype):
    x = np.array([-np.inf, -1.5, -0.0, 0.0, 1e-7, 3, np.inf, np.nan], dtype)
    q = Quantity("x", "", CODE, np.dtype(dtype).name)
    codes = reals.code(x)
    assert (np.diff(codes[[0, 1, 2, 4, 5, 6, 7]]) > 0).all()
    assert np.array_equal(q.values(codes), np.where(x == 0, 0, x), equal_nan=True)
    assert np.isnan(q.values(np.array([2**60]))).all()


def test_the_key_carries_it(keys, program):
    _, vk = keys
    again = VerifyingKey.from_bytes(vk.to_bytes())
    assert again == vk
    assert again.description == FULL
    plain = syurmy.setup(program)[1]
    assert plain.description == Description()
    assert VerifyingKey.from_bytes(plain.to_bytes()) == plain


def test_a_proving_key_keeps_it(keys, program, tmp_path):
    keys[0].save(tmp_path / "t.pk")
    assert syurmy.ProvingKey.load(tmp_path / "t.pk", program).verifying_key == keys[1]


CHANGES = {
    "title": lambda d: replace(d, title="another model"),
    "source": lambda d: replace(d, source=b""),
    "scale": lambda d: replace(d, outputs=(replace(d.outputs[0], scales=(Fraction(1, 10),)), d.outputs[1])),
    "unit": lambda d: replace(d, inputs=(replace(d.inputs[0], unit="USD"),)),
    "label": lambda d: replace(d, outputs=(d.outputs[0], replace(d.outputs[1], labels=("one", "zero")))),
    "name": lambda d: replace(d, outputs=(d.outputs[0], replace(d.outputs[1], shown="klass"))),
    "dtype": lambda d: replace(d, inputs=(replace(d.inputs[0], dtype="float64"),)),
    "nothing said": lambda d: Description(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_key_with_another_description_is_another_key(keys, program, change):
    pk, vk = keys
    proof = prove(pk, syurmy.run(program, {"x": [30, 90], "k": 1})).to_bytes()
    statement = verify(vk, proof)
    assert statement.input_values["image"].tolist() == [10.0, 9.0]
    assert statement.output_values["y"] == 0.0
    assert statement.output_values["class"] == 1
    other = replace(vk, description=CHANGES[change](FULL))
    assert other.digest() != vk.digest()
    with pytest.raises(Rejected, match="another key"):
        verify(other, proof)


def test_every_byte_of_the_description_counts(keys):
    """Whatever one changes in it, the key is refused or has another digest."""
    data = keys[1].to_bytes()
    start = len(data) - len(FULL.to_bytes())
    kept, codes = 0, set()
    for at in range(start - 4, len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            try:
                key = VerifyingKey.from_bytes(bytes(changed))
            except InputError as e:
                codes.add(e.code)
                continue
            kept += 1
            assert key.digest() != keys[1].digest()
            assert key.to_bytes() == bytes(changed)
    assert kept > 100
    assert codes == {"K122", "K124"}


def test_what_is_no_description_is_refused_without_work():
    rng = random.Random(5)
    data = FULL.to_bytes()
    taken, codes = 0, set()
    for _ in range(3000):
        mutated = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            kind, at = rng.randrange(3), rng.randrange(len(mutated))
            if kind == 0:
                mutated[at] = rng.randrange(256)
            elif kind == 1:
                mutated[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 9)))
            else:
                del mutated[at : at + rng.randint(1, 9)]
        try:
            found = Description.from_bytes(bytes(mutated))
        except InputError as e:
            codes.add(e.code)
            continue
        taken += 1
        assert found.to_bytes() == bytes(mutated)
    assert taken > 10
    assert codes == {"K124"}
    with pytest.raises(InputError, match="too long"):
        Description.from_bytes(bytes(MAX_BYTES + 1))
    with pytest.raises(InputError):
        Description.from_bytes(b"\1\0\0" + b"\xff\xff\x3f" + b"\0" * 100)  # a million inputs announced


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\u202eabc", "\u200bx", "x" * (MAX_TEXT + 1), "\ud800"])
def test_a_text_stays_on_its_line(text):
    for make in (
        lambda: Description(text),
        lambda: Quantity("y", text),
        lambda: Quantity("y", unit=text),
        lambda: Quantity("y", labels=(text,)),
    ):
        with pytest.raises(InputError) as e:
            make()
        assert e.value.code == "K124"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Quantity("y", "y"),
        lambda: Quantity(""),
        lambda: Quantity("y", "", "complex"),
        lambda: Quantity("y", "", REAL, "float32"),
        lambda: Quantity("y", "", REAL, "int8", (Fraction(1),)),
        lambda: Quantity("y", "", INTEGER, "int8", (Fraction(1),)),
        lambda: Quantity("y", "", CODE, "float64"),
        lambda: Quantity("y", "", REAL, "float32", (Fraction(0),)),
        lambda: Quantity("y", "", REAL, "float32", (Fraction(-1),)),
        lambda: Quantity("y", "", REAL, "float32", (Fraction(2) ** 900,)),
        lambda: Quantity("y", "", REAL, "float32", (Fraction(1, 3**60),)),
        lambda: Quantity("y", columns=True),
        lambda: Description(source=b"12"),
        lambda: Description(inputs=(Quantity("a", "n"), Quantity("b", "n"))),
        lambda: scale_of(float("nan")),
        lambda: scale_of(0.0),
    ],
)
def test_what_means_nothing_cannot_be_said(make):
    with pytest.raises(InputError) as e:
        make()
    assert e.value.code == "K124"


@pytest.mark.parametrize(
    "described",
    [
        Description(inputs=(Quantity("z"),)),
        Description(outputs=(Quantity("x"),)),
        Description(outputs=(Quantity("digit"), Quantity("y"))),
        Description(outputs=(Quantity("y", "digit"),)),  # the name of another output
        Description(inputs=(Quantity("x", "", REAL, "float32", (Fraction(1), Fraction(2), Fraction(3))),)),
        Description(inputs=(Quantity("x", columns=True, labels=("a",)),)),
        Description(outputs=(Quantity("digit", columns=True, labels=("a",)),)),
    ],
)
def test_a_description_of_another_program_is_refused(program, described):
    with pytest.raises(InputError) as e:
        syurmy.setup(program, described)
    assert e.value.code == "K124"
    pk, vk = syurmy.setup(program)
    other = replace(vk, description=described)  # outputs have a shape once there is a plan: no proof is accepted
    proof = prove(replace(pk, verifying_key=other), syurmy.run(program, {"x": [1, 2], "k": 1})).to_bytes()
    with pytest.raises((SyurmyError, Rejected)):
        Verifier(VerifyingKey.from_bytes(other.to_bytes())).verify(proof)
