"""The tree and its multi-proofs against a recursive definition on the ``blake3`` package."""

import numpy as np
import pytest
from blake3 import blake3

from syurmy.prover import trees
from syurmy.prover.kernels.blake3 import Hashing, hash_messages
from syurmy.prover.protocol import merkle


def naive_root(columns, top=True):
    """Root by recursion, straight from the definition: digests of 25 bytes and seven zeros, the root whole."""
    if len(columns) == 1:
        return blake3(columns[0].astype("<u8").tobytes(), key=merkle.LEAF_KEY).digest()[:25] + bytes(7)
    half = len(columns) // 2
    children = naive_root(columns[:half], False) + naive_root(columns[half:], False)
    digest = blake3(children, key=merkle.NODE_KEY).digest()
    return digest if top else digest[:25] + bytes(7)


def columns_of(log_n, rows, seed=0):
    return np.random.default_rng(seed).integers(0, 2**63, (1 << log_n, rows), dtype=np.uint64)


@pytest.mark.parametrize("words", [1, 2, 15, 16, 17, 255, 256, 257, 512, 777, 1024, 1025, 1280, 256 * 7, 256 * 16 + 3])
@pytest.mark.parametrize("count", [1, 19])
def test_hash_is_keyed_blake3(words, count):
    messages = np.random.default_rng(words).integers(0, 2**32, (count, words), dtype=np.uint32)
    key = bytes(range(32))
    want = [blake3(m.astype("<u4").tobytes(), key=key).digest() for m in messages]
    assert [d.astype("<u4").tobytes() for d in hash_messages(messages, key)] == want


@pytest.mark.parametrize("words", [16, 17, 256, 257, 338, 256 * 7 + 5, 256 * 8])
@pytest.mark.parametrize("step", [16, 48, 256, 528])
def test_hash_of_parts_is_that_of_the_whole(words, step):
    messages = np.random.default_rng(words).integers(0, 2**32, (35, words), dtype=np.uint32)
    hashing = Hashing(35, words, bytes(range(32)))
    for at in range(0, words, step):
        hashing.take(messages[:, at : at + step].copy())
    assert np.array_equal(hashing.digests, hash_messages(messages, bytes(range(32))))
    with pytest.raises(ValueError, match="words"):
        hashing.take(messages)
    with pytest.raises(ValueError, match="words"):
        Hashing(35, words + 1, bytes(32)).take(messages[:, :15].copy())


def test_empty_messages_are_refused():
    with pytest.raises(ValueError, match="empty"):
        hash_messages(np.zeros((1, 0), np.uint32), bytes(32))


@pytest.mark.parametrize(("log_n", "rows"), [(0, 1), (1, 3), (4, 2), (6, 130), (3, 300)])
def test_root(log_n, rows):
    columns = columns_of(log_n, rows)
    assert merkle.MerkleTree.of_columns(columns).root == naive_root(columns)


def test_a_node_is_not_a_leaf():
    """Eight elements hash differently as a column and as a pair of digests."""
    column = columns_of(0, 8)
    assert merkle.hash_columns(column).tobytes() != merkle.hash_nodes(column.view(np.uint8).reshape(2, 32)).tobytes()


@pytest.mark.parametrize("positions", [[0], [5], [0, 1], [2, 3, 4, 15], list(range(16)), [7, 8]])
def test_multiproof(positions):
    columns = columns_of(4, 3)
    tree = merkle.MerkleTree.of_columns(columns)
    proof = tree.multiproof(positions)
    leaves = merkle.hash_columns(columns[positions])
    assert len(proof) == merkle.proof_length(4, positions)
    assert merkle.verify_multiproof(tree.root, 4, positions, leaves, proof)
    for i in range(len(proof)):
        bad = proof.copy()
        bad[i, 24] ^= 1
        assert not merkle.verify_multiproof(tree.root, 4, positions, leaves, bad)
    for i in range(len(leaves)):
        bad = leaves.copy()
        bad[i, 0] ^= 128
        assert not merkle.verify_multiproof(tree.root, 4, positions, bad, proof)
    if len(positions) > 1:
        assert not merkle.verify_multiproof(tree.root, 4, positions, leaves[::-1].copy(), proof)


@pytest.mark.parametrize("few", [2, 4, 1 << 12])
def test_levels_that_are_one_call(few, monkeypatch):
    """Whichever is the first one of these: all digests are the definition's."""
    monkeypatch.setattr(trees, "FEW", few)
    for log_n in (1, 3, 6):
        columns = columns_of(log_n, 3)
        level = expected = merkle.hash_columns(columns)
        while len(level) > 1:
            level = merkle.hash_nodes(level, root=len(level) == 2)
            expected = np.concatenate([expected, level])
        tree = trees.of_columns(columns)
        assert np.array_equal(tree.digests, expected)
        assert tree.root == naive_root(columns)


@pytest.mark.parametrize("log_n", [1, 5, 6, 7, 10])
def test_a_short_tree_is_the_tree(log_n):
    """Without the levels that it hashes again: of neighbours, across subtrees, at both ends."""
    columns = columns_of(log_n, 3)
    whole, short = merkle.MerkleTree.of_columns(columns), trees.ShortTree.of_leaves(merkle.hash_columns(columns))
    assert short.root == whole.root
    assert short.leaves.nbytes + short.above.nbytes <= (25 << log_n) + 64 * max(1, 1 << log_n >> trees.LOW)
    n = 1 << log_n
    for seed in range(4):
        drawn = np.random.default_rng(seed).choice(n, min(n, 1 + 9 * seed), replace=False)
        positions = sorted({0, n - 1, *drawn.tolist()} if seed else {*drawn.tolist()})
        assert np.array_equal(short.multiproof(positions), whole.multiproof(positions))
    with pytest.raises(ValueError, match="power of two"):
        trees.ShortTree(np.concatenate([short.leaves, short.leaves[:1]]), short.above)


def test_a_leaf_is_bound_to_its_position():
    columns = columns_of(3, 2)
    tree = merkle.MerkleTree.of_columns(columns)
    for other in range(8):
        ok = merkle.verify_multiproof(tree.root, 3, [other], merkle.hash_columns(columns[[2]]), tree.multiproof([2]))
        assert ok == (other == 2)


def test_the_proof_has_no_slack():
    assert [merkle.proof_length(4, p) for p in ([0], [0, 1], [0, 15], list(range(16)))] == [4, 3, 6, 0]


@pytest.mark.parametrize("positions", [[], [-1], [16], [3, 3], [4, 2]])
def test_positions_are_checked(positions):
    with pytest.raises(ValueError, match="positions"):
        merkle.proof_length(4, positions)


def test_counts_are_checked():
    leaves = np.zeros((2, 32), np.uint8)
    with pytest.raises(ValueError, match="one leaf per position"):
        merkle.verify_multiproof(bytes(32), 2, [0], leaves, np.zeros((2, 32), np.uint8))
    with pytest.raises(ValueError, match="one leaf per position"):
        merkle.verify_multiproof(bytes(32), 2, [0], leaves[:1], np.zeros((3, 32), np.uint8))
    with pytest.raises(ValueError, match="power of two"):
        merkle.MerkleTree(np.zeros((2, 32), np.uint8))


def test_a_leaf_that_is_the_root_has_no_siblings():
    assert merkle.siblings(0, [0]) == []
    assert merkle.siblings(3, [0, 1, 5]) == [4, 9, 11]
