"""The chain of an archive: each bag names the one before it by digest, so that none can be lost, moved or slipped in.

`chain.json` in a bag is its link. `<archive>/.head` says where the chain ends; it is a convenience that is checked
against the bags before it is believed, and no evidence.
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
"""Stands where a digest would: nothing came before, or nobody signs."""

DIGEST = r"[0-9a-f]{64}"
PLACE = r"[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]{8}T[0-9]{6}Z-[a-z0-9-]+"
"""A bag's folder below the archive. POSIX regular expressions and Python read these alike: verify.sh has them too."""


SIGNER, AUTHORITY, HOLD, RELEASE, PURGE, EXPORT = "signer", "authority", "hold", "release", "purge", "export"
EXPECTATION = "expectation"
ENTRY_KINDS = (SIGNER, AUTHORITY, HOLD, RELEASE, PURGE, EXPORT, EXPECTATION)
"""Of the entries that an archive makes itself: `data/<kind>.json` of such a bag says what was done. Where the archive
has a signer, the verifiers want it signed."""

_KEPT = re.compile(rf".*Z-(?:{SIGNER}|{AUTHORITY}|{HOLD}|{RELEASE}|{PURGE}|{EXPECTATION})(?:-[0-9]+)?")


@dataclass(frozen=True)
class Link:
    """What chain.json says.

    Args:
        bag: the bag's own place, so that a renamed or copied bag contradicts itself.
        sequence: 1 for the first bag of the archive, and one more for each that follows.
        previous: SHA-256 of the previous bag's tagmanifest-sha256.txt; `none` for the first.
        previous_signature: SHA-256 of the previous bag's .p7s; `none` where it has none.
        status: how the run ended.
        expected: how many runs the bag is to hold: 1, or the accounts of a batch.
        produced: how many of these reached their end.
        signer: SHA-256 of the certificate (DER) that signs this bag; `none` if it is not signed.
        next_signer: who signs the bags that follow. Another than `signer` is a roll-over.
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
        """chain.json: JSON, one key a line, in this order; a shell can read it."""
        lines = [f'  "{one.name}": {_json(getattr(self, one.name))}' for one in fields(self)]
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode("ascii")

    @classmethod
    def read(cls, content: bytes) -> Link:
        """Read chain.json. Raises ValueError for anything that `text` would not write, to the byte."""
        found = _FORM.fullmatch(content)
        if found is None:
            raise ValueError("chain.json is not in its form")
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
            f'  "{one.name}": (?P<{one.name}>{_NUMBERS[one.name]})'
            if one.name in _NUMBERS
            else f'  "{one.name}": "(?P<{one.name}>{_TEXTS.get(one.name, f"{DIGEST}|{NONE}")})"'
            for one in fields(Link)
        )
        + r"\n\}\n"
    ).encode("ascii")
)


@dataclass(frozen=True)
class SealedBag:
    """A bag as the chain knows it. `digest` is that of its tag manifest, `signature` that of its .p7s."""

    sequence: int
    digest: str
    signature: str
    next_signer: str
    bag: str


GENESIS = SealedBag(0, NONE, NONE, NONE, NONE)
"""Before the first bag."""


@dataclass(frozen=True)
class Pending:
    """A sealed bag on its way from a staging folder into its place."""

    sealed: SealedBag
    staging: str


PATIENCE = 60.0
"""Seconds that a writer waits for another one, where nobody says how long. Sealing a bag takes a fraction of one."""


@contextmanager
def archive_lock(archive: Path, wait: float = PATIENCE) -> Iterator[None]:
    """One writer at a time: between reading the head and the rename nobody else may seal.

    The lock is open to whoever may write into the archive's folder, and to nobody else.

    Raises:
        RunbookError: BUSY, after so many seconds or on a signal. OSError.
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
    """Say where the chain ends, and what is about to be added to it."""
    text = f"head {_words(head)}\n"
    if pending is not None:
        text += f"next {_words(pending.sealed)} {pending.staging}\n"
    disk.replace(archive / HEAD, text.encode("ascii"))


def read_pointer(archive: Path) -> tuple[SealedBag | None, Pending | None]:
    """What `.head` says; nothing where it is missing or damaged."""
    try:
        found = _POINTER.fullmatch(disk.read_file(archive / HEAD, _POINTER_SIZE).decode("ascii", "replace"))
    except OSError:
        return None, None
    if found is None:
        return None, None
    return _sealed(found, 1), Pending(_sealed(found, 6), found[11]) if found[11] else None


def _words(one: SealedBag) -> str:
    return f"{one.sequence} {one.digest} {one.signature} {one.next_signer} {one.bag}"


def _sealed(found: re.Match[str], group: int) -> SealedBag:
    number, digest, signature, next_signer, bag = found.groups()[group - 1 : group + 4]
    return SealedBag(int(number), digest, signature, next_signer, bag)


# --- the head ---------------------------------------------------------------------------------------------------------


def find_head(archive: Path) -> SealedBag:
    """Where the chain ends.

    The pointer is believed if its bag is there unchanged and the newest bag by name does not stand further up the
    chain; else every bag is read. What the pointer knows and the bags do not outranks them: the next bag then follows
    on the one that is missing, and the gap shows for good instead of closing over it.
    """
    pointer, _ = read_pointer(archive)
    newest = _newest(archive)
    if pointer is not None and (newest is None or newest.sequence <= pointer.sequence):
        here = GENESIS if pointer == GENESIS else sealed_bag(archive, archive / pointer.bag)
        if here == pointer and (pointer != GENESIS or newest is None):
            return pointer
    found = (sealed_bag(archive, bag) for bag in bags(archive))
    highest = max((one for one in found if one is not None), key=lambda one: one.sequence, default=GENESIS)
    return pointer if pointer is not None and pointer.sequence >= highest.sequence else highest


def sealed_bag(archive: Path, bag: Path) -> SealedBag | None:
    """A bag as it lies there; None where it is in no chain."""
    try:
        link = Link.read(disk.read_file(bag / LINK))
        digest, signature = disk.sha256(disk.read_file(bag / TAGS)), signature_digest(bag)
    except (OSError, ValueError):
        return None
    return SealedBag(link.sequence, digest, signature, link.next_signer, str(bag.relative_to(archive)))


def signature_of(bag: Path) -> Path:
    """Where a bag's CMS signature lies: beside it."""
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
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if re.fullmatch(name, one.name) and one.is_dir(follow_symlinks=False)]
        yield from (folder / one for one in sorted(names, reverse=True))


def _newest(archive: Path) -> SealedBag | None:
    bag = next(bags(archive), None)
    return sealed_bag(archive, bag) if bag is not None else None


def is_kept(place: str) -> bool:
    """Whether a bag is an entry of the archive's own that stays whatever its age. A run of that name stays too."""
    return _KEPT.fullmatch(place) is not None


def is_expectation(place: str) -> bool:
    """Whether a bag declares what the archive should hold, going by its name."""
    return re.fullmatch(rf".*Z-{EXPECTATION}(?:-[0-9]+)?", place) is not None
