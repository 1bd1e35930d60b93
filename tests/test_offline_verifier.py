"""The offline verifier, run where Trine cannot be imported: what is right is proven, and what is damaged is named."""

import ast
import hashlib
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import cryptography
import polars as pl
import pytest

from assets.evidence import verify as shipped
from assets.evidence.pack import write_pack
from assets.ledger.canonical import canonical, canonical_rows
from assets.ledger.merkle import consistency_path, inclusion_path, leaf_hashes, root_of, subtrees
from assets.ledger.note import Checkpoint, SignerKey, sign_note
from assets.ledger.proof import Consistency, Proof
from assets.ledger.tiles import write_bodies, write_hashes
from schemas.digest import digest_of, digested_text
from schemas.errors import BrokenInvariant, ProofRefused, RefusedInput

VERIFIER = Path(shipped.__file__)
LOG = SignerKey("trine.example/log", bytes(range(32)))
WITNESS = SignerKey("witness.example", bytes(range(1, 33)))
KEY = LOG.verifier.text()

FIRST = 600  # Where the cycle's records begin: in the third tile.
FRAME = pl.DataFrame(
    {"fill_id": ["b", "a", 'c"\n'], "atoms": [None, 2, -(10**30)], "raw": [b"\x00", b"", None]},
    schema={"fill_id": pl.String, "atoms": pl.Int128, "raw": pl.Binary},
)
POSTINGS = pl.DataFrame(
    {
        "posting_id": ["p1", "p2", "p3", "p4"],
        "batch_id": ["c1#1"] * 4,
        "instrument": ["BTC", "BTC", "USD", "USD"],
        "atoms": [10**20, -(10**20), -7, 7],
    },
    schema_overrides={"atoms": pl.Int128},
)
CYCLE = [
    *canonical_rows(POSTINGS.with_columns(table=pl.lit("postings"))),
    canonical({"table": "input_files", "file": "a", "records": 5, "accepted": 3, "quarantined": 1, "duplicates": 1}),
    canonical({"table": "frames", "name": "fills", "digest": digest_of(FRAME), "rows": 3}),
    canonical({"table": "frames", "name": "postings", "digest": digest_of(POSTINGS), "rows": 4}),
    canonical({"table": "batches", "batch_id": "c1#1", "note": "ok\x1b[2J\x7f€"}),
]
BODIES = [canonical({"n": n}) for n in range(FIRST)] + CYCLE
HASHES = leaf_hashes(BODIES)
SIZE = len(BODIES)


def signed(size: int, hashes: list[bytes] = HASHES) -> str:
    return sign_note(Checkpoint(LOG.name, size, root_of(hashes[:size])).text(), [LOG, WITNESS])


def growth(old: int) -> str:
    return Consistency(old, SIZE, tuple(consistency_path(subtrees(HASHES), old, SIZE))).text()


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    write_bodies(folder, 0, BODIES)
    write_hashes(folder, 0, HASHES)
    return folder


@pytest.fixture(scope="module")
def whole(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("packs") / "pack"
    write(target, tiles)
    return target


def write(target: Path, tiles: Path, **other: object) -> None:
    parts = {
        "entries": list(enumerate(CYCLE, FIRST)),
        "tiles_folder": tiles,
        "checkpoint_note": signed(SIZE),
        "keys": [LOG.verifier, WITNESS.verifier],
        "frames": {"fills": FRAME, "postings": POSTINGS},
        "consistency": growth(600),
    }
    write_pack(target, **(parts | other))  # type: ignore[arg-type]


@pytest.fixture
def pack(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "pack"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the verifier, and beside it `cryptography` and what that needs, out of all that is installed."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copy(VERIFIER, folder / "verify.py")
    (folder / "lib").mkdir()
    installed = Path(cryptography.__file__).parents[1]
    for pattern in ("cryptography", "cffi", "_cffi_backend*", "pycparser"):
        for path in installed.glob(pattern):
            (folder / "lib" / path.name).symlink_to(path)
    return folder


def python(alone: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path.append({str(alone / 'lib')!r}); {code}"
    command = [sys.executable, "-I", "-S", "-B", "-c", start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=alone, check=False)


def run(alone: Path, *arguments: object) -> tuple[int, str]:
    code = "import runpy; runpy.run_path('verify.py', run_name='__main__')"
    done = python(alone, code, *arguments)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def verify() -> ModuleType:
    """The same file as a module of its own, for the many small damages."""
    spec = importlib.util.spec_from_file_location("offline_verifier", VERIFIER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def proof(index: int) -> str:
    return Proof(index, tuple(inclusion_path(subtrees(HASHES), index, SIZE)), signed(SIZE), BODIES[index]).text()


def test_the_verifier_needs_the_standard_library_and_cryptography_alone(alone: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(VERIFIER.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}
    assert python(alone, "import cryptography").returncode == 0
    for name in ("assets", "schemas", "polars"):
        assert "ModuleNotFoundError" in python(alone, f"import {name}").stderr


def test_a_proof_is_checked_by_anyone(alone: Path, tmp_path: Path) -> None:
    (tmp_path / "p.tlog-proof").write_text(proof(FIRST))
    code, said = run(alone, tmp_path / "p.tlog-proof", "--key", KEY)
    assert (code, said.splitlines()[-1]) == (0, "PROVEN.")
    assert '"atoms": "100000000000000000000"' in said
    assert f"{SIZE} entries, root {root_of(HASHES).hex()}" in said
    assert 'Signed by: "trine.example/log".' in said
    assert f"entry {FIRST}" in said


def test_a_text_in_a_record_cannot_move_the_readers_cursor(alone: Path, tmp_path: Path) -> None:
    (tmp_path / "p.tlog-proof").write_text(proof(SIZE - 1))
    code, said = run(alone, tmp_path / "p.tlog-proof", "--key", KEY)
    assert code == 0
    assert "\x1b" not in said
    assert "\x7f" not in said
    assert '"ok\\u001b[2J\\u007f\\u20ac"' in said


def test_a_proof_is_not_checked_by_a_key_of_its_own(alone: Path, tmp_path: Path) -> None:
    (tmp_path / "p.tlog-proof").write_text(proof(3))
    code, said = run(alone, tmp_path / "p.tlog-proof")
    assert (code, said) == (1, "REFUSED. proof: a proof is checked with --key alone: name the key that you trust.\n")
    code, said = run(alone, tmp_path / "p.tlog-proof", "--key", SignerKey(LOG.name, bytes(32)).verifier.text())
    assert (code, said) == (1, "REFUSED. checkpoint: no known key signed it.\n")
    assert run(alone, tmp_path / "none.tlog-proof", "--key", KEY)[0] == 1


def test_every_proof_of_a_small_log_is_checked(verify: ModuleType) -> None:
    for size in range(1, 20):
        note = signed(size)
        for index in range(size):
            path = tuple(inclusion_path(subtrees(HASHES), index, size))
            assert verify.check_proof(Proof(index, path, note, BODIES[index]).text().encode(), [KEY])
            with pytest.raises(verify.Refused):
                verify.check_proof(Proof((index + 1) % 20, path, note, BODIES[index]).text().encode(), [KEY])
            with pytest.raises(verify.Refused):
                verify.check_proof(Proof(index, (*path, HASHES[0]), note, BODIES[index]).text().encode(), [KEY])


def test_a_proof_with_any_character_changed_is_refused_or_loses_the_witness(verify: ModuleType) -> None:
    data = proof(FIRST + 2).encode()
    end = data.index("— witness".encode())
    for at, byte in enumerate(data):
        for other in {byte ^ 1, byte ^ 0x20, 0x0A} - {byte}:
            wrong = data[:at] + bytes([other]) + data[at + 1 :]
            try:
                said = verify.check_proof(wrong, [KEY, WITNESS.verifier.text()])
            except verify.Refused:
                continue
            assert at >= end
            assert 'Signed by: "trine.example/log".' in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\n\n— trine", "\nx\n— trine", "a gap and signatures"),
        ("\n\n— trine", "\nx\n\n— trine", "a gap and signatures"),
        ("— witness.example", "— witness\x00example", "control characters"),
        ("— witness.example", "- witness.example", "not in its form"),
        ("\n608\n", "\n0608\n", "is bad"),
    ],
)
def test_a_note_in_another_form_is_refused(verify: ModuleType, old: str, new: str, said: str) -> None:
    note = signed(SIZE)
    assert verify.open_checkpoint(note.encode(), [KEY], "note")[1] == SIZE
    assert old in note
    with pytest.raises(verify.Refused, match=said):
        verify.open_checkpoint(note.replace(old, new).encode(), [KEY], "note")


def test_a_pack_is_checked_by_anyone(alone: Path, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "old").write_text(signed(601))
    code, said = run(alone, pack, "--key", KEY, "--old", tmp_path / "old")
    assert (code, said.splitlines()[-1]) == (0, "PROVEN.")
    for line in (
        f"{SIZE} entries, root {root_of(HASHES).hex()}",
        f"Records: {len(CYCLE)}, each in the log at its place.",
        "Frames: 2, each with the digest that was logged.",
        "Postings: 4, and those of each instrument sum to zero.",
        "Input files: 1,",
        f"the proof from 600 to {SIZE} entries holds; the earlier root is {root_of(HASHES[:600]).hex()}",
        "the first 601 entries are the same",
    ):
        assert line in said
    assert "TAKEN FROM THE PACK" not in said


def test_a_pack_without_a_key_from_elsewhere_says_so(alone: Path, pack: Path) -> None:
    code, said = run(alone, pack)
    assert code == 0
    assert said.startswith("THE KEY WAS TAKEN FROM THE PACK ITSELF. Compare it")
    assert KEY in said


def test_a_file_beside_is_named_as_not_bound_and_an_absent_frame_as_absent(
    verify: ModuleType, pack: Path, tiles: Path
) -> None:
    (pack / "README.md").write_text("Read me.")
    (pack / "frames/fills.csv").unlink()
    repair(pack)
    said = verify.check_pack(pack, [KEY])
    assert "Not bound to the log, only to the manifest: README.md." in said
    assert 'Logged, but not in this pack: "frames/fills.csv".' in said


def repair(pack: Path) -> None:
    """Make the manifest right again, as one would who changes a pack on purpose."""
    names = [path for path in pack.rglob("*") if path.is_file() and path.name != "manifest.json"]
    digests = {path.relative_to(pack).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in names}
    (pack / "manifest.json").write_text(json.dumps({"files": digests}, indent=1, sort_keys=True) + "\n")


def change(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(pack: Path) -> None:
        data = (pack / name).read_bytes()
        assert old.encode() in data
        (pack / name).write_bytes(data.replace(old.encode(), new.encode(), 1))

    return damage


def flip(name: str, at: int) -> Callable[[Path], None]:
    def damage(pack: Path) -> None:
        data = bytearray((pack / name).read_bytes())
        data[at] ^= 1
        (pack / name).write_bytes(data)

    return damage


def both(name: str, other: str) -> Callable[[Path], None]:
    """Put the bytes of one file in the place of another."""
    return lambda pack: (pack / name).write_bytes((pack / other).read_bytes()) and None


def other_log(size: int) -> str:
    return signed(size, leaf_hashes(b"x%d" % n for n in range(size)))


PARTIAL = f"tile/0/002.p/{SIZE - 512}"
# What one would do who knows the format, mends the manifest, and hopes.
ON_PURPOSE: list[tuple[str, Callable[[Path], None], str]] = [
    ("a record's amount", change("entries.jsonl", '-7\\"', '-8\\"'), "line 3: this is not what the log holds as entry 602"),
    ("a record's place", change("entries.jsonl", '"index": 600', '"index": 599'), "line 1: this is not what the log holds"),
    ("a place that is not there", change("entries.jsonl", '"index": 607', '"index": 699'), "line 8: entry 699 is out of order"),
    ("a field of an entry", change("entries.jsonl", '"body"', '"boby"'), "line 1: index and body were expected"),
    ("an entry that is no JSON", change("entries.jsonl", "{", "["), "line 1: not JSON"),
    ("a frame's cell", change("frames/fills.csv", '"2"', '"3"'), "frames/fills.csv: its digest is not the one that was logged"),
    ("a frame's column", change("frames/fills.csv", "fill_id", "fill_ib"), "frames/fills.csv: its digest"),
    ("a frame under another name", both("frames/fills.csv", "frames/postings.csv"), "frames/fills.csv: its digest"),
    ("a frame cut at another place", change("frames/fills.csv", "]\n", "\n]"), "frames/fills.csv: not JSON"),
    ("a frame that was not logged", both("frames/new.csv", "frames/fills.csv"), "frames/new.csv: its digest"),
    ("a leaf's hash", flip("tile/0/000", 40), "tile/1/000.p/2: its hash 0 is not that of the tile below"),
    ("a leaf's hash at the edge", flip(PARTIAL, 0), "tile/0: the hashes of the log do not lead to the signed root"),
    ("an inner hash", flip("tile/1/000.p/2", 33), "tile/1/000.p/2: its hash 1 is not"),
    ("a tile that is too long", change(PARTIAL, "", "x" * 32), f"{PARTIAL}: 96 hashes of 32 bytes were expected"),
    ("a missing tile", lambda pack: (pack / "tile/0/001").unlink(), "tile/0/001: it is missing"),
    ("a tile too many", both("tile/0/003", "tile/0/000"), "tile/0/003: a log of 608 entries has no such tile"),
    ("the size", change("checkpoint", "\n608\n", "\n607\n"), "checkpoint: the signature of 'trine.example/log' is bad"),
    ("another log's checkpoint", lambda pack: (pack / "checkpoint").write_text(other_log(SIZE)) and None, "tile/0: the hashes"),
    ("an older checkpoint", lambda pack: (pack / "checkpoint").write_text(signed(600)) and None, "002.p/88: it is missing"),
    ("no checkpoint", lambda pack: (pack / "checkpoint").unlink(), "checkpoint: it is missing"),
    ("no records", lambda pack: (pack / "entries.jsonl").unlink(), "entries.jsonl: it is missing"),
    ("the proof of growth", flip("consistency", 60), "consistency"),
    ("growth from elsewhere", change("consistency", "old 600", "old 599"), "consistency: "),
    ("growth to elsewhere", change("consistency", "new 608", "new 609"), "consistency: it is from 600 to 609 entries"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), [pytest.param(*rest, id=name) for name, *rest in ON_PURPOSE])
def test_damage_on_purpose_is_refused_and_named(
    verify: ModuleType, pack: Path, damage: Callable[[Path], None], said: str
) -> None:
    verify.check_pack(pack, [KEY])
    damage(pack)
    with pytest.raises(verify.Refused, match=r"(of|in) the manifest|missing"):
        verify.check_pack(pack, [KEY])
    repair(pack)
    with pytest.raises(verify.Refused) as refused:
        verify.check_pack(pack, [KEY])
    assert said in str(refused.value)


def test_the_command_refuses_with_one_line_and_an_exit_code(alone: Path, pack: Path) -> None:
    change("frames/fills.csv", '"2"', '"3"')(pack)
    assert run(alone, pack, "--key", KEY) == (1, "REFUSED. frames/fills.csv: it is not the file of the manifest.\n")
    repair(pack)
    found = run(alone, pack, "--key", KEY)
    assert found == (1, "REFUSED. frames/fills.csv: its digest is not the one that was logged.\n")


def test_an_earlier_checkpoint_shows_a_rewritten_log(verify: ModuleType, pack: Path) -> None:
    for size in (1, 512, 600, SIZE):
        assert verify.check_pack(pack, [KEY], signed(size).encode())
    for old, said in (
        (other_log(500), "its first 500 entries are others now"),
        (signed(SIZE).replace("608", "607"), "signature"),
        (sign_note(Checkpoint("other", 5, HASHES[0]).text(), [SignerKey("other", bytes(32))]), "no known key"),
        (signed(SIZE + 1, [*HASHES, HASHES[0]]), "609 entries, and the pack's log has 608"),
        (signed(0), "earlier checkpoint: 0 entries"),
    ):
        with pytest.raises(verify.Refused, match=said):
            verify.check_pack(pack, [KEY], old.encode())


def test_every_small_proof_of_growth_is_checked(verify: ModuleType) -> None:
    for new in range(1, 20):
        root = root_of(HASHES[:new])
        for old in range(1, new + 1):
            path = consistency_path(subtrees(HASHES), old, new)
            verify.check_consistency(Consistency(old, new, tuple(path)).text(), HASHES[:new], root)
            for wrong in ([*path, root], path[1:] if path else [root], [root, *path[1:]] if path else [root]):
                with pytest.raises(verify.Refused, match="consistency"):
                    verify.check_consistency(Consistency(old, new, tuple(wrong)).text(), HASHES[:new], root)


def remade(tmp_path: Path, cycle: list[bytes], frames: dict[str, pl.DataFrame]) -> Path:
    """A pack that is signed by the log itself, over records that do not agree with each other."""
    hashes = leaf_hashes(cycle)
    write_hashes(tmp_path / "log", 0, hashes)
    note = signed(len(cycle), hashes)
    write(
        tmp_path / "pack", tmp_path / "log", entries=list(enumerate(cycle)), checkpoint_note=note, frames=frames,
        consistency=None,
    )  # fmt: skip
    return tmp_path / "pack"


UNBALANCED = POSTINGS.with_columns(atoms=pl.col("atoms") + 1)


@pytest.mark.parametrize(
    ("cycle", "frames", "said"),
    [
        (canonical_rows(UNBALANCED.with_columns(table=pl.lit("postings"))), {}, "'BTC' in 'c1#1' do not sum to zero"),
        ([canonical({"table": "postings", "atoms": 7})], {}, "without a whole number"),
        (
            [canonical({"table": "frames", "name": "postings", "digest": digest_of(UNBALANCED), "rows": 4})],
            {"postings": UNBALANCED},
            "frames/postings.csv: the postings of 'BTC'",
        ),
        (
            [canonical({"table": "frames", "name": "fills", "digest": digest_of(FRAME), "rows": 2})],
            {"fills": FRAME},
            "frames/fills.csv: the log says another number of rows",
        ),
        ([CYCLE[4].replace(b'"accepted":3', b'"accepted":4')], {}, "input file 'a': the rows do not add up"),
        ([CYCLE[4].replace(b'"accepted":3', b'"accepted":-3')], {}, "input file 'a': the rows do not add up"),
        ([b'{"b":1,"a":2}'], {}, "not in its canonical form"),
        ([b'{"a":1,"a":2}'], {}, "a name is there twice"),
        ([b'{"a":1.5}'], {}, "flat object of texts and integers"),
        ([b'{"a":null}'], {}, "flat object of texts and integers"),
        ([b'["a"]'], {}, "flat object of texts and integers"),
    ],
)
def test_records_that_the_log_signed_but_that_do_not_agree_are_refused(
    verify: ModuleType, tmp_path: Path, cycle: list[bytes], frames: dict[str, pl.DataFrame], said: str
) -> None:
    with pytest.raises(verify.Refused) as refused:
        verify.check_pack(remade(tmp_path, cycle, frames), [KEY])
    assert said in str(refused.value)


def named(name: str) -> Callable[[Path], None]:
    """Give a name to the manifest that leads out of the pack."""

    def damage(pack: Path) -> None:
        manifest = json.loads((pack / "manifest.json").read_text())
        manifest["files"][name] = hashlib.sha256(b"").hexdigest()
        (pack / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")

    return damage


def linked(name: str, folder: bool = False) -> Callable[[Path], None]:
    """Put a link in the place of a file or a folder: to the very same contents, elsewhere."""

    def damage(pack: Path) -> None:
        (pack / name).rename(pack.parent / "elsewhere")
        (pack / name).symlink_to(pack.parent / "elsewhere", target_is_directory=folder)

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (named("../outside"), "no file's name"),
        (named("/etc/passwd"), "no file's name"),
        (named("frames/../checkpoint"), "no file's name"),
        (named("frames//fills.csv"), "no file's name"),
        (named("frames\\fills.csv"), "no file's name"),
        (named("./checkpoint"), "no file's name"),
        (named("manifest.json"), "no file's name"),
        (named(""), "no file's name"),
        (named("not_there"), "not_there: the manifest names this file, and it is missing"),
        (linked("checkpoint"), "'checkpoint': it is a link"),
        (linked("frames", folder=True), "'frames': it is a link"),
        (linked("manifest.json"), "'manifest.json': it is a link"),
        (lambda pack: os.mkfifo(pack / "pipe"), "'pipe': it is a link or a device"),
        (lambda pack: (pack / "extra").write_text("x") and None, "'extra': this file is not in the manifest"),
        (lambda pack: (pack / "frames/fills.csv").unlink(), "frames/fills.csv: the manifest names this file"),
        (lambda pack: (pack / "manifest.json").unlink(), "manifest.json: it is missing"),
        (lambda pack: (pack / "manifest.json").write_text("[]") and None, "manifest.json: it names no files"),
        (lambda pack: (pack / "manifest.json").write_text("9" * 5000) and None, "manifest.json: not JSON"),
        (lambda pack: (pack / "manifest.json").write_text("[" * 10**5) and None, "manifest.json: not JSON"),
    ],
)
def test_a_pack_that_leads_elsewhere_or_is_not_whole_is_refused(
    verify: ModuleType, pack: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(pack)
    with pytest.raises(verify.Refused) as refused:
        verify.check_pack(pack, [KEY])
    assert said in str(refused.value)


def places(pack: Path) -> Iterator[tuple[Path, int]]:
    """Places in every file: all of a short one, and sixty of a long one."""
    chosen = random.Random(7)
    for path in sorted(path for path in pack.rglob("*") if path.is_file()):
        length = path.stat().st_size
        yield from ((path, at) for at in (range(length) if length < 100 else chosen.sample(range(length), 60)))


def test_a_changed_character_anywhere_in_a_pack_is_refused(verify: ModuleType, pack: Path) -> None:
    for path, at in places(pack):
        data = path.read_bytes()
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(verify.Refused):
            verify.check_pack(pack, [KEY])
        path.write_bytes(data)
    verify.check_pack(pack, [KEY])


def test_a_pack_is_written_once(tiles: Path, pack: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in pack.rglob("*"))
    write(pack, tiles)
    assert sorted((path, path.stat().st_mtime_ns) for path in pack.rglob("*")) == before
    with pytest.raises(RefusedInput, match="holds something else"):
        write(pack, tiles, consistency=None)
    assert [path.name for path in pack.parent.iterdir()] == ["pack"]


def test_a_pack_that_could_not_be_checked_is_not_written(tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(ProofRefused):
        write(tmp_path / "pack", tiles, keys=[SignerKey("other", bytes(32)).verifier])
    with pytest.raises(BrokenInvariant, match="cannot be the name"):
        write(tmp_path / "pack", tiles, frames={"../fills": FRAME})
    assert list(tmp_path.iterdir()) == []


def test_a_frames_file_holds_what_its_digest_is_taken_over(pack: Path) -> None:
    columns, rows = digested_text(FRAME)
    assert (pack / "frames/fills.csv").read_bytes() == f"{columns}\n{rows}".encode()
    assert hashlib.sha256((columns + rows).encode()).hexdigest() == digest_of(FRAME)
