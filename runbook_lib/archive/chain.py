"""The chain of an archive: each bag names the digest of the bag before it, so that none can be lost, moved or inserted.

`chain.json` in a bag is its link. `<archive>/.head` names the last bag; it is a convenience, checked against the bags
before it is used, and no evidence.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from runbook_lib import disk

LINK, TAGS = "chain.json", "tagmanifest-sha256.txt"
HEAD, LOCK, STAGING = ".head", ".lock", ".staging"
NONE = "none"
"""In place of a digest: there is no bag before, or no signer."""

DIGEST = r"[0-9a-f]{64}"
PLACE = r"[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]{8}T[0-9]{6}Z-[a-z0-9-]+"
"""A bag's folder below the archive. verify.sh has the same patterns: POSIX and Python read them alike."""

SIGNER, AUTHORITY, HOLD, RELEASE, PURGE, EXPORT = "signer", "authority", "hold", "release", "purge", "export"
EXPECTATION, RESTAMP = "expectation", "restamp"
ENTRY_KINDS = (SIGNER, AUTHORITY, HOLD, RELEASE, PURGE, EXPORT, EXPECTATION, RESTAMP)
"""The kinds of archive entries: `data/<kind>.json` of such a bag says what was done. If the archive has a signer, an
unsigned entry is a finding."""

_KEPT = re.compile(rf".*Z-(?:{SIGNER}|{AUTHORITY}|{HOLD}|{RELEASE}|{PURGE}|{EXPECTATION}|{RESTAMP})(?:-[0-9]+)?")


@dataclass(frozen=True)
class Link:
    """The content of chain.json.

    Args:
        bag: the bag's own place, so that a renamed or copied bag contradicts itself.
        sequence: 1 for the first bag of the archive, then 2, 3, …
        previous: SHA-256 of the previous bag's tagmanifest-sha256.txt; `none` for the first bag.
        previous_signature: SHA-256 of the previous bag's .p7s; `none` without one.
        status: how the run ended.
        expected: the number of runs that the bag should hold: 1, or the accounts of a batch.
        produced: the number of them that reached their end.
        signer: SHA-256 of the certificate (DER) that signs this bag; `none` if it is unsigned.
        next_signer: the signer of the following bags. It differs from `signer` at a roll-over.
    """

    bag: str
    sequence: int
    previous: str
    previous_signature: str
    status: str
    expected: int
    produced: int
    signer: str
    next_signer: str

    def text(self) -> bytes:
        """chain.json: JSON, one key a line, in this order, so that a shell can read it."""
        lines = [f'  "{field.name}": {_json(getattr(self, field.name))}' for field in fields(self)]
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")

    @classmethod
    def read(cls, content: bytes) -> Link:
        """Read chain.json. Raises ValueError for anything that `text` would not write, to the byte."""
        found = _FORM.fullmatch(content)
        if found is None:
            raise ValueError("chain.json is malformed")
        values = {name: value.decode("ascii") for name, value in found.groupdict().items()}
        return cls(**{name: int(text) if name in _NUMBERS else text for name, text in values.items()})  # type: ignore[arg-type]


def _json(value: str | int) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


_NUMBERS = {"sequence": "[1-9][0-9]*", "expected": "0|[1-9][0-9]*", "produced": "0|[1-9][0-9]*"}
_TEXTS = {"bag": PLACE, "status": "[a-z][a-z ]*"}
_FORM = re.compile(
    (
        r"\{\n"
        + ",\n".join(
            f'  "{field.name}": (?P<{field.name}>{_NUMBERS[field.name]})'
            if field.name in _NUMBERS
            else f'  "{field.name}": "(?P<{field.name}>{_TEXTS.get(field.name, f"{DIGEST}|{NONE}")})"'
            for field in fields(Link)
        )
        + r"\n\}\n"
    ).encode("ascii")
)


@dataclass(frozen=True)
class SealedBag:
    """A bag in the chain: `digest` is the digest of its tag manifest, `signature` that of its .p7s."""

    sequence: int
    digest: str
    signature: str
    next_signer: str
    bag: str


GENESIS = SealedBag(0, NONE, NONE, NONE, NONE)
"""Before the first bag."""


@dataclass(frozen=True)
class Pending:
    """A sealed bag that is being moved from a staging folder into place."""

    sealed: SealedBag
    staging: str


PATIENCE = 60.0
"""Default seconds that a writer waits for another one. Sealing a bag takes a fraction of a second."""


@contextmanager
def archive_lock(archive: Path, wait: float = PATIENCE) -> Iterator[None]:
    """Let one writer at a time seal, from reading the head to the rename.

    Whoever may write to the archive's folder may take the lock, and nobody else.

    Raises:
        RunbookError: BUSY, after `wait` seconds or on a signal. OSError.
    """
    writers = archive.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    mode = 0o600 | writers | writers << 1
    with disk.locked(archive / LOCK, busy=f"The archive {archive} is being written by", wait=wait, mode=mode):
        yield


# --- the pointer ------------------------------------------------------------------------------------------------------

_SEALED = rf"([0-9]{{1,18}}) ({DIGEST}|{NONE}) ({DIGEST}|{NONE}) ({DIGEST}|{NONE}) ({PLACE}|{NONE})"
_POINTER = re.compile(rf"head {_SEALED}\n(?:next {_SEALED} ({re.escape(STAGING)}/\w+)\n)?", re.ASCII)


_POINTER_SIZE = 4096


def write_pointer(archive: Path, head: SealedBag, pending: Pending | None = None) -> None:
    """Write which bag is the last, and which bag is being added."""
    text = f"head {_words(head)}\n"
    if pending is not None:
        text += f"next {_words(pending.sealed)} {pending.staging}\n"
    disk.replace(archive / HEAD, text.encode("ascii"))


def read_pointer(archive: Path) -> tuple[SealedBag | None, Pending | None]:
    """Read `.head`; None if it is missing or damaged."""
    try:
        found = _POINTER.fullmatch(disk.read_file(archive / HEAD, _POINTER_SIZE).decode("ascii", "replace"))
    except OSError:
        return None, None
    if found is None:
        return None, None
    return _sealed(found, 1), Pending(_sealed(found, 6), found[11]) if found[11] else None


def _words(sealed: SealedBag) -> str:
    return f"{sealed.sequence} {sealed.digest} {sealed.signature} {sealed.next_signer} {sealed.bag}"


def _sealed(found: re.Match[str], group: int) -> SealedBag:
    number, digest, signature, next_signer, bag = found.groups()[group - 1 : group + 4]
    return SealedBag(int(number), digest, signature, next_signer, bag)


# --- the head ---------------------------------------------------------------------------------------------------------


def find_head(archive: Path) -> SealedBag:
    """The last bag of the chain.

    The pointer counts if its bag is present and unchanged and the newest bag by name does not come later in the chain;
    else every bag is read. If the pointer names a later bag than any that is present, it still counts. The next bag
    then follows the missing one, so the gap stays visible.
    """
    pointer, _ = read_pointer(archive)
    newest = _newest(archive)
    if pointer is not None and (newest is None or newest.sequence <= pointer.sequence):
        here = GENESIS if pointer == GENESIS else sealed_bag(archive, archive / pointer.bag)
        if here == pointer and (pointer != GENESIS or newest is None):
            return pointer
    found = (sealed_bag(archive, bag) for bag in bags(archive))
    highest = max((bag for bag in found if bag is not None), key=lambda bag: bag.sequence, default=GENESIS)
    return pointer if pointer is not None and pointer.sequence >= highest.sequence else highest


def sealed_bag(archive: Path, bag: Path) -> SealedBag | None:
    """A bag that is present, as the chain knows it; None if it is not chained."""
    try:
        link = Link.read(disk.read_file(bag / LINK))
        digest, signature = disk.sha256(disk.read_file(bag / TAGS)), signature_digest(bag)
    except (OSError, ValueError):
        return None
    return SealedBag(link.sequence, digest, signature, link.next_signer, str(bag.relative_to(archive)))


def signature_of(bag: Path) -> Path:
    """The path of a bag's CMS signature, next to the bag."""
    return bag.with_name(f"{bag.name}.p7s")


def signature_digest(bag: Path) -> str:
    try:
        return disk.sha256(disk.read_file(signature_of(bag)))
    except FileNotFoundError:
        return NONE


def bags(archive: Path) -> Iterator[Path]:
    """Every bag's folder, newest day first."""
    for day in _folders(_folders(_folders([archive], "[0-9]{4}"), "[0-9]{2}"), "[0-9]{2}"):
        yield from _folders([day], "[0-9]{8}T[0-9]{6}Z-[a-z0-9-]+")


def _folders(above: Iterator[Path] | list[Path], name: str) -> Iterator[Path]:
    for folder in above:
        with os.scandir(folder) as found:
            inner = [
                item.name for item in found if re.fullmatch(name, item.name) and item.is_dir(follow_symlinks=False)
            ]
        yield from (folder / child for child in sorted(inner, reverse=True))


def _newest(archive: Path) -> SealedBag | None:
    bag = next(bags(archive), None)
    return sealed_bag(archive, bag) if bag is not None else None


def is_kept(place: str) -> bool:
    """Whether a bag is an archive entry that is never purged, by its name. A run of such a name stays too."""
    return _KEPT.fullmatch(place) is not None


def is_expectation(place: str) -> bool:
    """Whether a bag declares what the archive should hold, by its name."""
    return re.fullmatch(rf".*Z-{EXPECTATION}(?:-[0-9]+)?", place) is not None


def is_restamp(place: str) -> bool:
    """Whether a bag holds a new time stamp over the chain before it, by its name."""
    return re.fullmatch(rf".*Z-{RESTAMP}(?:-[0-9]+)?", place) is not None
