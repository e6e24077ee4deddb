"""Every file of a public corpus is a row or a reason, and says what `openssl x509` says of it.

The corpus is what pyca has collected to test itself (`cryptography_vectors` on PyPI), and the CAs in `certifi`.
`make test` asks openssl about every certificate that is unusual, and a sample of all other certificates and files; with
RUNBOOK_SOAK about every one.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import certifi
import cryptography
import cryptography_vectors
import pytest

from runbook_lib.credentials.armour import FileItem
from runbook_lib.credentials.fields import Fields, read_fields, tolerant
from runbook_lib.credentials.folder import look_into
from runbook_lib.errors import Reason
from tests.soak import SOAK

CORPUS = Path(cryptography_vectors.__file__).parent
FILES = sorted(file for file in CORPUS.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc"))
EVERY = 1 if SOAK else 16

_NAME = (
    "openssl refuses the whole certificate for a name in it; its dates and serial number are there, and pyca reads them"
)
DISAGREEMENTS = {
    "cryptography_vectors/x509/custom/invalid_utf8_common_name.pem 1": _NAME,
    "cryptography_vectors/x509/custom/long-form-name-attribute.pem 1": _NAME,
    "cryptography_vectors/x509/custom/name_attribute_unsupported_tag.pem 1": _NAME,
}
"""Certificates of which openssl says something else, and why. Besides them, it opens a P12 whose password is empty; the
row of such a file says that it was not opened."""


class Openssl(NamedTuple):
    serial: int
    sha256: str
    end: datetime | None


def openssl(data: bytes) -> Openssl | None:
    """What `openssl x509` says of a file; None where it reads no certificate."""
    # left to guess the form, it searches half a megabyte of JSON for minutes
    command = ["openssl", "x509", "-inform", "DER" if data[:1] == b"0" else "PEM", "-noout"]
    command += ["-serial", "-enddate", "-fingerprint", "-sha256"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60)
    said = done.stdout.decode()
    serial, sha256 = re.search(r"^serial=(-?)(\w+)", said, re.MULTILINE), re.search(r"Fingerprint=([\w:]+)", said)
    if not serial or not sha256:
        return None
    end = re.search(r"^notAfter=(\w+ +\d+ [\d:]+ \d+) GMT", said, re.MULTILINE)
    return Openssl(
        int(serial[1] + serial[2], 16),
        sha256[1].replace(":", "").lower(),
        datetime.strptime(end[1], "%b %d %H:%M:%S %Y").replace(tzinfo=UTC) if end else None,
    )


def ours(read: Fields) -> Openssl:
    return Openssl(int(read.serial_hex or "-1", 16), read.sha256, read.not_after)


class Row(NamedTuple):
    file: Path
    found: FileItem
    read: Fields | None


def rows(file: Path) -> list[Row]:
    with tolerant():
        return [
            Row(file, one, read_fields(one.certificate, one.der) if one.der else None)
            for one in look_into(str(file), None)
        ]


@pytest.fixture(scope="module")
def table() -> list[Row]:
    return [row for file in (*FILES, Path(certifi.where())) for row in rows(file)]


def test_the_corpus_is_the_one_of_the_cryptography_that_is_locked():
    assert cryptography_vectors.__version__ == cryptography.__version__
    assert len(FILES) > 2000


def test_every_file_is_a_row_or_a_reason(table: list[Row]):
    assert {row.file for row in table} >= set(FILES)
    assert all(row.found.reason or row.read for row in table)
    assert all(row.found.why or row.found.form == "P12" for row in table if row.found.reason)


@pytest.mark.interop
def test_every_certificate_has_the_serial_the_digest_and_the_end_that_openssl_reads(table: list[Row]):
    certificates = [row for row in table if row.read]
    unusual = [row for row in certificates if row.found.reason or (row.read and row.read.unusual)]
    asked = unusual + [row for row in certificates if row not in unusual][::EVERY]
    seen = {row.file for row in certificates}
    files = [file for file in FILES if file not in seen][::EVERY] + sorted({row.file for row in unusual})
    with ThreadPoolExecutor(2) as pool:
        theirs = list(pool.map(lambda row: openssl(row.found.der), asked))
        first = list(pool.map(lambda file: openssl(file.read_bytes()), files))
    differences: dict[str, tuple[object, object]] = {}
    for row, said in zip(asked, theirs, strict=True):
        assert row.read
        if said != ours(row.read):
            differences[f"{row.file.relative_to(CORPUS.parent)} {row.found.number}"] = (said, ours(row.read))
    for file, said in zip(files, first, strict=True):
        ours_read = {ours(row.read) for row in certificates if row.file == file and row.read}
        closed = any(row.found.reason is Reason.P12_NOT_OPENED for row in table if row.file == file)
        if said is not None and said not in ours_read and not closed:
            differences[str(file.relative_to(CORPUS.parent))] = (said, ours_read)
    print(
        f"{len({row.file for row in table})} files, {len(certificates)} certificates in {len(seen)}, {len(asked)} "
        "asked, "
        f"{sum(said is not None for said in theirs)} read by openssl, {len(differences)} disagreements; "
        f"{Counter(row.read.unusual for row in certificates if row.read and row.read.unusual)}"
    )
    for name, pair in differences.items():
        print(name, *pair, sep="\n  ")
    assert set(differences) == set(DISAGREEMENTS)
