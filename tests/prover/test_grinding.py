"""A search for a nonce finds the first one that holds."""

import pytest

from syurmy.prover.grinding import grinding_nonce
from syurmy.prover.protocol.grinding import grinding_holds


@pytest.mark.parametrize("bits", [1, 9, 14])
def test_the_smallest_nonce(bits):
    """Among the first candidates, and among later ones."""
    for k in range(3):
        seed = bytes([k]) * 16
        nonce = grinding_nonce(seed, bits)
        tried = (n.to_bytes(8, "little") for n in range(2**20))
        assert next(n for n in tried if grinding_holds(seed, n, bits)) == nonce
