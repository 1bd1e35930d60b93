"""Where a deployment keeps its things, as one Dagster resource."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.durable import make_folder, sync, write_file
from assets.frames import FrameStore
from assets.intake import SourceFile
from assets.ledger.log import Log
from assets.ledger.note import SignerKey, VerifierKey
from assets.ledger.store import Store
from schemas.cycle import Policy
from schemas.digest import digest_of_record
from schemas.errors import RefusedInput
from schemas.fill import Fill
from schemas.printing import printable

STAGES = {"venues": "fills", "custody": "custody", "credit": "credit", "clients": "clients", "reference": "reference"}


class Home(dg.ConfigurableResource):
    """`inbox` holds one input folder per cycle, named for it; `folder` holds what Trine writes."""

    folder: str
    inbox: str
    records_url: str = ""
    input_folder: str = ""  # The one folder to settle, whatever it is called, in place of the inbox's.
    second_place: str = ""  # Where copies of signed checkpoints go: another disk, a bucket, another person.
    signs: bool = True  # False where another role signs the log, with `trine sign`.
    late_fills: str = ""  # Digest of a frame of reports that came after the cycle. Only a replay has one.

    def store(self) -> Store:
        """Return the records, migrated to today's tables."""
        return Store(self.url()).prepare()

    def url(self) -> str:
        """Return where the records are: SQLite in the home folder unless another URL is given."""
        return self.records_url or f"sqlite:///{Path(self.folder).absolute() / 'records.sqlite'}"

    def frames(self) -> FrameStore:
        """Return the frame store."""
        return FrameStore(Path(self.folder) / "frames")

    def log(self) -> Log:
        """Return the log of the records."""
        return Log(self.store(), self.frames(), Path(self.folder) / "log")

    def copies(self) -> Path:
        """Return the second place of checkpoints: in the home unless another is given."""
        return Path(self.second_place) if self.second_place else Path(self.folder) / "checkpoints"

    def signer(self) -> SignerKey:
        """Return the key that signs the log: TRINE_SIGNING_KEY, else TRINE_SIGNING_KEY_FILE, else one made on first use."""
        given = os.environ.get("TRINE_SIGNING_KEY")
        if given:
            return SignerKey.parse(given.strip())
        path = self.key_file()
        if not path.exists():
            if "TRINE_SIGNING_KEY_FILE" in os.environ:
                raise RefusedInput(
                    f"there is no signing key at {path}. Make one with `trine key --new`. Nothing was signed."
                )
            with contextlib.suppress(FileExistsError):  # Another process was faster, and its key is the one.
                self.new_key()
        return SignerKey.parse(path.read_text().strip())

    def new_key(self) -> VerifierKey:
        """Make the signing key. FileExistsError when there is one: a log goes on with its key, or hands over to another."""
        key = SignerKey.generate(os.environ.get("TRINE_LOG_NAME") or "trine.example/log")
        keep_key(self.key_file(), key)
        return key.verifier

    def key_file(self) -> Path:
        """Return where the signing key is kept."""
        return Path(os.environ.get("TRINE_SIGNING_KEY_FILE") or Path(self.folder) / "keys" / "log.key")

    def rotate_key(self) -> VerifierKey:
        """Hand the log over to a new key and return its public half. The old one stays, as `<file>.<key id>`.

        Called again after a crash, it goes on with the same new key. RefusedInput where the key is not in a file.
        """
        if os.environ.get("TRINE_SIGNING_KEY"):
            raise RefusedInput(
                "the signing key is in TRINE_SIGNING_KEY, where no other can be put. Give a file, TRINE_SIGNING_KEY_FILE. "
                "Nothing was changed."
            )
        path, old, store = self.key_file(), self.signer(), self.store()
        coming, kept = path.with_name(f"{path.name}.new"), path.with_name(f"{path.name}.{old.verifier.key_id.hex()}")
        if not coming.exists():
            keep_key(coming, SignerKey.generate(old.name))
        new = SignerKey.parse(coming.read_text().strip())
        self.log().rotate(old, new, self.copies(), store.now())
        if not kept.exists():
            kept.hardlink_to(path)
        coming.replace(path)
        sync(path.parent)
        return new.verifier

    def publish(self) -> None:
        """Sign the log and write its files, unless another role does."""
        if self.signs:
            store = self.store()
            self.log().publish([self.signer()], self.copies(), store.now())

    def outbox(self) -> Path:
        """Return where instructions are written for the custodians."""
        return Path(self.folder) / "outbox"

    def docs(self) -> Path:
        """Return where the quality reports are written."""
        return Path(self.folder) / "quality"

    def frozen(self, manifest_digest: str) -> Path:
        """Return where the inputs of that digest are kept."""
        return Path(self.folder) / "inputs" / manifest_digest

    def freeze(self, cycle_id: str) -> tuple[list[SourceFile], Policy, str]:
        """Copy the cycle's input folder, and return its files, its policy, and the digest that names the copy.

        What settles is read from the copy, so a folder that changes meanwhile changes nothing.
        """
        source = Path(self.input_folder) if self.input_folder else Path(self.inbox) / cycle_id
        if not source.is_dir():
            raise RefusedInput(
                f"there is no input folder for {cycle_id}: expected {source}. Put the cycle's files there "
                "(docs/reference/inputs.md), or give another folder with --input. Nothing was written."
            )
        files, digest = manifest_of(source)
        policy = _policy(source / "cycle.toml", cycle_id)
        target = self.frozen(digest)
        if not target.exists():
            make_folder(target.parent)
            # A folder of its own: another process may be freezing the same inputs.
            with tempfile.TemporaryDirectory(prefix=f"{digest}.", suffix=".part", dir=target.parent) as folder:
                beside = Path(folder) / "inputs"
                beside.mkdir()
                for file in files:
                    (beside / file.name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file.path, beside / file.name)
                for path in (*beside.rglob("*"), beside):
                    sync(path)
                try:
                    beside.rename(target)
                except OSError:
                    if not target.is_dir():  # It is there when the other process was faster.
                        raise
        sync(target.parent)  # Also where another process put it there, and was stopped before that.
        kept = [SourceFile.of(file.stage, target / file.name, target) for file in files]
        if [file.sha256 for file in kept] != [file.sha256 for file in files]:
            shutil.rmtree(target)
            raise RefusedInput(f"{source} changed while it was read. Nothing was written. Run the cycle again.")
        return kept, policy, digest

    def earlier(self, before: str) -> list[dict[str, Any]]:
        """Return the settled batches of earlier cycles than the one that opens at `before`, oldest first."""
        return [batch for batch in self.store().settled() if batch["opens_at"] < before]

    def late(self) -> pl.DataFrame:
        """Return the reports (Fill) that came after the cycle and are settled with it: none, except in a replay."""
        return self.frames().read(self.late_fills) if self.late_fills else Fill.empty()

    def frame(self, batch_id: str, name: str) -> pl.DataFrame:
        """Return a frame of a stored batch. It has one, so the tables are there: no migration is asked for again."""
        return self.frames().read(Store(self.url()).frame_digests(batch_id)[name])


def manifest_of(folder: Path) -> tuple[list[SourceFile], str]:
    """Return the files of an input folder by name, and the digest of their names and contents."""
    files = [
        SourceFile.of(stage, path, folder)
        for below, stage in sorted(STAGES.items())
        for path in _regular_files(folder / below)
    ]
    files.sort(key=lambda file: file.name)
    return files, digest_of_record([[file.name, file.sha256] for file in files])


def inputs_digest(
    cycle_id: str, manifest_digest: str, policy: str, previous: dict[str, Any] | None, late_fills: str = ""
) -> str:
    """Return the digest of all that decides a cycle: its files, its rules, and the batch that it follows.

    `policy` is JSON, as recorded. Only a replay has `late_fills`, the digest of reports that came later.
    """
    decisive = {
        "cycle": cycle_id,
        "files": manifest_digest,
        "policy": json.loads(policy),
        "previous": [previous["batch_id"], previous["plan_digest"]] if previous else None,
    }
    return digest_of_record(decisive | ({"late_fills": late_fills} if late_fills else {}))


def keep_key(path: Path, key: SignerKey) -> None:
    """Write a secret key that only its owner can read. One that is there is never written over: FileExistsError."""

    def write(beside: Path) -> None:
        beside.touch(0o600)
        beside.write_text(key.text() + "\n")

    make_folder(path.parent, 0o700)
    write_file(path, write, over=False)


def trine_version() -> str:
    """Return the version of Trine that is installed."""
    return version("trine")


def lock_digest() -> str:
    """Return the digest of the lock file that says which libraries run here; '' where there is none."""
    lock = Path(__file__).resolve().parent.parent / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else ""


def _regular_files(folder: Path) -> list[Path]:
    """Return all files below a folder. RefusedInput for what would read as nothing: a pipe, a broken link, a named folder."""
    found = []
    for path in (
        sorted(folder.rglob("*")) if folder.is_dir() else [folder] if folder.is_symlink() or folder.exists() else []
    ):
        if path.is_file():
            found.append(path)
        elif not path.is_dir() or path.suffix:
            raise RefusedInput(
                f"{printable(str(path))} is not a regular file, and would read as nothing. Nothing was written. Put the file "
                "in its place or take it away, then run the cycle again."
            )
    return found


def _policy(path: Path, cycle_id: str) -> Policy:
    if not path.exists():
        return Policy()
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RefusedInput(f"cycle.toml is not TOML in UTF-8: {error}. Nothing was written.") from None
    if said.get("cycle", cycle_id) != cycle_id:
        raise RefusedInput(
            f"cycle.toml is for cycle {str(said['cycle'])[:80]!r}, and {cycle_id} was asked for. Nothing was written. "
            "Give the folder of the right cycle."
        )
    unknown = sorted(set(said) - {"cycle", "policy"})
    if unknown:
        raise RefusedInput(
            f"cycle.toml: '{printable(unknown[0])[:64]}' is unknown; expected cycle and the table [policy]. Nothing was written."
        )
    policy = said.get("policy", {})
    if not isinstance(policy, dict):
        raise RefusedInput("cycle.toml: 'policy' must be a table, [policy]. Nothing was written.")
    return Policy.of(policy)
