"""Signed notes and checkpoints: one form, and no character of it can be changed unseen."""

import base64

import pytest

from assets.ledger.merkle import EMPTY_ROOT, leaf_hash
from assets.ledger.note import Checkpoint, SignerKey, VerifierKey, sign_note, verify_checkpoint, verify_note
from schemas.errors import BrokenInvariant, ProofRefused

# The example in the documentation of Go's package for notes, whose author defined the format.
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

LOG = SignerKey("trine.example/log", bytes(range(32)))
WITNESS = SignerKey("witness.example", bytes(range(1, 33)))
CHECKPOINT = Checkpoint(LOG.name, 109_482, leaf_hash(b"root"))
NOTE = sign_note(CHECKPOINT.text(), [LOG])


def test_the_published_example_is_signed_and_verified_to_the_letter() -> None:
    assert VerifierKey.parse(GO_PUBLIC).text() == GO_PUBLIC
    assert SignerKey.parse(GO_SECRET).text() == GO_SECRET
    assert SignerKey.parse(GO_SECRET).verifier == VerifierKey.parse(GO_PUBLIC)
    assert sign_note(GO_TEXT, [SignerKey.parse(GO_SECRET)]) == GO_NOTE
    assert verify_note(GO_NOTE, [VerifierKey.parse(GO_PUBLIC)]) == (GO_TEXT, (VerifierKey.parse(GO_PUBLIC),))


def test_a_checkpoint_comes_back_with_who_signed_it() -> None:
    assert CHECKPOINT.text() == f"trine.example/log\n109482\n{base64.b64encode(CHECKPOINT.root).decode()}\n"
    assert verify_checkpoint(NOTE, [LOG.verifier]) == (CHECKPOINT, (LOG.verifier,))
    both = sign_note(CHECKPOINT.text(), [LOG, WITNESS])
    assert verify_checkpoint(both, [LOG.verifier, WITNESS.verifier])[1] == (LOG.verifier, WITNESS.verifier)
    assert verify_checkpoint(both, [LOG.verifier])[1] == (LOG.verifier,)
    assert Checkpoint.parse(f"o\n0\n{base64.b64encode(EMPTY_ROOT).decode()}\n") == Checkpoint("o", 0, EMPTY_ROOT)


def changed(data: bytes) -> list[bytes]:
    """The bytes with each one of them changed in its turn, in the ways that readers forgive most often."""
    found = []
    for at, byte in enumerate(data):
        others = {byte ^ 1 << bit for bit in range(8)} | {0x0A, 0x20, 0x2B, 0x3D, 0x00}
        found += [data[:at] + bytes([other]) + data[at + 1 :] for other in others - {byte}]
        found += [data[:at] + data[at + 1 :]] + [data[:at] + extra + data[at:] for extra in (b"\n", b" ", b"=", b"0")]
    return found + [data + extra for extra in (b"\n", b" ", b"x", b"\r\n", b"\x00")]


def test_a_note_with_any_character_changed_is_refused() -> None:
    for data in changed(NOTE.encode()):
        with pytest.raises((ProofRefused, UnicodeDecodeError)):
            verify_note(data.decode(), [LOG.verifier])


def test_a_change_in_one_of_two_signatures_is_refused_or_loses_that_signer() -> None:
    for data in changed(sign_note(CHECKPOINT.text(), [LOG, WITNESS]).encode()):
        try:
            text, signed = verify_note(data.decode(), [LOG.verifier, WITNESS.verifier])
        except (ProofRefused, UnicodeDecodeError):
            continue
        assert text == CHECKPOINT.text()
        assert len(signed) == 1


def test_a_known_key_with_a_bad_signature_refuses_the_note_even_when_another_is_good() -> None:
    stranger = sign_note("another text\n", [WITNESS]).partition("\n\n")[2]
    assert verify_note(NOTE + stranger, [LOG.verifier])[1] == (LOG.verifier,)
    with pytest.raises(ProofRefused, match=r"witness\.example does not belong"):
        verify_note(NOTE + stranger, [LOG.verifier, WITNESS.verifier])


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    same_name = SignerKey(LOG.name, bytes(32)).verifier
    for verifiers in ([], [WITNESS.verifier], [same_name]):
        with pytest.raises(ProofRefused, match="no known key"):
            verify_note(NOTE, verifiers)


def test_the_log_itself_must_have_signed_its_checkpoint() -> None:
    by_witness = sign_note(CHECKPOINT.text(), [WITNESS])
    with pytest.raises(ProofRefused, match="is that of the log"):
        verify_checkpoint(by_witness, [LOG.verifier, WITNESS.verifier])


ROOT = base64.b64encode(EMPTY_ROOT).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"o\n01\n{ROOT}\n",
        f"o\n+1\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n1_0\n{ROOT}\n",
        f"o\n٣\n{ROOT}\n",
        f"o\n\n{ROOT}\n",
        f"o\n9223372036854775808\n{ROOT}\n",
        f"\n1\n{ROOT}\n",
        f"a b\n1\n{ROOT}\n",
        f"o\n1\n{ROOT[:-1]}\n",
        f"o\n1\n{ROOT[:-2]}V=\n",
        f"o\n1\n{ROOT[:-4]}\n",
        f"o\n1\n{ROOT} \n",
        f"o\n1\n{ROOT.replace('/', '_').replace('+', '-')}\n",
        f"o\n1\n{ROOT}",
        f"o\n1\n{ROOT}\nextension\n",
        f"o\n1\n{ROOT}\n\n",
        f"o\n1\r\n{ROOT}\n",
    ],
)
def test_a_checkpoint_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(ProofRefused):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "wrong", ["", "x", "name+00000000+", GO_PUBLIC + "A", GO_PUBLIC.replace("c7", "C7"), GO_PUBLIC[1:]]
)
def test_a_key_in_another_form_is_refused(wrong: str) -> None:
    with pytest.raises(ProofRefused):
        VerifierKey.parse(wrong)
    with pytest.raises(ProofRefused):
        SignerKey.parse(f"PRIVATE+KEY+{wrong}")


def test_a_key_of_another_kind_is_refused() -> None:
    cosigner = base64.b64encode(b"\x04" + bytes(32)).decode()
    with pytest.raises(ProofRefused, match="not for Ed25519"):
        VerifierKey.parse(f"witness+00000000+{cosigner}")


def test_a_secret_key_is_not_shown() -> None:
    key = SignerKey.generate("trine.example/log")
    assert key != SignerKey.generate("trine.example/log")
    assert SignerKey.parse(key.text()) == key
    assert "seed" not in repr(key)
    with pytest.raises(ProofRefused) as refused:
        SignerKey.parse(key.text().replace("trine", "other"))
    assert key.text()[-20:] not in str(refused.value)


@pytest.mark.parametrize("text", ["", "no end", "tab\t\n", "return\r\n", "delete\x7f\n"])
def test_what_is_no_note_is_not_signed(text: str) -> None:
    with pytest.raises(BrokenInvariant):
        sign_note(text, [LOG])


def test_a_note_has_as_many_signatures_as_the_specification_asks_and_an_end() -> None:
    lines = NOTE.partition("\n\n")[2]
    sixteen = NOTE + "".join(sign_note("x\n", [WITNESS]).partition("\n\n")[2] for _ in range(15))
    assert verify_note(sixteen, [LOG.verifier])[1] == (LOG.verifier,)
    with pytest.raises(ProofRefused, match="1 to 64"):
        verify_note(NOTE + 64 * lines, [LOG.verifier])


def test_a_control_character_is_refused_also_where_nobody_signed_it() -> None:
    stranger = sign_note(CHECKPOINT.text(), [WITNESS]).partition("\n\n")[2]
    with pytest.raises(ProofRefused, match="control characters"):
        verify_note(NOTE + stranger.replace("witness", "witness\x00"), [LOG.verifier])
