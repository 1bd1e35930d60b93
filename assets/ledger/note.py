"""Signed notes and checkpoints, by the C2SP specifications signed-note and tlog-checkpoint, with Ed25519.

A checkpoint says how many leaves the log has and what their root is. Strict both ways: a text has one form, and what
is not in it is refused, so that no character of a note can be changed without being seen.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assets.ledger.merkle import HASH_BYTES, SIZE_MAX
from schemas.errors import BrokenInvariant, ProofRefused

NOTE_CHARACTERS_MAX = 2**20
SIGNATURES_MAX = 64
ED25519 = b"\x01"  # The specification's byte for the kind of signature.
KEY_BYTES = 32

SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)")
KEY_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]+")
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Whose signature is believed: a name and a public key. Written `<name>+<key id>+<base64>`."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _require_key(self.name, self.public)

    @property
    def key_id(self) -> bytes:
        """Four bytes that, with the name, tell keys apart. They prove nothing."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def text(self) -> str:
        """Return the key as it is handed on."""
        return f"{self.name}+{self.key_id.hex()}+{_encode(ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a key as it was handed on. Raises ProofRefused for any other form."""
        key = cls(*_key_parts(text))
        if key.text() != text:
            raise ProofRefused(f"key {key.name}: its id does not belong to it. Ask for the key again.")
        return key


@dataclass(frozen=True, slots=True)
class SignerKey:
    """Who signs: a name and a secret seed of 32 bytes. Written `PRIVATE+KEY+<name>+<key id>+<base64>`."""

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _require_key(self.name, self.seed)

    @classmethod
    def generate(cls, name: str) -> SignerKey:
        """Make a new key."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def verifier(self) -> VerifierKey:
        """The half that is published."""
        return VerifierKey(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def text(self) -> str:
        """Return the secret key as it is stored."""
        return f"PRIVATE+KEY+{self.name}+{self.verifier.key_id.hex()}+{_encode(ED25519 + self.seed)}"

    @classmethod
    def parse(cls, text: str) -> SignerKey:
        """Read a secret key as it is stored. Raises ProofRefused for any other form, and never shows it."""
        if not text.startswith("PRIVATE+KEY+"):
            raise ProofRefused("secret key: it does not begin with PRIVATE+KEY. Was a public one given?")
        key = cls(*_key_parts(text.removeprefix("PRIVATE+KEY+")))
        if key.text() != text:
            raise ProofRefused(f"secret key {key.name}: its id does not belong to it. Restore it from its backup.")
        return key


def sign_note(text: str, signers: Sequence[SignerKey]) -> str:
    """Return the note: the text, an empty line, and a line for each signer."""
    if not text.endswith("\n") or not signers or _control_characters(text):
        raise BrokenInvariant("a note is lines of text without control characters, and one signer at least.")
    note = text + "\n"
    for signer in signers:
        signature = Ed25519PrivateKey.from_private_bytes(signer.seed).sign(text.encode())
        note += f"— {signer.name} {_encode(signer.verifier.key_id + signature)}\n"
    return note


def verify_note(note: str, verifiers: Iterable[VerifierKey]) -> tuple[str, tuple[VerifierKey, ...]]:
    """Return the note's text and which of `verifiers` signed it, in the note's order.

    Raises ProofRefused when none did, when the signature of one of them is bad, or when the form is not exact. A
    signature by anyone else is ignored, as the specification asks: a log changes keys, and witnesses sign too.
    """
    if len(note) > NOTE_CHARACTERS_MAX or _control_characters(note) or not note.endswith("\n"):
        raise ProofRefused("note: it is too long, not whole, or holds control characters.")
    body, gap, rest = note.rpartition("\n\n")
    text, lines = body + "\n", rest[:-1].split("\n")
    if not gap or not body or len(lines) > SIGNATURES_MAX:
        raise ProofRefused(f"note: a text, an empty line and 1 to {SIGNATURES_MAX} signatures were expected.")
    known = {(key.name, key.key_id): key for key in verifiers}
    signed: dict[VerifierKey, None] = {}
    for number, line in enumerate(lines, 1):
        found = SIGNATURE_LINE.fullmatch(line)
        if not found:
            raise ProofRefused(f"note: line {number} of the signatures is not in its form.")
        value = decode(found[2], f"note, signature {number}")
        key = known.get((found[1], value[:4]))
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(value[4:], text.encode())
        except InvalidSignature:
            raise ProofRefused(f"note: the signature of {key.name} does not belong to this text and key.") from None
        signed[key] = None
    if not signed:
        names = ", ".join(sorted(key.name for key in known.values())) or "nobody"
        raise ProofRefused(f"note: no known key signed it. Known: {names}.")
    return text, tuple(signed)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of the log `origin`: the root over its first `size` leaves."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not KEY_NAME.fullmatch(self.origin) or not 0 <= self.size <= SIZE_MAX or len(self.root) != HASH_BYTES:
            raise ProofRefused("checkpoint: an origin without spaces, a size and a root of 32 bytes were expected.")

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a text that was signed. Raises ProofRefused for any other form, and for lines after the root."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise ProofRefused("checkpoint: three lines were expected: origin, size, root.")
        return cls(lines[0], parse_size(lines[1], "checkpoint"), decode(lines[2], "checkpoint, root"))


def verify_checkpoint(note: str, verifiers: Iterable[VerifierKey]) -> tuple[Checkpoint, tuple[VerifierKey, ...]]:
    """Return the checkpoint in a note and who signed it. The log itself must have: a key whose name is the origin."""
    text, signed = verify_note(note, verifiers)
    checkpoint = Checkpoint.parse(text)
    if checkpoint.origin not in {key.name for key in signed}:
        raise ProofRefused(f"checkpoint: none of the keys that signed is that of the log {checkpoint.origin}.")
    return checkpoint, signed


def decode(text: str, where: str) -> bytes:
    """Return the bytes of a base64 text. It has one form: padded, without spare bits. Raises ProofRefused."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value or _encode(value) != text:
        raise ProofRefused(f"{where}: not exact base64.")
    return value


def parse_size(text: str, where: str) -> int:
    """Return a number of leaves. It has one form: ASCII digits without leading zeros. Raises ProofRefused."""
    if not SIZE.fullmatch(text) or int(text) > SIZE_MAX:
        raise ProofRefused(f"{where}: a whole number without leading zeros was expected.")
    return int(text)


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _control_characters(text: str) -> bool:
    return any((character < " " and character != "\n") or character == "\x7f" for character in text)


def _key_parts(text: str) -> tuple[str, bytes]:
    """Return the name and the bytes of `<name>+<key id>+<base64>`; the caller compares the whole."""
    name, _, rest = text.partition("+")
    value = decode(rest.partition("+")[2], "key")
    if value[:1] != ED25519:
        raise ProofRefused("key: it is not for Ed25519.")
    return name, value[1:]


def _require_key(name: str, value: bytes) -> None:
    if not KEY_NAME.fullmatch(name) or len(value) != KEY_BYTES:
        raise ProofRefused(f"key: a name without spaces or + and {KEY_BYTES} bytes were expected.")
