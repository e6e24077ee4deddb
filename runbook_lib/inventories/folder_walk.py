"""Walks folders of certificates: yields every entry once, in order, and resolves each link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from runbook_lib.errors import Reason
from runbook_lib.inventories.health import Health

PIECE_BYTES = 2**20
"""The most bytes of files that a process gets at a time, so that large files are shared out too."""

CIRCLE = "forms a loop"
NOWHERE = "leads nowhere"


class FolderEntry(NamedTuple):
    """One entry of a folder, as the reading process gets it.

    Args:
        path: its name in the inventory.
        target: the file to read, for a link that is followed.
        state, reason, why: the row of an entry that is not read.
    """

    path: str
    target: str = ""
    state: str = ""
    reason: str = ""
    why: str = ""


class Piece(NamedTuple):
    """Entries of one named folder, for one process to read."""

    root: str
    entries: tuple[FolderEntry, ...]


def pieces(folders: Sequence[str], size: int, bytes_of_files: int = PIECE_BYTES) -> Iterator[Piece]:
    """Yield the entries below some folders in pieces of at most `size` entries or `bytes_of_files` bytes of files.

    An empty folder gives one entry that says so.
    """
    tops = roots(folders)
    links = Links(tops)
    for top in tops:
        piece: list[FolderEntry] = []
        empty, weight = True, 0
        for path in walk_folder(top):
            empty, (link, more) = False, _measured(path)
            if piece and (len(piece) >= size or weight + more > bytes_of_files):
                yield Piece(top, tuple(piece))
                piece, weight = [], 0
            piece.append(links.follow(path) if link else FolderEntry(path))
            weight += more
        if empty:
            piece = [_row(top, Health.NO_CERTIFICATE, Reason.NO_CERTIFICATE, "an empty folder")]
        yield Piece(top, tuple(piece))


def walk_folder(folder: str) -> Iterator[str]:
    """Yield every entry below a folder that is not a folder, sorted by name, and every folder that cannot be listed."""
    # not recursive: a tree may be deeper than Python's stack. Only names: a folder may have a million of them
    left: list[tuple[str, list[str], set[str]]] = [("", [folder], {folder})]
    while left:
        above, names, folders = left[-1]
        if not names:
            left.pop()
            continue
        name = names.pop()
        path = os.path.join(above, name)  # noqa: PTH118  (a Path costs ten times as much)
        if name not in folders:
            yield path
            continue
        try:
            found, inside = _listed(path)
        except OSError:
            yield path
        else:
            left.append((path, found, inside))


def _measured(path: str) -> tuple[bool, int]:
    """Whether an entry is a link, and its size in bytes."""
    try:
        status = os.lstat(path)
    except OSError:
        return False, 0
    return stat.S_ISLNK(status.st_mode), status.st_size


def _listed(folder: str) -> tuple[list[str], set[str]]:
    """The names in a folder in reverse order, and which of them are folders."""
    names, folders = [], set()
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
    names.sort(reverse=True)
    return names, folders


def roots(folders: Sequence[str]) -> list[str]:
    """The real paths of folders, without those inside another one, so that no file counts twice."""
    real = dict.fromkeys(os.path.realpath(folder) for folder in folders)
    return [path for path in real if not any(str(above) in real for above in Path(path).parents)]


class Links:
    """Resolves the links below some folders. A file outside them is read once, however many links lead to it."""

    def __init__(self, tops: Sequence[str]) -> None:
        self._tops = tuple(tops)
        self._read: set[tuple[int, int]] = set()

    def follow(self, path: str) -> FolderEntry:
        """The entry of a link."""
        try:
            to = os.readlink(path)  # noqa: PTH115
            status = os.stat(path)  # noqa: PTH116
        except OSError as error:
            what = {errno.ELOOP: CIRCLE, errno.ENOENT: NOWHERE, errno.ENOTDIR: NOWHERE}.get(error.errno or 0)
            why = f"a link that {what or f'cannot be followed: {error.strerror}'}"
            return _row(path, Health.UNCHECKED, Reason.LINK_NOT_FOLLOWED, why)
        target = os.path.realpath(path)
        if any(target == top or target.startswith(top.rstrip("/") + "/") for top in self._tops):
            why = f"a link to {to}, which has its own rows"
            return _row(path, Health.LINKED, Reason.LINK_NOT_FOLLOWED, why)
        if stat.S_ISDIR(status.st_mode):
            why = f"a link to the folder {target}, outside the named folders"
            return _row(path, Health.UNCHECKED, Reason.LINK_NOT_FOLLOWED, why)
        if not stat.S_ISREG(status.st_mode):
            return _row(path, Health.UNCHECKED, Reason.FILE_NOT_READ, f"a link to {target}, which is not a file")
        if (status.st_dev, status.st_ino) in self._read:
            why = f"a link to {target}, already read through another link"
            return _row(path, Health.LINKED, Reason.LINK_NOT_FOLLOWED, why)
        self._read.add((status.st_dev, status.st_ino))
        return FolderEntry(path, target)


def _row(path: str, state: Health, reason: Reason, why: str) -> FolderEntry:
    return FolderEntry(path, "", state.value, reason.value, why)
