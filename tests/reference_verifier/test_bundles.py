"""The second verifier takes and refuses bundles, and their keys, as the project's does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from syurmy.isa.errors import SyurmyError
from syurmy.prover.protocol.bundle import CERTIFICATE_MAGIC, BundleKey
from syurmy.prover.protocol.soundness import bits
from syurmy.prover.protocol.transcript import Rejected
from syurmy.prover.verifier.bundle import BundleVerifier, check_bundle_certificate
from tests.bundles import INPUTS, example, rejoined, split, walk, walking
from tests.reference_verifier import errors as ours
from tests.reference_verifier.bundle import parts_of, read_bundle_key, verifiers_of, verify_bundle
from tests.vectors.files import CERTIFICATE, CERTIFICATE_LOG, KEY, PROOF, lines, read, stored_certificate
from tests.vectors.programs import BUNDLES

INPUTS_THERE = [("x", 0), ("n", 1), ("z", 2)]
OUTPUTS_THERE = [("big", 1), ("y", 1), ("c", 2), ("d", 0)]
NAMES = ("a", "b", "f", "big", "c", "q", "x", "n", "")
Interface = list[tuple[str, int]]


DESCRIPTION = b"\5\1\0\0\0\0"  # an empty one, behind its length


@cache
def key() -> bytes:
    return example(False).key.to_bytes()


def leb128(n: int) -> bytes:
    low, rest = n & 127, n >> 7
    return bytes([low | 128]) + leb128(rest) if rest else bytes([low])


def made_key(inputs: Interface, outputs: Interface, segments: list[bytes], name: bytes = b"whole") -> bytes:
    out = key()[:10] + leb128(len(name)) + name
    for interface in (inputs, outputs):
        out += leb128(len(interface))
        out += b"".join(leb128(len(n)) + n.encode() + leb128(shown) for n, shown in interface)
    out += leb128(len(segments)) + b"".join(leb128(len(s)) + s for s in segments)
    return out + DESCRIPTION


def other_keys() -> Iterator[tuple[str, bytes]]:
    """Other interfaces, other orders and numbers of segments, other names."""
    segments = [s.to_bytes() for s in example(False).key.segments]
    ins, outs = INPUTS_THERE, OUTPUTS_THERE
    assert made_key(ins, outs, segments) == key()
    for i, shown in product(range(4), range(4)):
        for side, there in (("input", ins), ("output", outs)):
            if i < len(there):
                changed = [(n, shown if i == j else s) for j, (n, s) in enumerate(there)]
                yield f"{side} {i} shown as {shown}", made_key(*_sides(side, changed), segments)
    for i in range(4):
        for side, there in (("input", ins), ("output", outs)):
            yield f"without {side} {i}", made_key(*_sides(side, there[:i] + there[i + 1 :]), segments)
            yield f"{side} {i} twice", made_key(*_sides(side, there + there[i : i + 1]), segments)
        yield f"without segment {i}", made_key(ins, outs, segments[:i] + segments[i + 1 :])
        yield f"segment {i} twice", made_key(ins, outs, segments[: i + 1] + segments[i:])
    for name, shown in product(NAMES, range(3)):
        for side, there in (("input", ins), ("output", outs)):
            yield f"{side} {name} more", made_key(*_sides(side, [*there, (name, shown)]), segments)
    for order in permutations(range(4)):
        yield f"order {order}", made_key(ins, outs, [segments[i] for i in order])
    yield "no segments", made_key(ins, outs, [])
    yield "more segments", made_key(ins, outs, segments * 2)
    for called in (b"", b"7hole", b"wh ole", b"\xff", b"w" * 200, b"w" * 201):
        yield f"called {called!r}", made_key(ins, outs, segments, called)
    yield "a number in two bytes", key().replace(b"\4\xea\1SYURMYVK", b"\x84\0\xea\1SYURMYVK", 1)
    for k in range(0, len(key()), 37):
        yield f"cut at {k}", key()[:k]
    yield "longer", key() + b"\0"


def _sides(side: str, changed: Interface) -> tuple[Interface, Interface]:
    return (changed, OUTPUTS_THERE) if side == "input" else (INPUTS_THERE, changed)


def test_other_keys():
    """Both take them, under the same digest, or both refuse them."""
    taken = 0
    for what, data in other_keys():
        theirs = mine = None
        try:
            theirs = BundleVerifier(BundleKey.from_bytes(data)).key.digest()
        except SyurmyError:
            with pytest.raises(ours.Rejected):
                read_bundle_key(data)
            continue
        mine = read_bundle_key(data).digest
        assert mine == theirs, what
        taken += 1
    assert taken >= 5


def test_is_accepted_with_the_same_errors(tmp_path: Path):
    w = example(False)
    made = w.proven(tmp_path / "parts")
    found = verify_bundle(w.key.to_bytes(), made.bundle.data)
    for mine, theirs in zip(found, made.statement.segments, strict=True):
        assert bits(mine.error) == pytest.approx(theirs.soundness_bits)


def test_mixed_bundles_are_refused_by_both(tmp_path: Path):
    """Proofs of two runs, each accepted alone; and bundles whose bytes are not those of one."""
    w = example(False)
    runs = [INPUTS, INPUTS | {"x": np.array([1, -2, 3, 5])}]
    first, second = (split(w.proven(tmp_path / str(i), r).bundle.data) for i, r in enumerate(runs))
    bundles = []
    for chosen in ((0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 1, 0, 0), (1, 1, 1, 1)):
        data = rejoined(w.key, [(first, second)[c][k] for k, c in enumerate(chosen)])
        bundles.append((len(set(chosen)) == 1, data))
    good = bundles[0][1]
    bundles += [(False, good[:k] + bytes([good[k] ^ 1]) + good[k + 1 :]) for k in (0, 8, 10, 41, 42, 46, 54, 77)]
    bundles += [(False, data) for data in (good[:-1], good + b"\0", good[:60], b"", rejoined(w.key, first[:3]))]
    bundles += [(False, rejoined(w.key, [*first, first[3]])), (False, rejoined(w.key, first[::-1]))]
    for whole, data in bundles:
        assert accepted_by_both(data) == whole


def accepted_by_both(data: bytes) -> bool:
    try:
        example(False).verifier.verify(data)
    except (Rejected, SyurmyError):
        with pytest.raises(ours.Rejected):
            verify_bundle(key(), data)
        return False
    verify_bundle(key(), data)
    return True


def test_the_stored_bundle():
    """With the transcripts of its certificate and its proofs; without the certificate it is refused."""
    (name,) = BUNDLES
    data, made = read(name, KEY), read(name, CERTIFICATE)
    known = read_bundle_key(data)
    parts = verifiers_of(known, made)
    assert [line for v in parts for line in v.certificate_log] == lines(name, CERTIFICATE_LOG)
    said = verify_bundle(data, read(name, PROOF), made)
    assert [line for s in said for line in s.log] == lines(name)
    assert [s.certificate for s in said] == [v.certificate for v in parts]
    assert [v.certificate is None for v in parts] == [False, True, False]
    with pytest.raises(ours.Rejected):
        verify_bundle(data, read(name, PROOF))


def test_certificates_that_cheat_are_refused_by_both():
    """Parts of other segments, other keys and other versions, and bytes that are no certificate of this key."""
    name, taken = next(iter(BUNDLES)), 0
    data, good = read(name, KEY), read(name, CERTIFICATE)
    whole, known = BundleKey.from_bytes(data), read_bundle_key(data)
    first, none, last = parts_of(known, good, good[:8])
    of_other = stored_certificate("dense-certified-clear")
    lists = [[first, none, last], [last, none, first], [first, first, last], [first, none, first], [first, last]]
    lists += [[none, none, last], [first, last, none], [first, none, last, none], [first, none], [none] * 3, []]
    lists += [[first, none, of_other], [first[:-1], none, last], [first, none, last + b"\0"], [first, b"\0", last]]
    cases = [rejoined(whole, parts, CERTIFICATE_MAGIC) for parts in lists]
    cases += [good[:k] + bytes([good[k] ^ 1]) + good[k + 1 :] for k in (0, 8, 9, 10, 41, 42, 46, 54, 62, 69, 70, 80)]
    cases += [good[: len(good) // 2], good[:-1], good + b"\0", b"", good[:42], first, read(name, PROOF)]
    for case in cases:
        try:
            check_bundle_certificate(whole, case)
        except (Rejected, SyurmyError):
            with pytest.raises(ours.Rejected):
                verifiers_of(known, case)
        else:
            assert verifiers_of(known, case)
            taken += 1
    assert taken == 1


def test_steps(tmp_path: Path):
    """Honest steps, other orders, and mixtures of three texts: both verifiers say the same. Without zero knowledge one
    tensor has one commitment, so that the last step of the second, which has forgotten how it began, fits the first."""
    w, texts = walking(False), (walk([3, 1], 3), walk([3, 1], 3, (0, 1, 0)), walk([3], 3))
    first, second, third = (split(w.walked(tmp_path / str(k), t).bundle.data) for k, t in enumerate(texts))
    orders = ((0,), (0, 1, 2), (0, 2), (1, 2), (0, 1, 1), (0, 2, 1), (0, 0), ())
    bundles = [[first[k] for k in order] for order in orders]
    bundles += [first[:k] + other[k:] for other in (second, third) for k in (1, 2)]
    bundles += [[*first, *first], third]
    taken = []
    for proofs in bundles:
        data = rejoined(w.key, proofs)
        try:
            theirs = w.verifier.verify(data)
        except (Rejected, SyurmyError):
            with pytest.raises(ours.Rejected):
                verify_bundle(w.key.to_bytes(), data)
            continue
        mine = verify_bundle(w.key.to_bytes(), data)
        assert [bits(s.error) for s in mine] == pytest.approx([s.soundness_bits for s in theirs.segments])
        taken.append(proofs)
    assert taken == [first[:1], first, first[:2] + second[2:], third]


def test_keys_of_steps():
    """Both take them, under the same digest, or both refuse them."""
    made = walking(False).key.to_bytes()
    (segment,) = (s.to_bytes() for s in walking(False).key.segments)
    ends = leb128(1) + leb128(len(segment)) + segment + DESCRIPTION
    (at,) = (k for k in range(len(made)) if made[k:].startswith(b"\0\5\4\1q\1p\1"))
    head, rest = made[:at], made[len(made) - len(ends) :]
    assert rest == ends

    def key_of(most: int, *carried: tuple[str, str, int], twice: bytes = ends) -> bytes:
        out = head + b"\0" + leb128(most) + leb128(len(carried))
        for a, b, first in carried:
            out += leb128(len(a)) + a.encode() + leb128(len(b)) + b.encode() + leb128(first)
        return out + twice

    there = [("q", "p", 1), ("u", "t", 0), ("n", "n", 0), ("d", "c", 0)]
    assert key_of(5, *there) == made
    keys = [key_of(most, *there) for most in (0, 1, 4, 5, 8, 9, 1024, 1025)]
    keys += [key_of(5, (a, b, first)) for a in "qutndcpv" for b in "tpcundq" for first in (0, 1, 5, 6)]
    keys += [
        key_of(5),
        key_of(5, *there, ("q", "t", 0)),
        key_of(5, *there, twice=b"\0" + ends),
        made[:-1],
        made + b"\0",
    ]
    taken = 0
    for data in keys:
        try:
            theirs = BundleKey.from_bytes(data).digest()
        except SyurmyError:
            with pytest.raises(ours.Rejected):
                read_bundle_key(data)
            continue
        assert read_bundle_key(data).digest == theirs
        taken += 1
    assert taken > 20
