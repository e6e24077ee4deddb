"""Which bags are stamped, which wait for it, and the list by which the chain knows its stamps.

    <bag>.tsr                   the token, over the bag's .p7s, or over its tag manifest where nobody signed it
    <bag>/beside-sha256.txt     digests of what lies beside the bags and came since the bag before: tokens of earlier
                                bags, and certs/tsa-roots.pem when an authority is chosen
    <archive>/.unstamped        bags that no list names a token of: a convenience, made anew where it is missing

A token comes when its bag is closed, so a later bag names it. Until then nobody can see that one was taken away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import chain, timestamp_authority
from runbook_lib.archive.chain import signature_of
from runbook_lib.archive.signing import CERTS
from runbook_lib.archive.timestamp_authority import TimestampAuthority
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

BESIDE, WAITING = "beside-sha256.txt", ".unstamped"
AT_ONCE = 10
"""Tokens that one run asks for: its own, and some that an earlier run could not get."""


@dataclass(frozen=True)
class Stamped:
    """How many bags got a token, how many still wait for one, and why it stopped before the last."""

    came: int
    waiting: int
    problem: RunbookError | None


def stamp_of(bag: Path) -> Path:
    """Where a bag's time stamp lies: beside it."""
    return bag.with_name(f"{bag.name}.tsr")


def subject(bag: Path) -> Path:
    """What is stamped of a bag: the signature, which holds the digest of all else, or what would have been signed."""
    signature = signature_of(bag)
    return signature if signature.exists() else bag / chain.TAGS


def stamp_bags(archive: Path, *, limit: int | None = None) -> Stamped:
    """Ask for the tokens that are missing, the newest bag first. The archive's lock is held only to put one in place.

    It stops at the first that does not come. With a `limit` it asks for so many at most.

    Raises:
        RunbookError: UNREADABLE_FILE where the authority's settings are damaged. OSError: from the file system.
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
    """Stamp a bag that was sealed just now, and a few that wait; why it has no stamp yet, where it should have one.

    Whatever goes wrong here takes nothing from the bag: it is in the archive.
    """
    try:
        done = stamp_bags(archive, limit=AT_ONCE)
    except RunbookError as error:
        return RunbookError(Reason.NOT_STAMPED, error.what, remedy=error.remedy)
    except OSError as error:
        return RunbookError(Reason.NOT_STAMPED, f"Its time stamp could not be written: {error.strerror or error}.")
    return done.problem if not stamp_of(place).exists() else None


def _stamp(archive: Path, bag: Path, source: TimestampAuthority) -> None:
    content = subject(bag)
    answer = timestamp_authority.token(source, disk.read_file(content))
    with chain.archive_lock(archive, timestamp_authority.PATIENCE):
        # another process may have been faster, and a bag names that token already; or the bag was purged meanwhile
        if content.exists() and not stamp_of(bag).exists():
            disk.replace(stamp_of(bag), answer)


# --- the list, and who is still missing from it -----------------------------------------------------------------------


def to_list(archive: Path) -> tuple[dict[str, str], list[str]]:
    """The tokens that came and no bag names yet, with their digests; and the bags whose token is still to come.

    The caller holds the archive's lock. Nothing of either in an archive without an authority.
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
    """Say which bags the next list is to name a token of. The caller holds the archive's lock."""
    if (archive / CERTS / timestamp_authority.SETTINGS).exists():
        disk.replace(archive / WAITING, "".join(f"{place}\n" for place in places).encode("ascii"))


def stamp_sums(listed: Mapping[str, str]) -> bytes:
    """beside-sha256.txt: as `sha256sum` writes it, paths from the archive's top."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(listed.items())).encode("ascii")


def read_list(bag: Path) -> dict[str, str]:
    """What a bag lists: path, digest. What is no such line is left out; `verify` reports it."""
    try:
        text = disk.read_file(bag / BESIDE).decode("ascii", "replace")
    except OSError:
        return {}
    return {path: digest for digest, _, path in (line.partition("  ") for line in text.splitlines())}


def _waiting(archive: Path) -> list[str]:
    """The bags, oldest first, that no list names a token of."""
    try:
        told = disk.read_file(archive / WAITING).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        told = list(_unlisted(archive))
    known = (place for place in dict.fromkeys(told) if re.fullmatch(chain.PLACE, place))
    return [place for place in known if (archive / place / chain.TAGS).exists()]


def _unlisted(archive: Path) -> Iterator[str]:
    places = sorted(chain.bags(archive), key=lambda bag: bag.name)
    listed = {path for bag in places for path in read_list(bag)}
    for bag in places:
        place = str(bag.relative_to(archive))
        if f"{place}.tsr" not in listed:
            yield place
