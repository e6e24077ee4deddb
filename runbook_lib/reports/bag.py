"""BagIt bags (RFC 8493): built aside, complete, checked, and only then renamed to where they belong.

The `bagit` library checks every bag before it is put in place. It does not write them: its `make_bag` changes the
process's working directory, which threads share, and writes version 0.97, the draft before the RFC.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import bagit

from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.result import Table

STAGING = ".staging"
AGENT = "digicert-one-runbooks"

JOB = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""What a job may be called: it becomes part of a folder's name."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def csv_bytes(table: Table) -> bytes:
    """A table as CSV: UTF-8, comma, CRLF (RFC 4180), header first.

    A cell that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection): its text comes
    from a server, and people open these files in spreadsheets. Plain numbers stay as they are. The exact values are in
    run.ipynb.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for row in (table.columns, *table.rows):
        writer.writerow([_no_formula(cell) for cell in row])
    return text.getvalue().encode("utf-8")


def _no_formula(cell: str) -> str:
    if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not re.fullmatch(r"[+-]?\d+(\.\d+)?|-", cell):
        return f"'{cell}"
    return cell


@contextmanager
def archive_errors(archive: Path) -> Iterator[None]:
    """Turn what the file system says into DISK_FULL or ARCHIVE_FAILED."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunbookError(
                Reason.DISK_FULL,
                f"The disk of the archive {archive} is full.",
                remedy="Free space on it, then run again. What ran is not in the archive.",
            ) from error
        raise RunbookError(
            Reason.ARCHIVE_FAILED, f"The archive {archive} cannot be written: {error.strerror or error}."
        ) from error


@contextmanager
def staging(archive: Path) -> Iterator[Path]:
    """A private folder (0700) on the archive's file system, gone afterwards.

    Making it shows that the archive can be written before anything runs.

    Raises:
        RunbookError: ARCHIVE_FAILED or DISK_FULL.
    """
    with archive_errors(archive):
        (archive / STAGING).mkdir(parents=True, exist_ok=True)
        if not os.access(archive, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "permission denied")
        folder = Path(tempfile.mkdtemp(dir=archive / STAGING))
        try:
            # a full disk often has room for a name and none for a byte
            _write(folder / "probe", b"\0" * 65536)
            (folder / "probe").unlink()
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put(archive: Path, folder: Path, *, job: str, run: str, at: datetime, files: Mapping[str, bytes]) -> Path:
    """Write a bag and put it into its place, `<archive>/YYYY/MM/DD/<utc>-<job>`.

    Args:
        folder: the run's staging folder.
        run: the run's identifier, a UUID.
        at: when the run was started; names the bag and dates it.
        files: the payload: path below `data/`, content.

    Returns:
        The bag's folder. A second run of the same job in the same second gets `-2` appended, and so on.

    Raises:
        RunbookError: DISK_FULL or ARCHIVE_FAILED; then nothing is in the archive.
    """
    aside = folder / "bag"
    with archive_errors(archive):
        for name, content in files.items():
            _write(aside / "data" / name, content)
        size = sum(map(len, files.values()))
        manifest = "".join(f"{sha256(content)}  data/{name}\n" for name, content in sorted(files.items()))
        info = {
            "Bag-Software-Agent": AGENT,
            "Bagging-Date": f"{at:%Y-%m-%d}",
            "External-Description": f"One run of the job {job}",
            "External-Identifier": f"urn:uuid:{run}",
            "Payload-Oxum": f"{size}.{len(files)}",
        }
        _write(aside / "bagit.txt", b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
        _write(aside / "bag-info.txt", "".join(f"{key}: {value}\n" for key, value in info.items()).encode())
        _write(aside / "manifest-sha256.txt", manifest.encode())
        seal(aside)
        for inner in sorted({aside, *(path for path in aside.rglob("*") if path.is_dir())}):
            _sync_folder(inner)
        try:
            bagit.Bag(str(aside)).validate()
        except bagit.BagError as error:
            raise RunbookError(Reason.ARCHIVE_FAILED, f"The bag does not hold what was written: {error}.") from error
        return _into_place(aside, archive, f"{at:%Y%m%dT%H%M%SZ}-{job}", at)


def seal(bag: Path) -> None:
    """Write the tag manifest over a bag whose content is complete: nothing is written into the bag after this."""
    tags = sorted(path for path in bag.iterdir() if path.is_file())
    lines = "".join(f"{sha256(path.read_bytes())}  {path.name}\n" for path in tags)
    _write(bag / "tagmanifest-sha256.txt", lines.encode())


def _into_place(aside: Path, archive: Path, name: str, at: datetime) -> Path:
    day = archive / f"{at:%Y}" / f"{at:%m}" / f"{at:%d}"
    day.mkdir(parents=True, exist_ok=True)
    count = 1
    while True:
        target = day / (name if count == 1 else f"{name}-{count}")
        try:
            # a rename onto a folder that is not empty fails (POSIX), so of two runs in one second none is lost
            aside.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            count += 1
        else:
            break
    for folder in (day, day.parent, day.parent.parent, archive):
        _sync_folder(folder)
    return target


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
