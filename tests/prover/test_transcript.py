"""The transcript: what is absorbed decides the challenges; the receiver refuses what the sender cannot write."""

import numpy as np
import pytest

from syurmy.prover.field import Ext, P
from syurmy.prover.protocol.transcript import Receiver, Rejected, Sender, Transcript


def _challenge(*messages: tuple[str, bytes]) -> Ext:
    t = Transcript()
    for label, data in messages:
        t.absorb(label, data)
    return t.challenge("c")


def test_challenges_depend_on_everything_absorbed() -> None:
    seen = [
        _challenge(),
        _challenge(("a", b"")),
        _challenge(("a", b"x")),
        _challenge(("b", b"x")),
        _challenge(("a", b"x"), ("a", b"")),
        _challenge(("a", b""), ("a", b"x")),
        _challenge(("ax", b"")),
    ]
    assert len(set(seen)) == len(seen)
    assert _challenge(("a", b"x")) == _challenge(("a", b"x"))


def test_successive_challenges_and_labels_differ() -> None:
    t, s = Transcript(), Transcript()
    assert len({*t.challenges("c", 5), s.challenge("d")}) == 6


def test_zeros_equal_absorbed_zeros() -> None:
    t, s = Transcript(), Transcript()
    t.absorb("z", bytes(2**20 + 5))
    s.absorb_zeros("z", 2**20 + 5)
    assert t.challenge("c") == s.challenge("c")
    assert t.log == s.log


def test_positions() -> None:
    t = Transcript()
    got = t.positions("q", 30, 32)
    assert got == sorted(set(got))
    assert len(got) == 30
    assert 0 <= got[0] <= got[-1] < 32
    with pytest.raises(ValueError, match="more positions"):
        t.positions("q", 3, 2)


def test_receiver_reads_what_sender_wrote() -> None:
    sender = Sender(Transcript())
    values = [Ext(1, 2), Ext(P - 1, P - 1)]
    array = np.array([[1, 2, 3], [4, 5, P - 1]], dtype=np.uint64)
    sender.ext("e", values)
    sender.ext_array("a", array)
    sender.base_array("b", array[1])
    sender.raw("r", b"abc")
    receiver = Receiver(Transcript(), sender.bytes())
    assert receiver.ext("e", 2) == values
    assert (receiver.ext_array("a", 3) == array).all()
    assert (receiver.base_array("b", 3) == array[1]).all()
    assert receiver.raw("r", 3) == b"abc"
    receiver.done()
    assert sender.transcript.log == receiver.transcript.log
    assert sender.transcript.challenge("c") == receiver.transcript.challenge("c")
    assert [size for _, _, size in sender.fields] == [32, 48, 24, 3]


@pytest.mark.parametrize("word", [P, P + 1, 2**64 - 1])
def test_elements_that_are_not_canonical(word: int) -> None:
    data = (5).to_bytes(8, "little") + word.to_bytes(8, "little")
    for read in (lambda r: r.ext("x", 1), lambda r: r.ext_array("x", 1), lambda r: r.base_array("x", 2)):
        with pytest.raises(Rejected, match="not canonical") as refusal:
            read(Receiver(Transcript(), data))
        assert refusal.value.step == "format"


def test_short_and_long_proofs() -> None:
    with pytest.raises(Rejected, match="ends inside 'x'"):
        Receiver(Transcript(), bytes(15)).ext("x", 1)
    with pytest.raises(Rejected, match="1 bytes after the end"):
        Receiver(Transcript(), b"a").done()
