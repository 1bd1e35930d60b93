"""The tree, against the published answers of Certificate Transparency and against its definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    leaf_hashes,
    node_hash,
    root_at,
    root_of,
    subtrees,
    verify_consistency,
    verify_inclusion,
)
from schemas.errors import BrokenInvariant, ProofRefused

# The reference tree of Certificate Transparency: its inputs, and the root after each of them.
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSIONS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCIES = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
LEAVES = leaf_hashes(b"%d" % index for index in range(64))


# The definition, word for word from RFC 6962 2.1: slow, and nothing to get wrong.


def half(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def tree_hash(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    k = half(len(leaves))
    return node_hash(tree_hash(leaves[:k]), tree_hash(leaves[k:]))


def path_by_definition(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = half(len(leaves))
    if m < k:
        return [*path_by_definition(m, leaves[:k]), tree_hash(leaves[k:])]
    return [*path_by_definition(m - k, leaves[k:]), tree_hash(leaves[:k])]


def proof_by_definition(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [tree_hash(leaves)]
    k = half(len(leaves))
    if m <= k:
        return [*proof_by_definition(m, leaves[:k], whole), tree_hash(leaves[k:])]
    return [*proof_by_definition(m - k, leaves[k:], False), tree_hash(leaves[:k])]


def test_the_reference_tree_has_the_published_roots() -> None:
    hashes = leaf_hashes(INPUTS)
    assert hashes == [leaf_hash(body) for body in INPUTS]
    assert [root_of(hashes[:size]).hex() for size in range(9)] == ROOTS
    assert [root_at(subtrees(hashes), size).hex() for size in range(9)] == ROOTS


@pytest.mark.parametrize(("index", "size"), INCLUSIONS)
def test_the_reference_tree_has_the_published_inclusion_paths(index: int, size: int) -> None:
    hashes = leaf_hashes(INPUTS)
    path = inclusion_path(subtrees(hashes), index, size)
    assert [value.hex() for value in path] == INCLUSIONS[index, size]
    verify_inclusion(hashes[index], index, size, path, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCIES)
def test_the_reference_tree_has_the_published_consistency_paths(old: int, new: int) -> None:
    path = consistency_path(subtrees(leaf_hashes(INPUTS)), old, new)
    assert [value.hex() for value in path] == CONSISTENCIES[old, new]
    verify_consistency(old, bytes.fromhex(ROOTS[old]), new, bytes.fromhex(ROOTS[new]), path)


def test_every_leaf_of_every_small_tree_is_proven_as_defined() -> None:
    for size in range(1, 65):
        root = tree_hash(LEAVES[:size])
        assert root_of(LEAVES[:size]) == root
        for index in range(size):
            path = inclusion_path(subtrees(LEAVES), index, size)
            assert path == path_by_definition(index, LEAVES[:size])
            verify_inclusion(LEAVES[index], index, size, path, root)


def test_every_pair_of_small_trees_is_proven_as_defined() -> None:
    roots = [tree_hash(LEAVES[:size]) for size in range(65)]
    reader = subtrees(LEAVES)
    for new in range(1, 65):
        for old in range(1, new + 1):
            path = consistency_path(reader, old, new)
            assert path == proof_by_definition(old, LEAVES[:new])
            verify_consistency(old, roots[old], new, roots[new], path)


@given(st.lists(st.integers(0, 70), max_size=6), st.integers(0, 40))
def test_a_tree_grown_in_any_steps_and_restored_between_them_has_one_root(steps: list[int], more: int) -> None:
    hashes = leaf_hashes(b"%d" % index for index in range(sum(steps) + more))
    frontier = Frontier()
    for step in [*steps, more]:
        frontier = Frontier(frontier.size, frontier.peaks)
        frontier.append(hashes[frontier.size : frontier.size + step])
        assert frontier.root() == tree_hash(hashes[: frontier.size])


def flipped(data: bytes) -> list[bytes]:
    """The bytes with each one bit of them turned over in its turn."""
    return [
        data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for at in range(len(data)) for bit in range(8)
    ]  # fmt: skip


def test_any_flipped_bit_of_an_inclusion_proof_is_refused() -> None:
    for index, size in ((0, 1), (5, 8), (12, 13), (6, 7), (40, 63)):
        root, path = tree_hash(LEAVES[:size]), inclusion_path(subtrees(LEAVES), index, size)
        for at, value in enumerate(path):
            for other in flipped(value):
                with pytest.raises(ProofRefused, match="does not lead"):
                    verify_inclusion(LEAVES[index], index, size, [*path[:at], other, *path[at + 1 :]], root)
        for other in flipped(LEAVES[index]):
            with pytest.raises(ProofRefused):
                verify_inclusion(other, index, size, path, root)
        for other in flipped(root):
            with pytest.raises(ProofRefused):
                verify_inclusion(LEAVES[index], index, size, path, other)


def test_any_flipped_bit_of_a_consistency_proof_is_refused() -> None:
    for old, new in ((1, 8), (6, 8), (4, 7), (33, 64), (7, 7)):
        old_root, new_root = tree_hash(LEAVES[:old]), tree_hash(LEAVES[:new])
        path = consistency_path(subtrees(LEAVES), old, new)
        for at, value in enumerate(path):
            for other in flipped(value):
                with pytest.raises(ProofRefused, match="does not lead"):
                    verify_consistency(old, old_root, new, new_root, [*path[:at], other, *path[at + 1 :]])
        for other in flipped(old_root):
            with pytest.raises(ProofRefused):
                verify_consistency(old, other, new, new_root, path)
        for other in flipped(new_root):
            with pytest.raises(ProofRefused):
                verify_consistency(old, old_root, new, other, path)


def test_a_proof_holds_for_no_other_place_or_length() -> None:
    for size in range(1, 20):
        root = tree_hash(LEAVES[:size])
        for index in range(size):
            path = inclusion_path(subtrees(LEAVES), index, size)
            for other in range(-1, 22):
                if other != index:
                    with pytest.raises(ProofRefused):
                        verify_inclusion(LEAVES[index], other, size, path, root)
            for wrong in ([*path, root], path[:-1] if path else [root], [root, *path]):
                with pytest.raises(ProofRefused):
                    verify_inclusion(LEAVES[index], index, size, wrong, root)


def test_a_consistency_proof_holds_for_no_other_sizes_or_length() -> None:
    roots = [tree_hash(LEAVES[:size]) for size in range(24)]
    for new in range(1, 20):
        for old in range(1, new + 1):
            path = consistency_path(subtrees(LEAVES), old, new)
            for other in range(-1, 22):
                if other != old:
                    with pytest.raises(ProofRefused):
                        verify_consistency(other, roots[old], new, roots[new], path)
            for wrong in ([*path, roots[new]], path[:-1] if path else [roots[new]], [roots[old], *path]):
                with pytest.raises(ProofRefused):
                    verify_consistency(old, roots[old], new, roots[new], wrong)


def test_a_path_of_another_length_is_named_as_such() -> None:
    root, path = tree_hash(LEAVES[:5]), inclusion_path(subtrees(LEAVES), 1, 5)
    growth = consistency_path(subtrees(LEAVES), 2, 5)
    for wrong, said in (([*path, root], "too many"), (path[:-1], "too few")):
        with pytest.raises(ProofRefused, match=said):
            verify_inclusion(LEAVES[1], 1, 5, wrong, root)
    for wrong, said in (([*growth, root], "too many"), (growth[:-1], "too few")):
        with pytest.raises(ProofRefused, match=said):
            verify_consistency(2, tree_hash(LEAVES[:2]), 5, root, wrong)


def test_an_empty_tree_proves_nothing() -> None:
    for leaf, root in ((EMPTY_ROOT, EMPTY_ROOT), (b"", b""), (b"", EMPTY_ROOT), (leaf_hash(b""), EMPTY_ROOT)):
        with pytest.raises(ProofRefused, match="no leaf 0 in a tree of 0"):
            verify_inclusion(leaf, 0, 0, [], root)
    for new, root in ((0, EMPTY_ROOT), (1, LEAVES[0])):
        with pytest.raises(ProofRefused, match="from a tree of 0"):
            verify_consistency(0, EMPTY_ROOT, new, root, [])


def test_a_hash_of_another_length_is_refused() -> None:
    left, right = LEAVES[:2]
    root = node_hash(left, right)
    verify_inclusion(left, 0, 2, [right], root)
    # The same bytes cut elsewhere hash to the same root.
    with pytest.raises(ProofRefused, match="32 bytes"):
        verify_inclusion(left + right[:1], 0, 2, [right[1:]], root)
    with pytest.raises(ProofRefused, match="32 bytes"):
        verify_consistency(1, left + right[:1], 2, root, [right[1:]])


def test_what_does_not_exist_is_not_proven() -> None:
    reader = subtrees(LEAVES)
    for index, size in ((0, 0), (3, 3), (-1, 4)):
        with pytest.raises(BrokenInvariant, match="no leaf"):
            inclusion_path(reader, index, size)
    for old, new in ((0, 3), (4, 3), (0, 0)):
        with pytest.raises(BrokenInvariant, match="no proof leads"):
            consistency_path(reader, old, new)
    with pytest.raises(BrokenInvariant, match="2 peaks"):
        Frontier(4, LEAVES[:2])
