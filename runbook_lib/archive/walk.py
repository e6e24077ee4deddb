"""Lists the files of an archive and its bags, checks names, types, depth, number and size before reading them, and then
compares them with their digests."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive.chain import PLACE
from runbook_lib.visible import visible

TOP = {"certs", "index.html", "run.schema.json", "VERIFY.md", "verify.sh"}
DEEPEST = 8
"""Folders below a bag. A run's tables are two deep, those of a batch's accounts four."""

MOST = 200_000
"""Entries of one folder."""

SMALL = 256 << 10
"""Bytes of a chain.json, a signature, a certificate or a token: each has a few thousand."""

UNDOUBTED = 64 << 20
LARGEST = 4 << 30
"""Bytes of a payload file: the limit without a trusted Payload-Oxum, and the limit with one."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_DAY = re.compile(r"[0-9]{4}(/[0-9]{2}(/[0-9]{2})?)?")
_BESIDE = re.compile(rf"{PLACE}\.(p7s|tsr)")
_OXUM = re.compile(rb"^Payload-Oxum: ([0-9]{1,15})\.[0-9]+\r?$", re.MULTILINE)


def bag_places(archive: Path, findings: list[str]) -> tuple[list[str], set[str]]:
    """The places of the bags, and the names of signatures and time stamps. Any other file or folder is a finding.

    Raises OSError if a folder cannot be listed.
    """
    bags: list[str] = []
    loose: set[str] = set()
    for name, entry in _entries(archive, "", findings):
        if not (entry.is_dir(follow_symlinks=False) and _DAY.fullmatch(name)):
            if name not in TOP:
                findings.append(f"{name}: not part of an archive")
            continue
        for month in _below(archive, name, findings):
            for day in _below(archive, month, findings):
                found = day_places(archive, day, findings)
                bags += found[0]
                loose |= found[1]
    return sorted(bags), loose


def day_places(archive: Path, day: str, findings: list[str]) -> tuple[list[str], set[str]]:
    """The same for one day's folder."""
    bags: list[str] = []
    loose: set[str] = set()
    for path, entry in _entries(archive, day, findings):
        if re.fullmatch(PLACE, path) and entry.is_dir(follow_symlinks=False):
            bags.append(path)
        elif not (_BESIDE.fullmatch(path) and entry.is_file(follow_symlinks=False)):
            findings.append(f"{path}: not part of an archive")
        elif entry.stat(follow_symlinks=False).st_size <= SMALL:
            loose.add(path)
        else:
            findings.append(f"{path}: larger than {SMALL:,} bytes: not read")
    return bags, loose


def _below(archive: Path, folder: str, findings: list[str]) -> Iterator[str]:
    for path, entry in _entries(archive, folder, findings):
        if _DAY.fullmatch(path) and entry.is_dir(follow_symlinks=False):
            yield path
        else:
            findings.append(f"{path}: not part of an archive")


def _entries(root: Path, below: str, findings: list[str], place: str = "") -> list[tuple[str, os.DirEntry[str]]]:
    """The entries of a folder, by name. At the top, names that begin with a dot belong to the writers."""
    with os.scandir(root / below) as entries:
        found = list(islice(entries, MOST + 1))
    where = "/".join(filter(None, (place, below)))
    if len(found) > MOST:
        findings.append(f"{where or 'this folder'}: more than {MOST:,} entries: the rest was not checked")
    named = []
    for entry in sorted(found, key=lambda entry: entry.name):
        if not place and not below and entry.name.startswith("."):
            continue
        path = f"{below}/{entry.name}" if below else entry.name
        if _NAME.fullmatch(entry.name):
            named.append((path, entry))
        else:
            shown = visible(f"{place}/{path}" if place else path)
            findings.append(f"{shown}: a name with characters that are not allowed")
    return named


def bag_files(bag: Path, place: str, findings: list[str]) -> dict[str, int]:
    """Every file of a bag and its size. Anything else but a folder is a finding, and so is an empty folder."""
    found: dict[str, int] = {}
    folders = [""]
    while folders:
        below = folders.pop()
        if below.count("/") >= DEEPEST:
            findings.append(f"{place}/{below}: nested too deeply: not read")
            continue
        inside = _entries(bag, below, findings, place)
        for path, entry in inside:
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_file(follow_symlinks=False):
                found[path] = entry.stat(follow_symlinks=False).st_size
            else:
                findings.append(f"{place}/{path}: neither a file nor a folder")
        if not inside and below not in ("", "data"):
            findings.append(f"{place}/{below}: empty folder added")
    return found


def list_lines(content: bytes) -> Iterator[str]:
    """The lines of a list, one at a time, because a list of line ends alone must not fill the memory."""
    if not content:
        yield ""
    for line in io.BytesIO(content):
        yield line.removesuffix(b"\n").decode("ascii", "replace")


def compare_with_manifest(
    bag: Path, place: str, expected: Mapping[str, str], found: Mapping[str, int], findings: list[str]
) -> None:
    """Compare a bag's files with its manifests. Reads only listed files, up to the size of the bag's whole payload."""
    limit = _payload(bag, expected)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            findings.append(f"{place}/{name}: missing")
        elif name not in expected:
            findings.append(f"{place}/{name}: added")
        elif found[name] > (limit if name.startswith("data/") else disk.LARGEST):
            findings.append(f"{place}/{name}: changed: {found[name]:,} bytes, more than its bag says: not read")
        elif (actual := digest(bag / name)) != expected[name]:
            findings.append(f"{place}/{name}: " + ("changed" if actual else "cannot be read"))


def _payload(bag: Path, expected: Mapping[str, str]) -> int:
    """The largest size that a payload file may have, in bytes."""
    try:
        info = disk.read_file(bag / "bag-info.txt", SMALL)
    except OSError:
        return UNDOUBTED
    oxum = _OXUM.search(info)
    if oxum is None or hashlib.sha256(info).hexdigest() != expected.get("bag-info.txt"):
        return UNDOUBTED
    return min(int(oxum[1]), LARGEST)


def digest(path: Path, limit: int = LARGEST, *, follow: bool = False) -> str:
    """SHA-256 of a regular file; empty if it cannot be read."""
    try:
        with disk.opened(path, limit, follow=follow) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def unfit(path: Path, *, follow: bool = False) -> str:
    """Why openssl must not read a file; empty if it may."""
    try:
        disk.opened(path, SMALL, follow=follow).close()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""
