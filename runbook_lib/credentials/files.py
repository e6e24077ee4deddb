"""Private files that survive a crash: written aside, fsynced, renamed. Also explains the operating system's errors."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

from runbook_lib import disk
from runbook_lib.disk import sync_folder
from runbook_lib.errors import Reason, RunbookError, no_room

TEMPORARY = ".tmp"
"""The suffix of an incomplete file."""

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)


def oserror(error: OSError, path: Path, *, reading: bool = False) -> RunbookError:
    """The RunbookError for an operating system's error.

    Args:
        path: the file or folder.
        reading: whether it was only read.

    Returns:
        DISK_FULL, STORE_NOT_WRITABLE, or UNREADABLE_FILE if it was read or the error is of another kind.
    """
    text = f"{path}: {error.strerror or type(error).__name__}."
    if no_room(error):
        return RunbookError(Reason.DISK_FULL, text)
    if error.errno in _REFUSED and not reading:
        return RunbookError(Reason.STORE_NOT_WRITABLE, text)
    return RunbookError(Reason.UNREADABLE_FILE, text)


def refuse_exposed(path: Path) -> None:
    """Raise STORE_EXPOSED if group or others have any access to an existing file or folder."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise oserror(error, path) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise RunbookError(
            Reason.STORE_EXPOSED,
            f"Other users have access to {path} (mode {stat.S_IMODE(mode):04o}).",
            remedy=f"Run chmod go= '{path}'. If others could have read a key and its password, rotate the certificate.",
        )


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents with mode 0700. An existing folder must be private already.

    Raises:
        RunbookError: STORE_EXPOSED, STORE_NOT_WRITABLE or DISK_FULL.
    """
    missing = []
    above = folder
    try:
        while not above.exists():
            missing.append(above)
            above = above.parent
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            sync_folder(path.parent)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise oserror(error, folder) from None
    refuse_exposed(folder)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put a file in place, complete and durable, or leave what was there before untouched.

    Raises:
        RunbookError: DISK_FULL or STORE_NOT_WRITABLE.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        disk.replace(path, data, mode=mode, aside=aside)
    except OSError as error:
        raise oserror(error, path) from None


def read_private(path: Path) -> bytes:
    """The content of a file that only its owner may read.

    Raises:
        RunbookError: STORE_EXPOSED if others may read it too; UNREADABLE_FILE if it is missing or cannot be read.
    """
    refuse_exposed(path)
    return read_bytes(path)


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises RunbookError (UNREADABLE_FILE)."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise oserror(error, path, reading=True) from None
