"""The offline verifier: check a proof or an evidence pack without Trine, without its database, without a network.

    python verify.py RECORD.tlog-proof --key KEY
    python verify.py PACK_FOLDER [--key KEY] [--old EARLIER_CHECKPOINT]

It needs this one file, Python 3.11 and the package `cryptography`. It shares no code with the program that wrote what
it checks, and was written from the definitions in RFC 6962 rather than for speed. It prints what was proven and exits
with 0, or it says what is wrong and where and exits with 1. Nothing is proven beyond what it prints.
"""

import argparse
import base64
import csv
import hashlib
import io
import json
import os
import re
import stat
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FILE_BYTES_MAX = 2**31 - 1
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
ATOMS = re.compile(r"-?[1-9][0-9]{0,99}|0")


class Refused(Exception):
    """What is wrong, and where."""


def require(truth: object, where: str, what: str) -> None:
    if not truth:
        raise Refused(f"{where}: {what}")


# Texts of one form


def unbase64(text: str, where: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused(f"{where}: not base64.") from None
    require(base64.b64encode(data).decode() == text, where, "base64 in a form of its own.")
    return data


def number_of(text: str, where: str) -> int:
    require(NUMBER.fullmatch(text), where, "a number without leading zeros was expected.")
    return int(text)


def text_of(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refused(f"{where}: not UTF-8.") from None


def json_of(text: str, where: str) -> Any:
    def no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        require(len(dict(pairs)) == len(pairs), where, "a name is there twice.")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=no_name_twice)
    except (ValueError, RecursionError):
        raise Refused(f"{where}: not JSON.") from None


def record_of(body: bytes, where: str) -> dict[str, Any]:
    """A record of the log: a flat object of texts and integers in its one form."""
    record = json_of(text_of(body, where), where)
    flat = isinstance(record, dict) and all(type(value) in (str, int) for value in record.values())
    require(flat, where, "a record is a flat object of texts and integers.")
    form = json.dumps(record, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    require(form.encode("utf-8", "surrogatepass") == body, where, "the record is not in its canonical form.")
    return record


# Signatures: C2SP signed-note and tlog-checkpoint


def key_of(line: str) -> tuple[str, bytes, bytes]:
    """A key as it is handed on, `<name>+<id>+<base64>`: its name, id and 32 bytes."""
    parts = line.split("+", 2)
    require(len(parts) == 3, "key", "<name>+<id>+<base64> was expected.")
    name, shown_id, encoded = parts
    data = unbase64(encoded, "key")
    require(len(data) == 33 and data[0] == 1, "key", "32 bytes for Ed25519 were expected.")
    key_id = hashlib.sha256(name.encode("utf-8", "surrogateescape") + b"\n" + data).digest()[:4]
    require(key_id.hex() == shown_id and name and not re.search(r"\s", name), "key", "its id does not belong to it.")
    return name, key_id, data[1:]


def open_checkpoint(data: bytes, keys: list[str], where: str) -> tuple[str, int, bytes, list[str]]:
    """The origin, size, root and signers of a checkpoint that the log itself signed."""
    note = text_of(data, where)
    lines = note.split("\n")
    require(not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", note), where, "it holds control characters.")
    require(len(lines) >= 6 and lines[3] == "" and lines[-1] == "", where, "origin, size, root, a gap and signatures.")
    text = "\n".join(lines[:3]) + "\n"
    known = {(name, key_id): public for name, key_id, public in map(key_of, keys)}
    signers = []
    for line in lines[4:-1]:
        words = line.split(" ")
        require(len(words) == 3 and words[0] == "\u2014" and words[1], where, "a signature is not in its form.")
        signature = unbase64(words[2], where)
        require(len(signature) > 4, where, "a signature is cut short.")
        public = known.get((words[1], signature[:4]))
        if public is not None:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], text.encode())
            except InvalidSignature:
                raise Refused(f"{where}: the signature of {words[1]!a} is bad.") from None
            signers.append(words[1])
    origin, size, root = lines[0], number_of(lines[1], where), unbase64(lines[2], where)
    require(signers, where, "no known key signed it.")
    require(origin in signers, where, f"the log {origin!a} itself did not sign it with a known key.")
    require(len(root) == 32, where, "a root has 32 bytes.")
    return origin, size, root, signers


# The tree, as RFC 6962 defines it


def leaf(body: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + body).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_over(hashes: list[bytes]) -> bytes:
    """Pair up neighbours until one is left; an odd one at the end moves up as it is."""
    while len(hashes) > 1:
        odd = hashes[-1:] if len(hashes) % 2 else []
        hashes = [node(*hashes[at : at + 2]) for at in range(0, len(hashes) - 1, 2)] + odd
    return hashes[0] if hashes else hashlib.sha256().digest()


def left_side(count: int) -> int:
    power = 1
    while 2 * power < count:
        power *= 2
    return power


def root_by_path(found: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that a path leads to: its last hash is the other side of the whole tree, the rest the path in this one."""
    require(0 <= index < size, "inclusion proof", f"there is no leaf {index} in {size}.")
    require(len(path) == 0 if size == 1 else len(path) > 0, "inclusion proof", "the path has a wrong length.")
    if size == 1:
        return found
    middle = left_side(size)
    if index < middle:
        return node(root_by_path(found, index, middle, path[:-1]), path[-1])
    return node(path[-1], root_by_path(found, index - middle, size - middle, path[:-1]))


def roots_by_growth(old: int, new: int, path: list[bytes], known: bytes | None) -> tuple[bytes, bytes]:
    """The old and new roots that a consistency path leads to; `known` is the old root while the old tree is whole."""
    if old == new:
        rest = [known, *path] if known is not None else path
        require(len(rest) == 1, "consistency", "the path has a wrong length.")
        return rest[0], rest[0]
    require(path, "consistency", "the path has a wrong length.")
    middle, top = left_side(new), path[-1]
    if old <= middle:
        before, after = roots_by_growth(old, middle, path[:-1], known)
        return before, node(after, top)
    before, after = roots_by_growth(old - middle, new - middle, path[:-1], None)
    return node(top, before), node(top, after)


# A proof: C2SP tlog-proof


def check_proof(data: bytes, keys: list[str]) -> list[str]:
    """Return what the file proves, as lines, or raise Refused."""
    head, _, note = data.partition(b"\n\n")
    lines = text_of(head, "proof").split("\n")
    require(lines[0] == "c2sp.org/tlog-proof@v1", "proof", "the first line is not c2sp.org/tlog-proof@v1.")
    require(len(lines) > 2 and lines[1].startswith("extra "), "proof", "the record is missing (extra).")
    require(lines[2].startswith("index "), "proof", "the record's place is missing (index).")
    body = unbase64(lines[1][len("extra ") :], "proof, extra")
    index = number_of(lines[2][len("index ") :], "proof, index")
    path = hashes_of(lines[3:], "proof")
    origin, size, root, signers = open_checkpoint(note, keys, "checkpoint")
    require(
        root_by_path(leaf(body), index, size, path) == root, "proof", "this record does not lead to the signed root."
    )
    record = record_of(body, "proof, extra")
    fields = [f"  {shown(name)}: {shown(value)}" for name, value in record.items()]
    return ["The log holds this record:", *fields, *about(origin, size, root, signers), f"Place: entry {index:,}."]


def hashes_of(lines: list[str], where: str) -> list[bytes]:
    path = [unbase64(line, where) for line in lines]
    require(len(path) < 64 and all(len(value) == 32 for value in path), where, "a hash of the path has not 32 bytes.")
    return path


def about(origin: str, size: int, root: bytes, signers: list[str]) -> list[str]:
    return [
        f"Log: {shown(origin)}, {size:,} entries, root {root.hex()}.",
        f"Signed by: {', '.join(shown(name) for name in signers)}.",
    ]


def shown(value: object) -> str:
    """A value as JSON in ASCII, so that no text can move a terminal's cursor."""
    return json.dumps(value).replace("\x7f", "\\u007f")


# A pack


class Pack:
    """A folder whose files are those of its manifest, each with its hash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        there = set(files_under(folder))
        require("manifest.json" in there, "manifest.json", "it is missing.")
        text = text_of((folder / "manifest.json").read_bytes(), "manifest.json")
        manifest = json_of(text, "manifest.json")
        files: Any = manifest.get("files") if isinstance(manifest, dict) else None
        require(isinstance(files, dict), "manifest.json", "it names no files.")
        form = json.dumps({"files": files}, indent=1, sort_keys=True) + "\n"
        require(form == text, "manifest.json", "it is not in its one form.")
        for name in files:
            require(NAME.fullmatch(name) and name != "manifest.json", "manifest.json", f"{name!a} is no file's name.")
        for name in sorted(set(files) - there):
            raise Refused(f"{name}: the manifest names this file, and it is missing.")
        for name in sorted(there - set(files) - {"manifest.json"}):
            raise Refused(f"{name!a}: this file is not in the manifest.")
        self.digests: dict[str, str] = files
        self.unread = set(files)

    def read(self, name: str) -> bytes:
        """The bytes of a file, once they are those of the manifest."""
        require(name in self.digests, name, "it is missing.")
        data = (self.folder / name).read_bytes()
        require(hashlib.sha256(data).hexdigest() == self.digests[name], name, "it is not the file of the manifest.")
        self.unread.discard(name)
        return data

    def under(self, folder: str) -> list[str]:
        return sorted(name for name in self.digests if name.startswith(f"{folder}/"))


def files_under(folder: Path) -> list[str]:
    """Every file below a folder. A link, a pipe or a device has no place in a pack: it could lead anywhere."""
    found = []
    for place, folders, names in os.walk(folder):
        for name in folders + names:
            path = Path(place) / name
            kind = path.lstat()
            shown_name = path.relative_to(folder).as_posix()
            if stat.S_ISREG(kind.st_mode):
                require(kind.st_size <= FILE_BYTES_MAX, ascii(shown_name), "the file is too large.")
                found.append(shown_name)
            else:
                require(stat.S_ISDIR(kind.st_mode), ascii(shown_name), "it is a link or a device, not a file.")
    return found


def check_pack(folder: Path, keys: list[str], old: bytes | None = None) -> list[str]:
    """Return what the pack proves, as lines, or raise Refused. Without keys it takes them from the pack, and says so."""
    pack = Pack(folder)
    own = text_of(pack.read("key"), "key").removesuffix("\n").split("\n")
    said = []
    if not keys:
        keys = own
        said = [
            "THE KEY WAS TAKEN FROM THE PACK ITSELF. Compare it with one that you got elsewhere, or nothing is proven:",
            *(f"  {line}" for line in own if key_of(line)),
        ]
    origin, size, root, signers = open_checkpoint(pack.read("checkpoint"), keys, "checkpoint")
    leaves = leaves_of(pack, size)
    require(root_over(leaves) == root, "tile/0", "the hashes of the log do not lead to the signed root.")
    records = records_of(pack, leaves)
    said += [*about(origin, size, root, signers), f"Records: {len(records):,}, each in the log at its place."]
    said += check_frames(pack, records)
    said += check_numbers(records)
    if "consistency" in pack.digests:
        said.append(check_consistency(text_of(pack.read("consistency"), "consistency"), leaves, root))
    if old is not None:
        old_origin, old_size, old_root, _ = open_checkpoint(old, keys, "earlier checkpoint")
        require(old_origin == origin, "earlier checkpoint", f"it is of another log, {old_origin!a}.")
        require(1 <= old_size <= size, "earlier checkpoint", f"{old_size:,} entries, and the pack's log has {size:,}.")
        same = root_over(leaves[:old_size]) == old_root
        require(same, "earlier checkpoint", f"the log was rewritten: its first {old_size:,} entries are others now.")
        said.append(f"Since the earlier checkpoint nothing was changed: the first {old_size:,} entries are the same.")
    for name in sorted(pack.unread):
        pack.read(name)
        said.append(f"Not bound to the log, only to the manifest: {name}.")
    return said


def leaves_of(pack: Pack, size: int) -> list[bytes]:
    """The leaf hashes of the whole log. Every tile is there that its size asks for, no other, and all levels agree."""
    names: set[str] = set()
    leaves: list[bytes] = []
    below: list[bytes] = []
    level, count = 0, size
    while count:
        hashes: list[bytes] = []
        for number in range((count + 255) // 256):
            width = min(256, count - 256 * number)
            name = f"tile/{level}/{tile_number(number)}" + ("" if width == 256 else f".p/{width}")
            names.add(name)
            data = pack.read(name)
            require(len(data) == 32 * width, name, f"{width} hashes of 32 bytes were expected.")
            hashes += [data[at : at + 32] for at in range(0, len(data), 32)]
            if level:
                first = 256 * number
                for at in range(first, first + width):
                    same = root_over(below[256 * at : 256 * at + 256]) == hashes[at]
                    require(same, name, f"its hash {at - first} is not that of the tile below.")
        leaves = leaves or hashes
        level, count, below = level + 1, count // 256, hashes
    for name in pack.under("tile"):
        require(name in names, name, f"a log of {size} entries has no such tile.")
    return leaves


def tile_number(number: int, last: bool = True) -> str:
    """Groups of three digits, all but the last after an x: 1234067 is x001/x234/067."""
    group = f"{'' if last else 'x'}{number % 1000:03d}"
    return group if number < 1000 else f"{tile_number(number // 1000, False)}/{group}"


def records_of(pack: Pack, leaves: list[bytes]) -> list[dict[str, Any]]:
    """The records of the pack, each of which is in the log at the place that it names."""
    text = text_of(pack.read("entries.jsonl"), "entries.jsonl")
    require(not text or text.endswith("\n"), "entries.jsonl", "the last line is cut short.")
    records, before = [], -1
    for count, line in enumerate(text.split("\n")[:-1], 1):
        where = f"entries.jsonl, line {count}"
        entry = json_of(line, where)
        require(isinstance(entry, dict) and set(entry) == {"index", "body"}, where, "index and body were expected.")
        index, body = entry["index"], entry["body"]
        require(type(index) is int and isinstance(body, str), where, "a number and a text were expected.")
        require(before < index < len(leaves), where, f"entry {index} is out of order or not in the log.")
        data = body.encode("utf-8", "surrogatepass")
        require(leaf(data) == leaves[index], where, f"this is not what the log holds as entry {index}.")
        records.append(record_of(data, where))
        before = index
    return records


def check_frames(pack: Pack, records: list[dict[str, Any]]) -> list[str]:
    """Each frame of the pack has the digest and the number of rows that were logged for its name."""
    logged: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        if record.get("table") == "frames":
            logged.setdefault(f"frames/{record.get('name')}.csv", []).append(record)
    frames = pack.under("frames")
    for name in frames:
        head, gap, rows = pack.read(name).partition(b"\n")
        columns = json_of(text_of(head, name), name)
        texts = isinstance(columns, list) and all(isinstance(column, str) for column in columns)
        require(
            gap and texts and json.dumps(columns).encode() == head, name, "the first line is not a list of columns."
        )
        digest = hashlib.sha256(head + rows).hexdigest()
        mine = [record for record in logged.get(name, []) if record.get("digest") == digest]
        require(mine, name, "its digest is not the one that was logged.")
        if columns:
            table = list(csv.reader(io.StringIO(text_of(rows, name), newline="")))
            require(all(len(row) == len(columns) for row in table), name, "a row has another number of columns.")
            require(
                all(r.get("rows", len(table)) == len(table) for r in mine), name, "the log says another number of rows."
            )
            if {"posting_id", "instrument", "atoms"} <= set(columns):
                check_balance([dict(zip(columns, row, strict=True)) for row in table], name)
    absent = sorted(set(logged) - set(frames))
    said = [f"Frames: {len(frames):,}, each with the digest that was logged."]
    return said + [f"Logged, but not in this pack: {shown(name)}." for name in absent]


def check_numbers(records: list[dict[str, Any]]) -> list[str]:
    """What the records say of each other adds up."""
    postings = [record for record in records if record.get("table") == "postings"]
    check_balance(postings, "entries.jsonl")
    files = [record for record in records if record.get("table") == "input_files"]
    for record in files:
        counts: list[Any] = [record.get(name) for name in ("records", "accepted", "quarantined", "duplicates")]
        right = all(type(count) is int and count >= 0 for count in counts) and counts[0] == sum(counts[1:])
        require(right, "entries.jsonl", f"input file {record.get('file')!a}: the rows do not add up.")
    return [
        f"Postings: {len(postings):,}, and those of each instrument sum to zero.",
        f"Input files: {len(files):,}, and in each rows = accepted + quarantined + duplicates.",
    ]


def check_balance(postings: list[dict[str, Any]], where: str) -> None:
    totals: Counter[tuple[Any, Any]] = Counter()
    for posting in postings:
        atoms: Any = posting.get("atoms")
        require(isinstance(atoms, str) and ATOMS.fullmatch(atoms), where, "a posting without a whole number of atoms.")
        totals[posting.get("batch_id"), posting.get("instrument")] += int(atoms)
    for (batch, instrument), total in totals.items():
        require(total == 0, where, f"the postings of {instrument!a} in {batch!a} do not sum to zero.")


def check_consistency(text: str, leaves: list[bytes], root: bytes) -> str:
    """The proof that the log grew from an earlier size to this one."""
    lines = text.split("\n")
    form = len(lines) > 3 and lines[0] == "trine consistency v1" and lines[-1] == ""
    require(form and lines[1][:4] == "old " and lines[2][:4] == "new ", "consistency", "it is not in its form.")
    old, new = number_of(lines[1][4:], "consistency"), number_of(lines[2][4:], "consistency")
    require(
        1 <= old <= new == len(leaves), "consistency", f"it is from {old} to {new} entries, the log has {len(leaves)}."
    )
    old_root = root_over(leaves[:old])
    found = roots_by_growth(old, new, hashes_of(lines[3:-1], "consistency"), old_root)
    require(found == (old_root, root), "consistency", "it does not lead to the two roots.")
    return f"Growth: the proof from {old:,} to {new:,} entries holds; the earlier root is {old_root.hex()}."


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a proof or an evidence pack of a settlement cycle.")
    parser.add_argument("what", type=Path, help="a .tlog-proof file, or the folder of a pack")
    parser.add_argument("--key", action="append", default=[], help="a key that you trust, <name>+<id>+<base64>")
    parser.add_argument("--old", type=Path, help="an earlier checkpoint: show that the log has only grown since")
    asked = parser.parse_args()
    csv.field_size_limit(FILE_BYTES_MAX)
    try:
        if asked.what.is_dir():
            said = check_pack(asked.what, asked.key, asked.old.read_bytes() if asked.old else None)
        else:
            require(
                asked.key and not asked.old,
                "proof",
                "a proof is checked with --key alone: name the key that you trust.",
            )
            said = check_proof(asked.what.read_bytes(), asked.key)
    except Refused as refused:
        sys.stdout.write(f"REFUSED. {refused}\n")
        return 1
    except OSError as error:
        sys.stdout.write(f"REFUSED. {str(error.filename)!a}: {error.strerror}.\n")
        return 1
    sys.stdout.write("\n".join([*said, "PROVEN.", ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
