"""The log as static files, by C2SP tlog-tiles: a folder that any web server, copy or tape can keep.

    checkpoint                    the signed note over the newest state; the only file that changes
    tile/<level>/<n>[.p/<w>]      256 hashes, of leaves at level 0, of full tiles of the level below above it
    tile/entries/<n>[.p/<w>]      256 bodies, each after its length in two bytes, big-endian

A tile at the right edge is partial: its name ends in `.p/` and how many it holds. All but the checkpoint never change,
and what is written twice must be the same: other bytes mean that the log was rewritten.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from assets.durable import keep_name, write_file
from assets.ledger.canonical import BODY_BYTES_MAX
from assets.ledger.merkle import HASH_BYTES, leaf_hash, leaf_hashes, root_of
from schemas.errors import BrokenInvariant

WIDTH = 256
HEIGHT = 8  # Levels of the tree in one tile: 2^8 is its width.
TILE_NAME = re.compile(r"tile/(entries|[0-9]+)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]+))?")


def tile_path(level: int | str, number: int, width: int = WIDTH) -> str:
    """Return where a tile lies: `tile/0/x001/x234/067`. `level` is a number or 'entries'."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    partial = f".p/{width}" if width < WIDTH else ""
    return f"tile/{level}/{'/'.join(groups)}{partial}"


def tile_widths(size: int) -> dict[tuple[int, int], int]:
    """Return how many hashes each tile holds in a log of `size` leaves, by level and number."""
    widths: dict[tuple[int, int], int] = {}
    level = 0
    while size:
        widths |= {(level, number): min(WIDTH, size - number * WIDTH) for number in range(-(-size // WIDTH))}
        size, level = size // WIDTH, level + 1
    return widths


def write_hashes(folder: Path, first_index: int, hashes: Sequence[bytes]) -> None:
    """Append leaf hashes to a log of `first_index` leaves, reading nothing but the tiles at its right edge.

    Writing the same again changes nothing. Raises BrokenInvariant when a tile is there already with other bytes, or
    when the edge is missing.
    """
    level = 0
    while hashes:
        first = first_index % WIDTH
        known = _read_tile(folder, level, first_index // WIDTH, first) if first else []
        nodes = [*known, *hashes]
        tiles = [nodes[at : at + WIDTH] for at in range(0, len(nodes), WIDTH)]
        for number, tile in enumerate(tiles, first_index // WIDTH):
            _write_tile(folder, tile_path(level, number, len(tile)), b"".join(tile))
        hashes = [root_of(tile) for tile in tiles if len(tile) == WIDTH]
        first_index, level = first_index // WIDTH, level + 1


def write_bodies(folder: Path, first_index: int, bodies: Sequence[bytes]) -> None:
    """Append bodies to the bundles of a log of `first_index` leaves. The same promise as `write_hashes`."""
    if any(len(body) > BODY_BYTES_MAX for body in bodies):
        raise BrokenInvariant(f"an entry of the log holds at most {BODY_BYTES_MAX:,} bytes.")
    first = first_index % WIDTH
    known = _read_bundle(folder, first_index // WIDTH, first) if first and bodies else []
    entries = [*known, *bodies]
    for at in range(0, len(entries), WIDTH):
        bundle = entries[at : at + WIDTH]
        parts = chain.from_iterable((len(body).to_bytes(2, "big"), body) for body in bundle)
        _write_tile(folder, tile_path("entries", (first_index + at) // WIDTH, len(bundle)), b"".join(parts))


def write_checkpoint(folder: Path, note: str) -> None:
    """Put the signed note in place. Write the tiles of its size first."""
    write_file(folder / "checkpoint", note.encode())


class TileReader:
    """A log of `size` leaves, read from its tiles. Makes a path from as many tiles as the tree has levels of them."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self._kept: dict[tuple[int, int], list[bytes]] = {}

    def subtree(self, level: int, index: int) -> bytes:
        """Return the hash over the complete subtree: what `assets.ledger.merkle` makes paths and roots from."""
        count = 1 << level % HEIGHT
        number, at = divmod(index * count, WIDTH)
        return root_of(self._tile(level // HEIGHT, number)[at : at + count])

    def body(self, index: int) -> bytes:
        """Return the body of one entry. Raises BrokenInvariant when it is not what its leaf was made of."""
        number, at = divmod(index, WIDTH)
        body = _read_bundle(self.folder, number, min(WIDTH, self.size - number * WIDTH))[at]
        if leaf_hash(body) != self.subtree(0, index):
            raise BrokenInvariant(f"{tile_path('entries', number)}: entry {index} is not the one that was logged.")
        return body

    def leaf_hashes(self) -> list[bytes]:
        """Return the hash of every leaf, read anew."""
        widths = [(number, width) for (level, number), width in tile_widths(self.size).items() if level == 0]
        return [value for number, width in widths for value in _read_tile(self.folder, 0, number, width)]

    def _tile(self, level: int, number: int) -> list[bytes]:
        if (level, number) not in self._kept:
            width = min(WIDTH, (self.size >> level * HEIGHT) - number * WIDTH)
            self._kept[level, number] = _read_tile(self.folder, level, number, width)
        return self._kept[level, number]


def wrong_tiles(folder: Path, hashes: Sequence[bytes], size: int) -> Iterator[tuple[str, int | None, str]]:
    """Yield what is wrong with the files of a log: each name, the index of the leaf that it is about, and what.

    `hashes` are those of all leaves, of which the first `size` must be there. Every file is read to its last byte, also
    bodies, upper levels, and partial tiles of earlier sizes: whoever holds an old checkpoint asks for those.
    """
    levels = [hashes]
    while len(below := levels[-1]) >= WIDTH:
        levels.append([root_of(below[at : at + WIDTH]) for at in range(0, len(below) - WIDTH + 1, WIDTH)])
    # What an interrupted write left beside its place is no part of the log.
    paths = [path for path in (folder / "tile").rglob("*") if path.is_file() and path.suffix != ".part"]
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    for name in names:
        yield from _wrong_tile(name, (folder / name).read_bytes(), levels)
    there = set(names)
    for (level, number), width in tile_widths(size).items():
        for kind in (level, "entries") if level == 0 else (level,):
            if not there & {tile_path(kind, number, width), tile_path(kind, number)}:
                yield tile_path(kind, number, width), None, "it is missing"


def _wrong_tile(name: str, data: bytes, levels: Sequence[Sequence[bytes]]) -> Iterator[tuple[str, int | None, str]]:
    parts = TILE_NAME.fullmatch(name)
    kind, number = (parts[1], int(re.sub(r"\D", "", parts[2]))) if parts else ("", 0)
    width = int(parts[3]) if parts and parts[3] else WIDTH
    if tile_path(kind, number, width) != name:
        yield name, None, "it is no file of a log"
        return
    level = 0 if kind == "entries" else int(kind)
    nodes = levels[level] if level < len(levels) else []
    wanted = nodes[number * WIDTH : number * WIDTH + width]
    if kind == "entries":
        bodies, end = _bodies(data, WIDTH)
        found = leaf_hashes(bodies)
    else:
        end = -(-len(data) // HASH_BYTES) * HASH_BYTES
        found = [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
    if end != len(data) or not len(found) == len(wanted) == width:
        yield name, None, "it does not hold as many as its name says, or more than the records"
    for index, (ours, theirs) in enumerate(zip(wanted, found, strict=False), number * WIDTH):
        if ours != theirs:
            yield name, index if level == 0 else None, "it is not what the records make"


def read_tile(folder: Path, level: int, number: int, width: int) -> bytes:
    """Return the first `width` hashes of a tile, joined."""
    data = _read(folder, tile_path(level, number, width), tile_path(level, number))[: width * HASH_BYTES]
    if len(data) != width * HASH_BYTES:
        raise BrokenInvariant(f"{tile_path(level, number, width)}: {width} hashes were expected. Restore the file.")
    return data


def _read_tile(folder: Path, level: int, number: int, width: int) -> list[bytes]:
    data = read_tile(folder, level, number, width)
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _read_bundle(folder: Path, number: int, width: int) -> list[bytes]:
    """Return the first `width` bodies of a bundle."""
    data = _read(folder, tile_path("entries", number, width), tile_path("entries", number))
    bodies, end = _bodies(data, width)
    if len(bodies) != width or end > len(data):
        raise BrokenInvariant(
            f"{tile_path('entries', number, width)}: {width} entries were expected. Restore the file."
        )
    return bodies


def _bodies(data: bytes, width: int) -> tuple[list[bytes], int]:
    """Return up to `width` bodies of a bundle, and where the last one ends, or should."""
    at, bodies = 0, list[bytes]()
    while at < len(data) and len(bodies) < width:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        bodies.append(data[start:at])
    return bodies, at


def _read(folder: Path, partial: str, full: str) -> bytes:
    """Return a tile's bytes: a partial tile may have been removed once the full one was there, which begins alike."""
    for name in (partial, full):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise BrokenInvariant(f"{partial}: the tile is missing, and so is {full}. Restore the folder of the log.")


def write_once(folder: Path, name: str, data: bytes) -> None:
    """Write a file that never changes. Raises BrokenInvariant when it is there with other bytes.

    The name of one that is there is not synced: whoever wrote it may have been stopped before that.
    """
    path = folder / name
    if not path.is_file():
        write_file(path, data)
    elif path.read_bytes() != data:
        raise BrokenInvariant(f"{name}: it is there with other bytes, so the log was rewritten. Nothing was changed.")


def _write_tile(folder: Path, name: str, data: bytes) -> None:
    write_once(folder, name, data)
    keep_name(folder / name)
