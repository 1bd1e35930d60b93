"""The log's tree: RFC 6962 over SHA-256. Bytes in, bytes out; nothing here knows a file, a table or a signature.

A proof is made from a reader of complete subtrees: `subtree(level, index)` returns the hash over the leaves from
`index << level` to `(index + 1) << level`. `subtrees` makes one from leaf hashes, `assets.ledger.tiles` from files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256

from schemas.errors import BrokenInvariant, ProofRefused

HASH_BYTES = 32
SIZE_MAX = 2**63 - 1  # What other readers of checkpoints hold in 64 bits with a sign.
EMPTY_ROOT = sha256(b"").digest()

Subtree = Callable[[int, int], bytes]


def leaf_hash(body: bytes) -> bytes:
    """Return the hash of a log entry. Its prefix differs from a node's, so that neither is taken for the other."""
    return sha256(b"\x00" + body).digest()


def leaf_hashes(bodies: Iterable[bytes]) -> list[bytes]:
    """Return the hash of each log entry, in order."""
    hash_one = sha256  # A local name: this loop and the one below are most of what a large cycle's log costs.
    return [hash_one(b"\x00" + body).digest() for body in bodies]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, or over the hashes of equally high complete subtrees."""
    frontier = Frontier()
    frontier.append(hashes)
    return frontier.root()


class Frontier:
    """The right edge of a tree: enough to append for ever and to know the root, and nothing else.

    `peaks` are the roots of the complete subtrees that make the tree, largest first: one for each bit of `size`. They
    are all that has to be kept to go on later.
    """

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= SIZE_MAX or len(peaks) != size.bit_count() or any(len(p) != HASH_BYTES for p in peaks):
            raise BrokenInvariant(f"{len(peaks)} peaks cannot be the right edge of a tree of {size} leaves.")
        self.size = size
        self.peaks = list(peaks)

    def append(self, hashes: Sequence[bytes]) -> None:
        """Append leaf hashes, level by level over all of them at once."""
        hash_one = sha256
        size, nodes = self.size, list(hashes)
        self.size += len(nodes)
        kept: list[bytes] = []  # The new peaks, smallest first.
        while nodes or size:
            if size & 1:
                nodes.insert(0, self.peaks.pop())
            if len(nodes) & 1:
                kept.append(nodes.pop())
            pairs = iter(nodes)
            nodes = [hash_one(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            size >>= 1
        self.peaks = kept[::-1]

    def root(self) -> bytes:
        """Return the root over all leaves so far; of none, the hash of nothing."""
        return _fold(self.peaks) if self.peaks else EMPTY_ROOT


def subtrees(hashes: Sequence[bytes]) -> Subtree:
    """Return a reader of the complete subtrees over leaf hashes."""
    levels = [list(hashes)]
    while len(levels[-1]) > 1:
        pairs = iter(levels[-1])
        levels.append([node_hash(left, right) for left, right in zip(pairs, pairs, strict=False)])
    return lambda level, index: levels[level][index]


def root_at(subtree: Subtree, size: int) -> bytes:
    """Return the root over the first `size` leaves."""
    return _range_hash(subtree, 0, size) if size else EMPTY_ROOT


def inclusion_path(subtree: Subtree, index: int, size: int) -> list[bytes]:
    """Return the path that proves a leaf to be in the tree of `size` leaves: from its sibling up, RFC 6962 2.1.1."""
    if not 0 <= index < size:
        raise BrokenInvariant(f"there is no leaf {index} in a tree of {size} leaves.")
    path, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range_hash(subtree, middle, high))
            high = middle
        else:
            path.append(_range_hash(subtree, low, middle))
            low = middle
    return path[::-1]


def consistency_path(subtree: Subtree, old: int, new: int) -> list[bytes]:
    """Return the path that proves a tree of `old` leaves to be the beginning of one of `new`: RFC 6962 2.1.2."""
    if not 1 <= old <= new:
        raise BrokenInvariant(f"no proof leads from a tree of {old} leaves to one of {new}.")
    path, low, high = [], 0, new
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range_hash(subtree, middle, high))
            high = middle
        else:
            path.append(_range_hash(subtree, low, middle))
            low = middle
    if low:  # Else what remains is the old tree itself, whose root the verifier has.
        path.append(_range_hash(subtree, low, high))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raise ProofRefused unless `path` leads from the leaf hash at `index` to the root over `size` leaves.

    By RFC 9162 2.1.3.2. An empty tree holds no leaf, whatever root and leaf are claimed for it.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ProofRefused(f"inclusion proof: there is no leaf {index} in a tree of {size} leaves.")
    _require_hashes("inclusion", leaf, root, *path)
    here, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofRefused(f"inclusion proof: {len(path)} hashes are too many for leaf {index} of {size}.")
        if here & 1 or here == last:
            found = node_hash(sibling, found)
            while here and not here & 1:
                here >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        here >>= 1
        last >>= 1
    if last:
        raise ProofRefused(f"inclusion proof: {len(path)} hashes are too few for leaf {index} of {size}.")
    if found != root:
        raise ProofRefused(f"inclusion proof: leaf {index} of {size} does not lead to the root that was signed.")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Raise ProofRefused unless the tree of `old_size` leaves is the beginning of the tree of `new_size`.

    By RFC 9162 2.1.4.2. An empty tree is the beginning of anything, so a proof from one says nothing and is refused,
    also to another empty one.
    """
    if not 1 <= old_size <= new_size <= SIZE_MAX:
        raise ProofRefused(f"consistency proof: none leads from a tree of {old_size} leaves to one of {new_size}.")
    _require_hashes("consistency", old_root, new_root, *path)
    if old_size == new_size:
        if path or old_root != new_root:
            raise ProofRefused(f"consistency proof: two trees of {old_size} leaves need one root and no hashes.")
        return
    # A complete old tree is a node of the new one: its root begins the path and need not be sent.
    rest = [old_root, *path] if old_size.bit_count() == 1 else list(path)
    if not rest:
        raise ProofRefused("consistency proof: it holds no hashes.")
    here, last = old_size - 1, new_size - 1
    while here & 1:
        here >>= 1
        last >>= 1
    old_found = new_found = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            raise ProofRefused(f"consistency proof: {len(path)} hashes are too many from {old_size} to {new_size}.")
        if here & 1 or here == last:
            old_found = node_hash(sibling, old_found)
            new_found = node_hash(sibling, new_found)
            while here and not here & 1:
                here >>= 1
                last >>= 1
        else:
            new_found = node_hash(new_found, sibling)
        here >>= 1
        last >>= 1
    if last:
        raise ProofRefused(f"consistency proof: {len(path)} hashes are too few from {old_size} to {new_size}.")
    if old_found != old_root:
        raise ProofRefused(f"consistency proof: it does not lead to the root over the first {old_size} leaves.")
    if new_found != new_root:
        raise ProofRefused(f"consistency proof: it does not lead to the root over {new_size} leaves.")


def _split(count: int) -> int:
    """Return the largest power of two below `count`: how many leaves the left side takes."""
    return 1 << (count - 1).bit_length() - 1


def _peaks(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the complete subtrees that make a range, largest first. `low` is a multiple of the largest."""
    while low < high:
        level = (high - low).bit_length() - 1
        yield level, low >> level
        low += 1 << level


def _range_hash(subtree: Subtree, low: int, high: int) -> bytes:
    return _fold([subtree(level, index) for level, index in _peaks(low, high)])


def _fold(peaks: Sequence[bytes]) -> bytes:
    found = peaks[-1]
    for peak in reversed(peaks[:-1]):
        found = node_hash(peak, found)
    return found


def _require_hashes(kind: str, *hashes: bytes) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise ProofRefused(f"{kind} proof: each hash has {HASH_BYTES} bytes, and one of these has not.")
