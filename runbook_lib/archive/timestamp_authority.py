"""The time-stamp authority of an archive (RFC 3161): its settings, requests for tokens, and their verification.

openssl makes the request and checks the answer, as it does for whoever verifies the archive. (rfc3161-client 1.0.9 does
not read a token whose certificates are not in DER's order, and `openssl ts -reply` itself makes such tokens.)

<archive>/certs/tsa-roots.pem   the roots that the authority's certificates must lead to; the chain names its digest
<archive>/certs/tsa.json        the authority's address
"""

from __future__ import annotations

import json
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runbook_lib import disk
from runbook_lib.archive.openssl import CERTS, TSA_ROOTS, openssl_refusal, stamp_refused
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

SETTINGS = "tsa.json"
PATIENCE = 5.0
"""Most seconds for a token, from the first packet to the last. A time stamp may come later, so a run does not wait."""

LARGEST = 1 << 18
"""Most bytes of an answer; a real one has 1 to 10 kB."""


@dataclass(frozen=True)
class TimestampAuthority:
    """The address and the root certificates (PEM)."""

    url: str
    roots: bytes


def configured(archive: Path) -> TimestampAuthority | None:
    """The authority of an archive; None without one. Raises RunbookError (UNREADABLE_FILE)."""
    certs = archive / CERTS
    try:
        url = json.loads(disk.read_file(certs / SETTINGS, follow=True))["url"]
        return TimestampAuthority(str(url), disk.read_file(certs / TSA_ROOTS, follow=True))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"Cannot read {certs / SETTINGS} or {TSA_ROOTS}.",
            remedy="Restore both from a backup, or choose the authority again with `runbook archive authority`.",
            title="The time-stamp authority's settings cannot be read",
        ) from None


def required(archive: Path) -> TimestampAuthority:
    """The authority of an archive. Raises RunbookError (BAD_PARAMETER) without one; UNREADABLE_FILE."""
    source = configured(archive)
    if source is None:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{archive} has no time-stamp authority.",
            remedy="Choose one: runbook archive authority DIR URL --roots FILE",
            title="The archive has no time-stamp authority",
        )
    return source


def chosen(archive: Path, url: str, roots: Path) -> TimestampAuthority:
    """The authority to use from now on. Requests one token as a test.

    The archive's present roots are kept, so that older tokens still verify.

    Args:
        url: http or https. http is usual, because a token is signed.
        roots: PEM file of the authority's root certificates.

    Raises:
        RunbookError: BAD_PARAMETER, UNREADABLE_FILE, or NOT_STAMPED with the authority's answer.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "It must be http(s)://HOST/PATH, without a password.",
            title="The authority's address is not valid",
        )
    from cryptography import x509  # imported here, so that a verification starts without it

    from runbook_lib.archive.signing import certificates_pem

    try:
        found = x509.load_pem_x509_certificates(roots.read_bytes())
    except (OSError, ValueError) as error:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"Cannot read certificates from {roots}: {error}.",
            remedy="Download the root certificate (PEM) from the authority's web site.",
            title="The root certificates cannot be read",
        ) from None
    before = configured(archive)
    known = x509.load_pem_x509_certificates(before.roots) if before else []
    authority = TimestampAuthority(url, certificates_pem(*known, *(root for root in found if root not in known)))
    token(authority, b"a first token, to see whether it works\n")
    return authority


def set_authority(archive: Path, authority: TimestampAuthority) -> None:
    """Write the authority's address. Its roots come into `certs` with the bag that names them."""
    (archive / CERTS).mkdir(exist_ok=True)
    text = json.dumps({"url": authority.url}, indent=2)
    disk.replace(archive / CERTS / SETTINGS, text.encode() + b"\n")


def token(authority: TimestampAuthority, content: bytes, *, patience: float | None = None) -> bytes:
    """Request a token over the SHA-256 of `content` and check it.

    Returns:
        The whole answer (TimeStampResp, DER), as `openssl ts -verify -in` reads it.

    Raises:
        RunbookError: NOT_STAMPED if none arrives in `patience` (PATIENCE) seconds, or if it is for another request
            (nonce), for other content, or not from this authority (RFC 3161, 2.2 and 2.4.2).
    """
    with tempfile.TemporaryDirectory(prefix="runbook-") as name:
        folder = Path(name)
        data, query, answer, roots = (folder / file for file in ("data", "query", "answer", TSA_ROOTS))
        data.write_bytes(content)
        roots.write_bytes(authority.roots)
        # with a nonce; -cert: the token holds the certificates that lead to the root
        why = openssl_refusal(["ts", "-query", "-data", str(data), "-sha256", "-cert", "-out", str(query)])
        if not why:
            answer.write_bytes(_post(authority.url, query.read_bytes(), patience or PATIENCE))
            why = stamp_refused(answer, ["-queryfile", str(query)], roots)
            why = why or stamp_refused(answer, ["-data", str(data)], roots)
        if why:
            raise RunbookError(Reason.NOT_STAMPED, f"{authority.url} sent an invalid time stamp: {why}.")
        return answer.read_bytes()


def _post(url: str, body: bytes, patience: float) -> bytes:
    """POST within `patience` seconds, in a separate thread: no timeout of requests bounds the whole exchange."""
    found: list[bytes | str] = []
    worker = threading.Thread(target=lambda: found.append(_exchange(url, body, patience)), daemon=True)
    worker.start()
    worker.join(patience)
    answer = found[0] if found else f"no answer within {patience:g} s"
    if isinstance(answer, str):
        raise RunbookError(Reason.NOT_STAMPED, f"No time stamp from {url}: {answer}.")
    return answer


def _exchange(url: str, body: bytes, patience: float) -> bytes | str:
    """The answer; or, as text, why there is none."""
    import requests  # imported here, because most archives have no authority
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
        return f"no answer within {patience:g} s"
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        return f"it cannot be reached ({type(error).__name__})"
    return content if len(content) <= LARGEST else f"the answer is larger than {LARGEST:,} bytes"
