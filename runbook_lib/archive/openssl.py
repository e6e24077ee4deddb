"""What openssl says of a signature or a time stamp, and where the certificates lie that it is to trust.

<archive>/certs/roots.pem          the roots that the signers' certificates must lead to
<archive>/certs/tsa-roots.pem      those that the time-stamp authority's must lead to
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from runbook_lib import disk, programs
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

CERTS, ROOTS, TSA_ROOTS = "certs", "roots.pem", "tsa-roots.pem"

_PATIENCE = 60.0
"""Most seconds that an openssl command may take."""

_GENERALIZED_TIME = 0x18
_TIME = re.compile(rb"([0-9]{14})(?:\.[0-9]+)?Z")


def openssl_refusal(command: list[str]) -> str:
    """Why an openssl command fails, as openssl says; empty if it succeeds.

    It trusts only the certificates that the command names: otherwise `openssl cms` would add the system's to `-CAfile`.
    Settings of openssl in our environment are not passed on, so that they change no verdict.

    Raises:
        RunbookError: UNREADABLE_FILE if openssl is missing.
    """
    try:
        done = programs.run_program("openssl", command, seconds=_PATIENCE, more=programs.NO_CERTIFICATES)
    except subprocess.TimeoutExpired:
        return f"openssl did not finish within {_PATIENCE:g} s"
    except FileNotFoundError:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            "`openssl`, which checks signatures, is not on the PATH.",
            remedy="Install openssl.",
            title="openssl is missing",
        ) from None
    if done.returncode == 0:
        return ""
    # error:number:library:function:reason:file:line:more, and `more` is often empty
    errors = [line.split(":") for line in done.stderr.decode(errors="replace").splitlines() if ":error:" in line]
    return next(
        (words for line in reversed(errors) for words in (line[-1].strip(), line[-4]) if words), "no reason given"
    )


def signature_refused(signature: Path, content: Path, signer: Path, roots: Path, *, at: datetime | None = None) -> str:
    """Why openssl refuses a signature; empty if it accepts it.

    The signer must be the given certificate (`-nointern`), not just one that leads to a root. So `signer` must hold no
    other certificate: openssl would accept any that made the signature. The signature holds the intermediates.
    The certificates must be valid at the time `at`. Without a time their dates are not checked (`-no_check_time`),
    because a signature stays valid when its signer's certificate expires.

    Raises:
        RunbookError: as `openssl_refusal`.
    """
    command = ["cms", "-verify", "-binary", "-inform", "DER", "-in", str(signature), "-content", str(content)]
    command += ["-nointern", "-certfile", str(signer), "-CAfile", str(roots), "-out", os.devnull]
    command += ["-attime", str(int(at.timestamp()))] if at else ["-no_check_time"]
    return openssl_refusal(command)


def stamped_at(content: bytes) -> datetime:
    """The time in a token (UTC, whole seconds). Raises ValueError if it is not a token.

    Only TSTInfo is read. The authority does not sign the rest (the answer's status, the list of digest algorithms), so
    whoever has the file could write another time there.

    TimeStampResp → token → SignedData → encapContentInfo → TSTInfo → genTime (RFC 3161, 2.4.2; RFC 5652, 5.1).
    """
    try:
        inside = next(_elements(content))[1]
        for number in (1, 1, 0, 2, 1, 0, 0):
            inside = list(_elements(inside))[number][1]
        tag, text = list(_elements(inside))[4]
    except (IndexError, StopIteration):
        raise ValueError("not a time stamp") from None
    found = _TIME.fullmatch(text)
    if tag != _GENERALIZED_TIME or found is None:
        raise ValueError("the time stamp has no time")
    return datetime.strptime(found[1].decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER element in a sequence of them. Raises ValueError."""
    at = 0
    while at < len(content):
        tag, length = content[at], int.from_bytes(content[at + 1 : at + 2])
        at += 2
        if length > 0x7F:
            more = length - 0x80
            length = int.from_bytes(content[at : at + more])
            at += more
        if at + length > len(content):
            raise ValueError("the time stamp is truncated")
        yield tag, content[at : at + length]
        at += length


def stamp_refused(stamp: Path, over: Sequence[str], roots: Path, *, at: datetime | None = None) -> str:
    """Why openssl refuses a token; empty if it accepts it.

    Args:
        over: what the token is over, as openssl takes it: `-data FILE`, `-digest HEX` or `-queryfile FILE`.
        at: the authority's certificates must be valid at this time. Without one, at the token's own: they may have
            expired since.

    Raises:
        RunbookError: UNREADABLE_FILE if openssl is missing.
    """
    command = ["ts", "-verify", *over, "-in", str(stamp), "-CAfile", str(roots)]
    try:
        at = at or stamped_at(disk.read_file(stamp))
    except ValueError as error:
        return openssl_refusal(command) or str(error)  # openssl says more exactly what is wrong
    return openssl_refusal([*command, "-attime", str(int(at.timestamp()))])
