"""Time stamps of bags: which bags have one, which wait for one, and the list that puts them into the chain.

    <bag>.tsr                   the token, over the bag's .p7s, or over its tag manifest if the bag is unsigned
    <bag>/beside-sha256.txt     digests of files next to the bags that arrived since the previous bag: tokens of earlier
                                bags, and certs/tsa-roots.pem if an authority was chosen
    <archive>/.unstamped        bags whose token no list names: a convenience, written again if it is missing

A token arrives when its bag is already closed, so a later bag names it. Until then its removal leaves no trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import chain, timestamp_authority
from runbook_lib.archive.chain import signature_of
from runbook_lib.archive.openssl import CERTS
from runbook_lib.archive.timestamp_authority import TimestampAuthority
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

BESIDE, WAITING = "beside-sha256.txt", ".unstamped"
AT_ONCE = 10
"""Most tokens that a run requests: its own, and missing ones of earlier runs."""


@dataclass(frozen=True)
class Stamped:
    """The number of bags that got a token, the number that still wait, and why stamping stopped early."""

    came: int
    waiting: int
    problem: RunbookError | None


def stamp_of(bag: Path) -> Path:
    """The path of a bag's time stamp, next to the bag."""
    return bag.with_name(f"{bag.name}.tsr")


def subject(bag: Path) -> Path:
    """The file that is time-stamped: the signature, or the tag manifest of an unsigned bag."""
    signature = signature_of(bag)
    return signature if signature.exists() else bag / chain.TAGS


def stamp_bags(archive: Path, *, limit: int | None = None) -> Stamped:
    """Request the missing tokens, the newest bag first. The archive's lock is held only while a token is written.

    Stops at the first token that does not arrive, and after `limit` requests.

    Raises:
        RunbookError: UNREADABLE_FILE if the authority's settings are damaged. OSError: from the file system.
    """
    source = timestamp_authority.configured(archive)
    if source is None:
        return Stamped(0, 0, None)
    missing = [place for place in reversed(_waiting(archive)) if not stamp_of(archive / place).exists()]
    came, problem = 0, None
    for place in missing[:limit]:
        try:
            _stamp(archive, archive / place, source)
        except RunbookError as error:
            problem = error
            break
        came += 1
    return Stamped(came, len(missing) - came, problem)


def after(archive: Path, place: Path) -> RunbookError | None:
    """Time-stamp a bag that was just sealed, and a few that wait; return why it has none, if it should have one.

    No failure here changes the bag: it is in the archive already.
    """
    try:
        done = stamp_bags(archive, limit=AT_ONCE)
    except RunbookError as error:
        return RunbookError(Reason.NOT_STAMPED, error.what, remedy=error.remedy)
    except OSError as error:
        return RunbookError(Reason.NOT_STAMPED, f"Cannot write the time stamp: {error.strerror or error}.")
    return done.problem if not stamp_of(place).exists() else None


def _stamp(archive: Path, bag: Path, source: TimestampAuthority) -> None:
    content = subject(bag)
    answer = timestamp_authority.token(source, disk.read_file(content))
    with chain.archive_lock(archive, timestamp_authority.PATIENCE):
        # another process may have written a token that a bag already names, or the bag may have been purged
        if content.exists() and not stamp_of(bag).exists():
            disk.replace(stamp_of(bag), answer)


# --- the list, and the bags that wait ---------------------------------------------------------------------------------


def to_list(archive: Path) -> tuple[dict[str, str], list[str]]:
    """The tokens that no bag names yet, with their digests; and the bags that wait for a token.

    Both are empty without an authority. The caller holds the archive's lock.
    """
    if not (archive / CERTS / timestamp_authority.SETTINGS).exists():
        return {}, []
    came: dict[str, str] = {}
    waiting: list[str] = []
    for place in _waiting(archive):
        try:
            came[f"{place}.tsr"] = disk.sha256(disk.read_file(stamp_of(archive / place)))
        except FileNotFoundError:
            waiting.append(place)
    return came, waiting


def write_waiting(archive: Path, places: Iterable[str]) -> None:
    """Write which bags' tokens the next list must name. The caller holds the archive's lock."""
    if (archive / CERTS / timestamp_authority.SETTINGS).exists():
        disk.replace(archive / WAITING, "".join(f"{place}\n" for place in places).encode("ascii"))


def stamp_sums(listed: Mapping[str, str]) -> bytes:
    """beside-sha256.txt, in the format of `sha256sum`, with paths from the archive's top."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(listed.items())).encode("ascii")


def read_list(bag: Path) -> dict[str, str]:
    """The list of a bag: path, digest. Lines are not checked; `verify` reports malformed ones."""
    try:
        text = disk.read_file(bag / BESIDE).decode("ascii", "replace")
    except OSError:
        return {}
    return {path: digest for digest, _, path in (line.partition("  ") for line in text.splitlines())}


def _waiting(archive: Path) -> list[str]:
    """The bags, oldest first, whose token no list names."""
    try:
        places = disk.read_file(archive / WAITING).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        places = list(_unlisted(archive))
    known = (place for place in dict.fromkeys(places) if re.fullmatch(chain.PLACE, place))
    return [place for place in known if (archive / place / chain.TAGS).exists()]


def _unlisted(archive: Path) -> Iterator[str]:
    places = sorted(chain.bags(archive), key=lambda bag: bag.name)
    listed = {path for bag in places for path in read_list(bag)}
    for bag in places:
        place = str(bag.relative_to(archive))
        if f"{place}.tsr" not in listed:
            yield place
