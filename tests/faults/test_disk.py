"""The disk of the power loss keeps what was synced, and may keep what was not, in whole or in part."""

from pathlib import Path
from random import Random

import pytest

from tests.faults.calls import Call
from tests.faults.disk import SECTOR, Disk, Fate, Files

ROOT = Path("/root-of-it")
NOTHING, EVERYTHING = Fate(Random(1), 0, 0), Fate(Random(1), 1, 0)


def in_hex(text: str | bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in (text.encode() if isinstance(text, str) else text)) + '"'


def disk_of(*calls: str) -> Disk:
    """Return the disk after calls as 'creat a', 'write a', 'fsync a', 'rename a b', 'unlink a', 'mkdir a'."""
    disk, numbers = Disk(ROOT), iter(range(1, 100))
    for call in calls:
        name, *paths = call.split()
        named = tuple(in_hex(f"{ROOT}/{path}".rstrip("./")) for path in paths)
        opened = f"3<{ROOT}/{paths[0]}>".replace("/.>", ">")
        arguments, answer = {
            "creat": (("AT_FDCWD", *named, "O_RDWR|O_CREAT"), 3),
            "write": ((opened, in_hex(b"x" * 2 * SECTOR), str(2 * SECTOR), "0"), 2 * SECTOR),
            "fsync": ((opened,), 0),
        }.get(name, (named, 0))
        name = {"creat": "openat", "write": "pwrite64"}.get(name, name)
        disk.apply(Call("1", name, next(numbers), arguments, answer))
    return disk


WHOLE = b"x" * 2 * SECTOR


@pytest.mark.parametrize(
    ("calls", "least", "most"),
    [
        (["creat a", "write a"], {}, {"a": WHOLE}),
        (["creat a", "write a", "fsync a"], {}, {"a": WHOLE}),
        (["creat a", "write a", "fsync ."], {"a": b""}, {"a": WHOLE}),
        (["creat a", "write a", "fsync a", "fsync ."], {"a": WHOLE}, {"a": WHOLE}),
        (["creat a", "fsync .", "fsync a", "rename a b"], {"a": b""}, {"b": b""}),
        (["creat a", "fsync .", "unlink a", "creat a", "write a", "fsync a"], {"a": b""}, {"a": WHOLE}),
        (["mkdir d", "creat d/a", "write d/a", "fsync d/a", "fsync d"], {}, {"d": None, "d/a": WHOLE}),
        (["mkdir d", "creat d/a", "fsync d", "fsync ."], {"d": None, "d/a": b""}, {"d": None, "d/a": b""}),
    ],
)  # fmt: skip
def test_a_power_loss_leaves_at_least_what_was_synced_and_at_most_all(
    calls: list[str], least: Files, most: Files
) -> None:
    disk = disk_of(*calls)
    assert disk.after(NOTHING) == least
    assert disk.after(EVERYTHING) == most == disk.seen()


def test_a_write_is_torn_between_sectors_and_a_length_may_be_there_without_its_bytes() -> None:
    disk = disk_of("creat a", "fsync .", "write a")
    x, zero = b"x" * SECTOR, bytes(SECTOR)
    found = {disk.after(Fate(Random(seed), 1, 1))["a"] for seed in range(200)}
    assert found == {b"", x, x + x, x + zero, zero + x, zero + zero}


def test_a_call_that_the_disk_does_not_know_is_not_passed_over() -> None:
    with pytest.raises(NotImplementedError, match="fallocate"):
        disk_of("fallocate a")
