"""Proofs as files: one record is in the log (C2SP tlog-proof), and the log only grew (a form of our own)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assets.ledger.canonical import BODY_BYTES_MAX
from assets.ledger.merkle import HASH_BYTES, leaf_hash, verify_consistency, verify_inclusion
from assets.ledger.note import Checkpoint, VerifierKey, decode, parse_size, verify_checkpoint
from schemas.errors import ProofRefused

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
CONSISTENCY_HEADER = "trine consistency v1"
PATH_HASHES_MAX = 63  # The height of the tallest tree that a checkpoint can name.


@dataclass(frozen=True, slots=True)
class Proof:
    """One record, its place in the log, and the checkpoint over it: a file that is checked without us.

    `extra` is the record's canonical body. The format does not authenticate it; `verify` does, because the leaf that
    it checks is the hash of these bytes.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes

    def text(self) -> str:
        """Return the file: header, `extra`, `index`, the path from the leaf up, an empty line, the signed note."""
        lines = (PROOF_HEADER, f"extra {_encode(self.extra)}", f"index {self.index}", *map(_encode, self.path))
        return "\n".join(lines) + "\n\n" + self.checkpoint

    @classmethod
    def parse(cls, text: str) -> Proof:
        """Read such a file. Raises ProofRefused for any other form."""
        head, gap, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not gap or len(lines) < 3 or lines[0] != PROOF_HEADER:
            raise ProofRefused(f"proof: it does not begin with {PROOF_HEADER}, extra and index.")
        body = decode(_value(lines[1], "extra"), "proof, extra")
        if len(body) > BODY_BYTES_MAX:
            raise ProofRefused(f"proof, extra: a record has at most {BODY_BYTES_MAX:,} bytes.")
        index = parse_size(_value(lines[2], "index"), "proof, index")
        return cls(index, _path(lines[3:], "proof"), checkpoint, body)

    def verify(self, verifiers: Iterable[VerifierKey]) -> tuple[Checkpoint, tuple[VerifierKey, ...]]:
        """Return the checkpoint that the record is under and who signed it, or raise ProofRefused."""
        checkpoint, signed = verify_checkpoint(self.checkpoint, verifiers)
        verify_inclusion(leaf_hash(self.extra), self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint, signed


@dataclass(frozen=True, slots=True)
class Consistency:
    """The log of `old_size` leaves is the beginning of the log of `new_size`.

    As a file: the header, `old <size>`, `new <size>`, then one base64 hash per line, each line ended by a newline. The
    two roots are not in it: they come from the two checkpoints.
    """

    old_size: int
    new_size: int
    path: tuple[bytes, ...]

    def text(self) -> str:
        """Return the file."""
        lines = (CONSISTENCY_HEADER, f"old {self.old_size}", f"new {self.new_size}", *map(_encode, self.path))
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str) -> Consistency:
        """Read such a file. Raises ProofRefused for any other form."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[0] != CONSISTENCY_HEADER or lines.pop():
            raise ProofRefused(
                f"consistency: it does not begin with {CONSISTENCY_HEADER}, old and new, or is cut short."
            )
        old = parse_size(_value(lines[1], "old"), "consistency, old")
        new = parse_size(_value(lines[2], "new"), "consistency, new")
        return cls(old, new, _path(lines[3:], "consistency"))

    def verify(self, old: Checkpoint, new: Checkpoint) -> None:
        """Raise ProofRefused unless this proves `old` to be the beginning of `new`, of the same log."""
        if old.origin != new.origin:
            raise ProofRefused(f"consistency: {old.origin} and {new.origin} are two logs.")
        if (old.size, new.size) != (self.old_size, self.new_size):
            raise ProofRefused(
                f"consistency: the proof is from {self.old_size} to {self.new_size} leaves, and the checkpoints are "
                f"from {old.size} to {new.size}."
            )
        verify_consistency(old.size, old.root, new.size, new.root, self.path)


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _value(line: str, name: str) -> str:
    if not line.startswith(f"{name} "):
        raise ProofRefused(f"proof: the line of {name} is missing.")
    return line.removeprefix(f"{name} ")


def _path(lines: Sequence[str], where: str) -> tuple[bytes, ...]:
    path = tuple(decode(line, f"{where}, hash {number}") for number, line in enumerate(lines, 1))
    if len(path) > PATH_HASHES_MAX or any(len(value) != HASH_BYTES for value in path):
        raise ProofRefused(f"{where}: at most {PATH_HASHES_MAX} hashes of {HASH_BYTES} bytes were expected.")
    return path
