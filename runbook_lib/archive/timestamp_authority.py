"""The time-stamp authority of an archive (RFC 3161): who it is, a token from it, and whether a token holds.

openssl makes the request and judges the answer, as it does for whoever verifies the archive. (rfc3161-client 1.0.9 does
not read a token whose certificates are not in DER's order, and `openssl ts -reply` itself makes such tokens.)

<archive>/certs/tsa-roots.pem   what the authority's certificates must lead to; the chain names its digest
<archive>/certs/tsa.json        the authority's address
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from runbook_lib import disk
from runbook_lib.archive.signing import CERTS, certificates_pem, openssl
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

ROOTS, SETTINGS = "tsa-roots.pem", "tsa.json"
PATIENCE = 5.0
"""Seconds for one token, from the first packet to the last: a run does not wait for a stamp that can come later."""

LARGEST = 1 << 18
"""Bytes of an answer; a real one has 1 to 10 kB."""

_GENERALIZED_TIME = 0x18
_TIME = re.compile(rb"([0-9]{14})(?:\.[0-9]+)?Z")


@dataclass(frozen=True)
class TimestampAuthority:
    """An address, and the root certificates as they lie in `certs` (PEM)."""

    url: str
    roots: bytes


def configured(archive: Path) -> TimestampAuthority | None:
    """The authority that an archive has; None without one. Raises RunbookError (UNREADABLE_FILE)."""
    certs = archive / CERTS
    try:
        url = json.loads(disk.read_file(certs / SETTINGS, follow=True))["url"]
        return TimestampAuthority(str(url), disk.read_file(certs / ROOTS, follow=True))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise RunbookError(Reason.UNREADABLE_FILE, f"{certs / SETTINGS} or {ROOTS} cannot be read.") from None


def chosen(archive: Path, url: str, roots: Path) -> TimestampAuthority:
    """An authority that an archive is to have: the roots it has already stay, so that older tokens hold.

    It is asked for a token once: what does not work now would not work at night.

    Args:
        url: http or https. http is usual: a token is signed, and an exchanged one is noticed.
        roots: PEM file of the authority's root certificate or certificates.

    Raises:
        RunbookError: BAD_PARAMETER, UNREADABLE_FILE, or NOT_STAMPED with what the authority answered.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise RunbookError(Reason.BAD_PARAMETER, "The authority's address is http(s)://HOST/PATH, without a password.")
    try:
        found = x509.load_pem_x509_certificates(roots.read_bytes())
    except (OSError, ValueError) as error:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{roots} holds no certificates: {error}.") from None
    before = configured(archive)
    known = x509.load_pem_x509_certificates(before.roots) if before else []
    authority = TimestampAuthority(url, certificates_pem(*known, *(one for one in found if one not in known)))
    token(authority, b"a first token, to see whether it works\n")
    return authority


def set_authority(archive: Path, authority: TimestampAuthority) -> None:
    """Write down where the authority is. Its roots come into `certs` with the bag that names them."""
    (archive / CERTS).mkdir(exist_ok=True)
    text = json.dumps({"url": authority.url}, indent=2)
    disk.replace(archive / CERTS / SETTINGS, text.encode() + b"\n")


def token(authority: TimestampAuthority, content: bytes, *, patience: float | None = None) -> bytes:
    """Ask for a token over the SHA-256 of `content`, and check what comes.

    Returns:
        The whole answer (TimeStampResp, DER), as `openssl ts -verify -in` reads it.

    Raises:
        RunbookError: NOT_STAMPED where none came in `patience` (PATIENCE) seconds, or one that is for another request
            (nonce), for other content, or not from this authority (RFC 3161, 2.2 and 2.4.2).
    """
    with tempfile.TemporaryDirectory(prefix="runbook-") as name:
        folder = Path(name)
        data, query, answer, roots = (folder / one for one in ("data", "query", "answer", ROOTS))
        data.write_bytes(content)
        roots.write_bytes(authority.roots)
        # with a nonce; -cert: the token brings the certificates that lead to the root
        why = openssl(["ts", "-query", "-data", str(data), "-sha256", "-cert", "-out", str(query)])
        if not why:
            answer.write_bytes(_post(authority.url, query.read_bytes(), patience or PATIENCE))
            why = _refused(answer, ["-queryfile", str(query)], roots) or stamp_refused(answer, data, roots)
        if why:
            raise RunbookError(Reason.NOT_STAMPED, f"What {authority.url} answers is no time stamp that holds: {why}.")
        return answer.read_bytes()


def stamped_at(content: bytes) -> datetime:
    """The time that a token states (UTC, whole seconds). Raises ValueError where it is none.

    It is looked for where it stands, and nowhere else: what is around TSTInfo (the answer's status, the list of digest
    algorithms) is signed by nobody, and whoever has the file can write another time into it.

    TimeStampResp → token → SignedData → encapContentInfo → TSTInfo → genTime (RFC 3161, 2.4.2; RFC 5652, 5.1).
    """
    try:
        inside = next(_elements(content))[1]
        for number in (1, 1, 0, 2, 1, 0, 0):
            inside = list(_elements(inside))[number][1]
        tag, text = list(_elements(inside))[4]
    except (IndexError, StopIteration):
        raise ValueError("it is no time stamp") from None
    found = _TIME.fullmatch(text)
    if tag != _GENERALIZED_TIME or found is None:
        raise ValueError("it states no time")
    return datetime.strptime(found[1].decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element that stands in a row in DER. Raises ValueError."""
    at = 0
    while at < len(content):
        tag, length = content[at], int.from_bytes(content[at + 1 : at + 2])
        at += 2
        if length > 0x7F:
            more = length - 0x80
            length = int.from_bytes(content[at : at + more])
            at += more
        if at + length > len(content):
            raise ValueError("it is cut off")
        yield tag, content[at : at + length]
        at += length


def stamp_refused(stamp: Path, content: Path, roots: Path) -> str:
    """Why openssl does not accept a token over `content`; empty where it does.

    The authority's certificates must be valid at the token's own time: they may have expired since.

    Raises:
        RunbookError: UNREADABLE_FILE where there is no openssl.
    """
    return _refused(stamp, ["-data", str(content)], roots)


def _refused(stamp: Path, over: list[str], roots: Path) -> str:
    command = ["ts", "-verify", *over, "-in", str(stamp), "-CAfile", str(roots)]
    try:
        at = stamped_at(disk.read_file(stamp))
    except ValueError as error:
        return openssl(command) or str(error)  # openssl says what else it is
    return openssl([*command, "-attime", str(int(at.timestamp()))])


def _post(url: str, body: bytes, patience: float) -> bytes:
    """One POST within so many seconds. A thread of its own, for no timeout of requests bounds the whole."""
    found: list[bytes | str] = []
    worker = threading.Thread(target=lambda: found.append(_exchange(url, body, patience)), daemon=True)
    worker.start()
    worker.join(patience)
    answer = found[0] if found else f"no answer within {patience:g} seconds"
    if isinstance(answer, str):
        raise RunbookError(Reason.NOT_STAMPED, f"The time-stamp authority {url} gave no time stamp: {answer}.")
    return answer


def _exchange(url: str, body: bytes, patience: float) -> bytes | str:
    """The answer, or in words why there is none."""
    import requests  # most archives have no authority
    import urllib3

    headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
    try:
        with requests.post(
            url, data=body, headers=headers, timeout=patience, stream=True, allow_redirects=False
        ) as response:
            if response.status_code != 200:
                return f"HTTP {response.status_code}"
            content = response.raw.read(LARGEST + 1, decode_content=True)
    except requests.Timeout:
        return f"no answer within {patience:g} seconds"
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        return f"it cannot be reached ({type(error).__name__})"
    return content if len(content) <= LARGEST else "its answer has no end"
