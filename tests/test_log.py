"""The log: signed twice it is the same, killed anywhere it is finished, and its key is changed without losing trust."""

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from assets.evidence import verify as offline
from assets.frames import FrameStore
from assets.home import Home
from assets.ledger import log as log_module
from assets.ledger.audit import Difference, audit
from assets.ledger.canonical import canonical
from assets.ledger.database import keep, log_size
from assets.ledger.log import Leaf, Log
from assets.ledger.note import SignerKey, VerifierKey, verify_checkpoint
from assets.ledger.proof import Proof
from assets.ledger.store import Store
from schemas.errors import ProofRefused, RefusedInput, Tampered
from schemas.records import checkpoints, keys, log_entries
from tests.batches import CYCLE, NEXT, NOON, at_noon, life_of, live
from tests.deployment import Deployment
from tests.input_folders import FIVE_TRADES, WHOLE, reports, write_folder
from tests.input_folders import NEXT as LATER

KEY = SignerKey("trine.example/log", bytes(range(32)))
NEW = SignerKey("trine.example/log", bytes(range(1, 33)))
STRANGER = SignerKey("trine.example/log", bytes(range(2, 34)))
NOW = NOON.isoformat(timespec="seconds")


class Place:
    """A store whose batches have their frames on disk, its log, and the second place of its checkpoints."""

    def __init__(self, url: str, folder: Path) -> None:
        self.store, self.second_place = Store(url, clock=at_noon).prepare(), folder / "copies"
        self.log = Log(self.store, FrameStore(folder / "frames"), folder / "log")

    def settle(self, cycle_id: str = CYCLE) -> str:
        life = life_of(cycle_id)
        for frame in (life.planned.postings, life.settlements):
            self.log.frames.write(frame)
        return live(self.store, life).batch_id

    def publish(self, *signers: SignerKey, now: str = NOW) -> Any:
        return self.log.publish(signers or [KEY], self.second_place, now)

    def check(self, *trusted: VerifierKey) -> list[Difference]:
        """What the checker finds, without the input files, which a small batch does not have."""
        found = audit(
            self.store, self.log.frames, self.log.folder, self.second_place, self.log.folder.joinpath, trusted
        )
        return [one for one in found.differences if one.table != "inputs"]

    def everything(self) -> tuple[Any, ...]:
        with self.store.engine.connect() as connection:
            rows = [connection.execute(select(table)).all() for table in (log_entries, checkpoints, keys)]
        return *rows, files(self.log.folder), files(self.second_place)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(f"sqlite:///{tmp_path / 'records.sqlite'}", tmp_path)


def test_signing_twice_changes_nothing(place: Place) -> None:
    place.settle()
    first = place.publish()
    before = place.everything()
    assert place.publish(now="2027-01-01T00:00:00+00:00") == first
    assert place.everything() == before
    assert place.check() == []


@pytest.mark.parametrize("last", ["write_bodies", "write_hashes", "write_checkpoint", "write_once"])
def test_a_signer_that_is_killed_after_any_of_its_writes_is_finished_by_the_next(
    place: Place, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.settle()
    own = getattr(log_module, last)

    def killed(*given: Any) -> None:
        own(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(log_module, last, killed)
        with pytest.raises(KeyboardInterrupt):
            place.publish()
    # Later: a leaf that bore the time of the first attempt would no longer be that of the files.
    place.publish(now="2027-01-01T00:00:00+00:00")
    assert place.check() == []
    assert len(files(place.second_place)) == 1


def test_a_checkpoint_that_was_recorded_and_not_copied_is_told_and_then_copied(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.settle()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(log_module, "write_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            place.publish()
    assert {one.what for one in place.check()} == {
        "it has no copy in the second place", "it is not the newest note of the records",
    }  # fmt: skip
    place.publish()
    assert place.check() == []


def test_the_files_of_the_log_are_made_again_when_they_are_lost(place: Place) -> None:
    place.settle()
    place.publish()
    before = files(place.log.folder)
    shutil.rmtree(place.log.folder)
    assert place.check() != []
    place.publish()
    assert files(place.log.folder) == before
    assert place.check() == []


def test_leaves_that_are_not_signed_yet_are_counted(place: Place) -> None:
    place.settle()
    size = place.publish().size
    place.settle(NEXT)
    found = audit(place.store, place.log.frames, place.log.folder, place.second_place, place.log.folder.joinpath)
    assert found.signed == size < found.leaves
    with pytest.raises(RefusedInput, match="not under a signed checkpoint yet"):
        place.log.prove(size)


def test_a_log_that_was_cut_behind_its_signature_is_not_signed_again(place: Place) -> None:
    place.settle()
    size = place.publish().size
    with place.store.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM log_entries WHERE position >= {size - 5}")
    with pytest.raises(Tampered, match="it was cut"):
        place.publish()


def test_files_are_not_made_again_from_leaves_that_were_changed(place: Place) -> None:
    batch_id = place.settle()
    place.publish()
    changed = place.log.find(batch_id, "PX", "USD", source="positions")[0].position
    with place.store.engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE log_entries SET body = replace(body, 'PX', 'PY') WHERE position = {changed}"
        )
    assert {one.row for one in place.check() if one.table == "log_entries"} == {f"[{changed}]"}
    shutil.rmtree(place.log.folder)
    with pytest.raises(Tampered, match="no longer begins with"):
        place.publish()


def test_the_same_life_has_the_same_root_on_both_engines(tmp_path: Path, postgres_url: str) -> None:
    roots = []
    for name, url in (("a", f"sqlite:///{tmp_path / 'records.sqlite'}"), ("b", postgres_url)):
        place = Place(url, tmp_path / name)
        place.settle()
        place.publish()
        place.settle(NEXT)
        roots.append(place.publish())
        assert place.check() == []
    assert roots[0] == roots[1]


# Keys


def test_who_trusts_the_old_key_follows_to_the_new_one(place: Place) -> None:
    place.settle()
    place.publish()
    both = place.log.rotate(KEY, NEW, place.second_place, NOW)
    place.settle(NEXT)
    place.publish(NEW)
    assert place.check(KEY.verifier) == place.check() == []
    note = (place.second_place / f"{both.size:012d}.checkpoint").read_text()
    assert verify_checkpoint(note, [KEY.verifier, NEW.verifier])[1] == (KEY.verifier, NEW.verifier)
    with pytest.raises(ProofRefused, match="no known key signed it"):
        verify_checkpoint(place.log.newest()[0], [KEY.verifier])
    before = place.everything()
    place.log.rotate(KEY, NEW, place.second_place, "2027-01-01T00:00:00+00:00")
    assert place.everything() == before


def test_a_stranger_is_not_followed_even_when_the_log_names_it(place: Place) -> None:
    place.settle()
    place.publish()
    with place.store.engine.begin() as connection:
        introduced = {"key_id": f"{STRANGER.name}+{STRANGER.verifier.key_id.hex()}",
                      "verifier_key": STRANGER.verifier.text(), "recorded_at": NOW}  # fmt: skip
        keep(connection, keys, [introduced])
    with pytest.raises(Tampered, match="a key was added"):
        place.publish()
    place.publish(STRANGER)
    assert [one.table for one in place.check(KEY.verifier)] == ["checkpoints"]
    assert place.check() == []  # Who trusts whatever the log says is told nothing: hence --key.


@pytest.mark.parametrize("new", [KEY, SignerKey("other.example/log", bytes(range(3, 35)))])
def test_a_log_goes_on_under_its_own_name_with_another_key(place: Place, new: SignerKey) -> None:
    place.settle()
    with pytest.raises(RefusedInput, match="another key of the same name"):
        place.log.rotate(KEY, new, place.second_place, NOW)


def home_at(folder: Path) -> Home:
    place = Place(f"sqlite:///{folder / 'records.sqlite'}", folder)
    place.settle()
    home = Home(folder=str(folder), inbox="")
    home.publish()
    return home


def test_the_key_file_is_exchanged_and_the_old_key_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_at(tmp_path)
    old = home.signer()
    new = home.rotate_key()
    assert home.signer().verifier == new != old.verifier
    kept = tmp_path / "keys" / f"log.key.{old.verifier.key_id.hex()}"
    assert SignerKey.parse(kept.read_text().strip()) == old
    assert sorted(path.name for path in kept.parent.iterdir()) == ["log.key", kept.name]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept.parent.iterdir()} == {0o600}
    home.publish()
    found = audit(home.store(), home.frames(), home.log().folder, home.copies(), home.frozen, [old.verifier])
    assert [one.table for one in found.differences if one.table != "inputs"] == []
    monkeypatch.setenv("TRINE_SIGNING_KEY", old.text())
    with pytest.raises(RefusedInput, match="TRINE_SIGNING_KEY"):
        home.rotate_key()


@pytest.mark.parametrize("step", ["rotate", "hardlink_to", "replace"])
def test_a_change_of_keys_that_is_killed_goes_on_with_the_same_new_key(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_at(tmp_path)
    old, coming = home.signer(), tmp_path / "keys" / "log.key.new"

    def killed(*_: Any) -> None:
        if coming.exists():
            raise KeyboardInterrupt
        return own(*_)

    owner: Any = Log if step == "rotate" else Path
    own = getattr(owner, step)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(KeyboardInterrupt):
            home.rotate_key()
    new = SignerKey.parse(coming.read_text().strip())
    assert home.signer() == old
    assert home.rotate_key() == new.verifier
    assert home.signer() == new
    assert len(home.log().keys()) == 2


# Proofs


def proven(folder: Path, leaf: Leaf, log: Log, key: VerifierKey) -> bool:
    """Whether the verifier, in a process of its own, proves a record."""
    path = folder / f"{leaf.position}.tlog-proof"
    path.write_text(log.prove(leaf.position).text())
    command = [sys.executable, str(offline.__file__), str(path), "--key", key.text()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.endswith("PROVEN.\n")


def test_a_record_is_found_by_what_people_call_it_and_proven(place: Place, tmp_path: Path) -> None:
    batch_id = place.settle()
    place.settle(NEXT)
    place.publish()
    posting = place.store.rows("postings", batch_id)["posting_id"][0]
    instruction = place.store.rows("instructions", batch_id)["instruction_id"][0]
    [found] = place.log.find(posting)
    assert json.loads(found.body)["posting_id"] == posting
    [instructed] = place.log.find(instruction, source="instructions")
    assert json.loads(instructed.body)["instruction_id"] == instruction
    positions = place.log.find("B", "USD", source="positions")
    assert [json.loads(leaf.body)["batch_id"] for leaf in positions] == [batch_id, f"{NEXT}#1"]
    assert place.log.find("nobody") == place.log.find("%") == place.log.find(posting[1:]) == []
    for leaf in (found, instructed, positions[1]):
        assert proven(tmp_path, leaf, place.log, KEY.verifier)
        assert not proven(tmp_path, leaf, place.log, STRANGER.verifier)


def test_the_parts_of_a_chain_that_settled_in_two_cycles_have_two_proofs(place: Place, tmp_path: Path) -> None:
    place.settle()
    place.settle(NEXT)
    place.publish()
    leaves = place.log.find_settlements("F1")
    assert [json.loads(leaf.body)["cycle_id"] for leaf in leaves] == [CYCLE, NEXT]
    assert all(proven(tmp_path, leaf, place.log, KEY.verifier) for leaf in leaves)
    changed = canonical({**json.loads(leaves[0].body), "cycle_id": NEXT})
    proof = Proof.parse(place.log.prove(leaves[0].position).text())
    with pytest.raises(ProofRefused):
        Proof(proof.index, proof.path, proof.checkpoint, changed).verify([KEY.verifier])


def test_every_leaf_of_a_batch_is_its_own(place: Place) -> None:
    mine, other = place.settle(), place.settle(NEXT)
    place.publish()
    with place.store.engine.connect() as connection:
        size = log_size(connection)
    leaves = [place.log.of_batch(batch_id) for batch_id in (mine, other)]
    positions = [leaf.position for found in leaves for leaf in found]
    assert len(positions) == len(set(positions)) == size - 1  # All but the key's.


# A pack of a batch that was really settled


@pytest.fixture(scope="module")
def two_cycles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Deployment, list[str]]:
    folder = tmp_path_factory.mktemp("packs")
    deployment, day = Deployment(folder / "home"), reports(FIVE_TRADES)
    first = write_folder(folder / "1", day, WHOLE)
    second = write_folder(folder / "2", [], "A USD 1\nB ETH 1\nC BTC 1", cycle_id=LATER)
    return deployment, [str(deployment.settle(source)["cycle_id"]) for source in (first, second)]


@pytest.fixture
def pack(two_cycles: tuple[Deployment, list[str]], tmp_path: Path) -> Path:
    deployment, cycles = two_cycles
    answer = deployment.trine("prove", cycles[0], "--out", tmp_path / "pack")
    assert answer.exit_code == 0, answer.err
    return tmp_path / "pack"


def judged(pack: Path) -> tuple[int, str]:
    key = (pack / "key").read_text().split("\n")[0]
    command = [sys.executable, str(pack / "verify.py"), str(pack), "--key", key]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_pack_of_a_settled_batch_is_proven_with_its_frames_and_the_growth_of_the_log(pack: Path) -> None:
    code, said = judged(pack)
    assert code == 0
    assert "Growth: the proof from" in said
    assert said.endswith("PROVEN.\n")
    assert (pack / "frames" / "settlements.csv").exists()


@pytest.mark.parametrize(
    "name", ["checkpoint", "entries.jsonl", "consistency", "frames/settlements.csv", "frames/postings.csv", "tile"]
)
def test_a_pack_in_which_one_byte_differs_is_refused(pack: Path, name: str) -> None:
    path = pack / name if name != "tile" else next(path for path in (pack / "tile").rglob("*") if path.is_file())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, said = judged(pack)
    assert code == 1
    assert said.startswith("REFUSED.")


def test_a_pack_without_one_of_its_records_is_refused(pack: Path) -> None:
    lines = (pack / "entries.jsonl").read_text().splitlines(keepends=True)
    (pack / "entries.jsonl").write_text("".join(lines[:-1]))
    assert judged(pack)[0] == 1
