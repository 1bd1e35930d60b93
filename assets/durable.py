"""Files and folders that outlast a power loss.

A file is written beside its place, synced and renamed, and then its folder is synced: a kill or a power loss leaves a
whole file or none. The sync of a file keeps its bytes, not its name; names are kept by the sync of the folder they are in.
"""

import os
from collections.abc import Callable
from pathlib import Path

_kept: set[Path] = set()  # Names that this process has synced. A sync takes milliseconds.


def write_file(path: Path, content: bytes | Callable[[Path], object], *, over: bool = True) -> None:
    """Put a file at `path`, whole and for good, and make its folder. `content` is its bytes, or writes them to a path.

    With `over` False one that is there is left alone: FileExistsError.
    """
    make_folder(path.parent)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        if isinstance(content, bytes):
            beside.write_bytes(content)
        else:
            content(beside)
        sync(beside)
        if over:
            beside.replace(path)
        else:
            path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)  # On a full disk the start of a file only takes place.
    _sync_name(path)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder for good, and those above it, from the top down. The mode is that of the lowest."""
    if folder.is_dir():
        keep_name(folder)
    else:
        make_folder(folder.parent)
        folder.mkdir(mode, exist_ok=True)
        _sync_name(folder)


def keep_name(path: Path) -> None:
    """See to it that a file or folder that was found outlasts a power loss: its writer may have been stopped before that.

    Once per process and name. What lies in a folder that we may not read is taken to be its owner's care.
    """
    if path.absolute() not in _kept:
        try:
            _sync_name(path)
        except PermissionError:
            _kept.add(path.absolute())


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, outlast a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_name(path: Path) -> None:
    sync(path.absolute().parent)
    _kept.add(path.absolute())
