"""A disk that is full at any size makes the process say so, and takes nothing that was acknowledged."""

from tests.faults.calls import absent
from tests.faults.disk_full import fill_disks, limit_files

SIZES = 5


def test_files_that_may_not_grow_take_nothing_that_was_acknowledged() -> None:
    tried = limit_files(SIZES)
    assert tried.flaws == []
    assert 0 < tried.full < tried.sizes == SIZES


def test_a_disk_without_room_takes_nothing_that_was_acknowledged() -> None:
    try:
        tried = fill_disks(SIZES)
    except OSError as error:
        absent(str(error))
    assert tried.flaws == []
    assert 0 < tried.full < tried.sizes == SIZES
