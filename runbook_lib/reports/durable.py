"""Files that are on the disk when the call returns."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def write(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file and the folders above it, and fsync it. `mode` is what the umask is taken from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def link(source: Path, path: Path) -> None:
    """Give a file that is on the disk a second name, or a copy where its file system is another or knows no links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.hardlink_to(source)
    except OSError:
        write(path, source.read_bytes())


def replace(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one and nothing between."""
    aside = path.with_name(f".{path.name.lstrip('.')}.new")
    write(aside, content, mode=mode)
    aside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk: a file's own fsync does not (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append(path: Path, line: bytes) -> None:
    """Add a line to a file, on the disk when the call returns: the whole of it or, with OSError, nothing."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):  # a disk that is nearly full takes a part
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
