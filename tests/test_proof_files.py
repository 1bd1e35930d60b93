"""Proofs as files: what was written is read, and nothing else is."""

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest

from assets.ledger.canonical import canonical
from assets.ledger.merkle import consistency_path, inclusion_path, leaf_hashes, root_of, subtrees
from assets.ledger.note import Checkpoint, SignerKey, sign_note
from assets.ledger.proof import Consistency, Proof
from schemas.errors import ProofRefused

LOG = SignerKey("trine.example/log", bytes(range(32)))
BODIES = [canonical({"table": "postings", "posting_id": f"p{n}", "atoms": str(n)}) for n in range(13)]
HASHES = leaf_hashes(BODIES)


def checkpoint(size: int) -> Checkpoint:
    return Checkpoint(LOG.name, size, root_of(HASHES[:size]))


def proof(index: int, size: int) -> Proof:
    path = tuple(inclusion_path(subtrees(HASHES), index, size))
    return Proof(index, path, sign_note(checkpoint(size).text(), [LOG]), BODIES[index])


def test_every_record_of_a_log_is_proven_by_its_file() -> None:
    for size in range(1, 14):
        for index in range(size):
            read = Proof.parse(proof(index, size).text())
            assert read == proof(index, size)
            assert read.verify([LOG.verifier]) == (checkpoint(size), (LOG.verifier,))


def test_the_file_has_the_form_of_the_specification() -> None:
    lines = proof(5, 8).text().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1] == "extra " + base64.b64encode(BODIES[5]).decode()
    assert lines[2] == "index 5"
    assert [len(base64.b64decode(line)) for line in lines[3:6]] == [32, 32, 32]
    assert lines[6:9] == ["", LOG.name, "8"]
    assert base64.b64decode(lines[3]) == HASHES[4]


def test_a_proof_with_any_character_changed_is_refused() -> None:
    data = proof(5, 13).text().encode()
    for at, byte in enumerate(data):
        for other in {byte ^ 1, byte ^ 0x20, 0x0A, 0x3D} - {byte}:
            with pytest.raises((ProofRefused, UnicodeDecodeError)):
                Proof.parse((data[:at] + bytes([other]) + data[at + 1 :]).decode()).verify([LOG.verifier])


def test_another_record_place_or_path_is_refused() -> None:
    right = proof(5, 13)
    for wrong in (
        replace(right, extra=BODIES[4]),
        replace(right, index=4),
        replace(right, path=right.path[:-1]),
        replace(right, path=(*right.path, right.path[0])),
        replace(right, checkpoint=sign_note(checkpoint(12).text(), [LOG])),
        replace(right, checkpoint=sign_note(checkpoint(13).text(), [SignerKey("other", bytes(32))])),
    ):
        with pytest.raises(ProofRefused):
            wrong.verify([LOG.verifier])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.replace("@v1", "@v2"),
        lambda text: text.replace("index 5", "index 05"),
        lambda text: text.replace("index 5", "index  5"),
        lambda text: text.replace("index 5\n", ""),
        lambda text: text.replace("\n\n", "\n", 1),
        lambda text: text.replace("\n\n", "\r\n\r\n", 1),
        lambda text: text.replace("\n\n", "\nAAAA\n\n", 1),
        lambda text: text.replace("\nindex", "\nextra AAAA\nindex"),
        lambda text: text.replace("extra ", "extra AAAA"),
        lambda text: text.replace("\n\n", 64 * f"\n{base64.b64encode(HASHES[0]).decode()}" + "\n\n", 1),
        lambda text: text.replace("extra ", "extra " + 22_000 * "AAAA"),
    ],
)
def test_a_proof_in_another_form_is_refused(change: Callable[[str], str]) -> None:
    with pytest.raises(ProofRefused):
        Proof.parse(change(proof(5, 13).text())).verify([LOG.verifier])


def test_the_growth_of_a_log_is_proven_by_its_file() -> None:
    for new in range(1, 14):
        for old in range(1, new + 1):
            growth = Consistency(old, new, tuple(consistency_path(subtrees(HASHES), old, new)))
            assert Consistency.parse(growth.text()) == growth
            growth.verify(checkpoint(old), checkpoint(new))


def test_growth_between_other_checkpoints_is_refused() -> None:
    growth = Consistency(6, 13, tuple(consistency_path(subtrees(HASHES), 6, 13)))
    rewritten = replace(checkpoint(6), root=HASHES[0])
    for old, new in (
        (checkpoint(5), checkpoint(13)),
        (checkpoint(6), checkpoint(12)),
        (checkpoint(13), checkpoint(6)),
        (rewritten, checkpoint(13)),
        (replace(checkpoint(6), origin="other"), checkpoint(13)),
    ):
        with pytest.raises(ProofRefused):
            growth.verify(old, new)


def test_a_file_of_growth_with_any_character_changed_is_refused() -> None:
    data = Consistency(6, 13, tuple(consistency_path(subtrees(HASHES), 6, 13))).text().encode()
    for at, byte in enumerate(data):
        for other in {byte ^ 1, byte ^ 0x20, 0x0A, 0x3D} - {byte}:
            with pytest.raises((ProofRefused, UnicodeDecodeError)):
                Consistency.parse((data[:at] + bytes([other]) + data[at + 1 :]).decode()).verify(
                    checkpoint(6), checkpoint(13)
                )
    with pytest.raises(ProofRefused):
        Consistency.parse(data.decode().rstrip("\n"))
