"""The succession of an archive's time stamps: a later one renews those before it (in the spirit of RFC 4998).

An authority's certificate ends, and then its key may fall into other hands. So each time stamp must hold as of the time
of the first later one that covers it, and the newest as of now. One that does not has lapsed. That is counted and is no
finding: the archive is as it was sealed, and may have been sealed before there was a succession.

    <bag>.tsr                 over the bag's signature: covers the bag, all before it, and the time stamps they name
    <bag>/data/restamp.tsr    in an entry of the job `restamp`: over the digest of the bag before it (`previous`)
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import walk
from runbook_lib.archive.openssl import CERTS, TSA_ROOTS, stamp_refused, stamped_at

RENEWAL = "data/restamp.tsr"
"""The token in a bag of the job `restamp`."""

AHEAD = timedelta(days=90)
"""How long before its end the newest time stamp is reported."""

CLOSE = timedelta(days=2)
"""A time stamp that is renewed within two days, as every night, is checked as of the later moment only."""


@dataclass(frozen=True)
class Token:
    """A time stamp to verify.

    Args:
        file: its path below the archive.
        over: how openssl gets what it is over: `-data FILE` or `-digest HEX`.
        covers: the sequence number of the last bag that it covers.
        named: that of the bag that names the token, or holds it; None if none does yet.
    """

    file: str
    over: tuple[str, str]
    covers: int
    named: int | None


@dataclass(frozen=True)
class Standing:
    """What the time stamps of an archive prove.

    Args:
        at: the time (UTC) of each time stamp that verifies, by its file.
        lapsed: how many were not renewed in time, and all before the last of them.
        ends: when the newest one ends (UTC), if that is past or less than `AHEAD` away.
        findings: those that do not verify.
    """

    at: dict[str, datetime]
    lapsed: int
    ends: datetime | None
    findings: tuple[str, ...]


def verify_tokens(archive: Path, tokens: Sequence[Token], *, now: datetime) -> Standing:
    """Verify time stamps with openssl, several at a time.

    Args:
        tokens: in the chain's order; a `restamp` comes after the time stamp of the bag before it.

    Raises:
        RunbookError: UNREADABLE_FILE if openssl is missing.
    """
    roots = archive / CERTS / TSA_ROOTS
    if tokens and (why := walk.unfit(roots, follow=True)):
        return Standing({}, 0, None, tuple(f"{token.file}: does not verify ({why})" for token in tokens))
    own = [_stamped_at(archive / token.file) for token in tokens]
    until = _renewed([(token, at) for token, at in zip(tokens, own, strict=True) if at is not None])

    def refused(token: Token, moment: datetime | None) -> str:
        return stamp_refused(archive / token.file, token.over, roots, at=moment)

    def look(token: Token, at: datetime | None) -> _Seen:
        if at is None:
            return _Seen(token, None, walk.unfit(archive / token.file) or refused(token, None))
        later = max(at, until.get(token.file) or now)
        late = bool(refused(token, later))
        if not late and later - at <= CLOSE:
            return _Seen(token, at)
        why = refused(token, at)
        return _Seen(token, None if why else at, why, late and not why)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(pool.map(look, tokens, own))
    newest = seen[-1] if seen else None
    return Standing(
        at={seal.token.file: seal.at for seal in seen if seal.at is not None},
        lapsed=max((number for number, seal in enumerate(seen, 1) if seal.late), default=0),
        ends=_ends(newest.at, now, partial(refused, newest.token)) if newest and newest.at else None,
        findings=tuple(f"{seal.token.file}: does not verify ({seal.why})" for seal in seen if seal.at is None),
    )


@dataclass(frozen=True)
class _Seen:
    """A token, its time if it verifies, else why it does not; and whether it was renewed too late."""

    token: Token
    at: datetime | None
    why: str = ""
    late: bool = False


def _stamped_at(file: Path) -> datetime | None:
    try:
        return stamped_at(disk.read_file(file, walk.SMALL))
    except (OSError, ValueError):
        return None


def _renewed(tokens: Sequence[tuple[Token, datetime]]) -> dict[str, datetime]:
    """When each token was renewed: the time of the first one that covers the bag that names it."""
    first = {token.covers: at for token, at in tokens}
    places = sorted(first)
    found = {}
    for token, _ in tokens:
        index = len(places) if token.named is None else bisect_left(places, token.named)
        if index < len(places):
            found[token.file] = first[places[index]]
    return found


def _ends(at: datetime, now: datetime, refused: Callable[[datetime], str]) -> datetime | None:
    """When a token ends, to the second; None if openssl still accepts it as of `AHEAD` from now."""
    holds, ended = at, now + AHEAD
    if ended <= holds or not refused(ended):
        return None
    while ended - holds > timedelta(seconds=1):
        middle = holds + (ended - holds) / 2
        holds, ended = (holds, middle) if refused(middle) else (middle, ended)
    return ended
