"""Inventory at scale: folders of PEM and of P12 files, and many service users, against what is commonly done.

The quick sizes are too small for the claims: starting a process on each core is most of their cost.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    pkcs12,
)

from runbook_lib.clock import SystemClock
from runbook_lib.credentials.fields import describe_key
from runbook_lib.credentials.keys import KeyKind, generate
from runbook_lib.digicert.client import CERTIFICATES, ME
from runbook_lib.digicert.environments import Environment
from runbook_lib.inventories.accounts import ApiKeyOwner, ask_all
from runbook_lib.inventories.folders import read_into_table
from runbook_lib.inventories.health import Limits
from runbook_lib.sandbox import start, stop
from runbook_lib.secrets import Secret
from tests.bench.ratio import Curve, Ratio
from tests.conftest import Sandbox, read_env
from tests.credentials.pki import CHAIN, INTERMEDIATE, NOW, Authority, name

if sys.platform == "linux":
    CORES = len(os.sched_getaffinity(0))
else:
    CORES = os.cpu_count() or 1
PASSWORD = Secret("Zq7mT2xW9vKc4RbY8nHd3L", "bench")
LATENCY_SECONDS = 0.05
PER_SECOND, CONNECTIONS = 600, 40


def measure(quick: bool) -> list[Ratio | Curve]:
    with tempfile.TemporaryDirectory() as place:
        return [*pem(Path(place), quick), *p12(Path(place), quick), *service_users(Path(place), quick)]


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def between(pairs: int, ours: Callable[[], Any], *theirs: Callable[[], Any]) -> tuple[tuple[float, ...], ...]:
    """Seconds of ours so many times, and beside each of them those of every other: the mean of just before and just
    after, since a machine is never as quiet as it was a minute ago."""
    before = [seconds(one) for one in theirs]
    rows = []
    for _ in range(pairs):
        took = seconds(ours)
        after = [seconds(one) for one in theirs]
        rows.append((took, *((early + late) / 2 for early, late in zip(before, after, strict=True))))
        before = after
    return tuple(zip(*rows, strict=True))


def take(folder: Path, password: Secret | None = None) -> int:
    """Our way: from the folder to both tables on disk; gives the number of rows."""
    limits = Limits.days(SystemClock().now(), due=90, urgent=30)
    with tempfile.TemporaryDirectory() as target:
        summary, _ = read_into_table([str(folder)], Path(target), limits, password=password)
    return summary.rows


def shared_out(work: Callable[[list[Any]], None], items: list[Any]) -> None:
    """The bare way: nothing but the work, shared out once to a process on each core."""
    with multiprocessing.get_context("fork").Pool(CORES) as pool:
        pool.map(work, [items[number::CORES] for number in range(CORES)], chunksize=1)


# --- PEM --------------------------------------------------------------------------------------------------------------


def pem(place: Path, quick: bool) -> Iterator[Ratio | Curve]:
    count, pairs, looped = (4_000, 2, 30) if quick else (100_000, 7, 300)
    folder = place / "pem"
    files = _write_pem(folder, count)
    ours, loops, bare = between(
        pairs,
        partial(_rows, folder, count),
        partial(_openssl, files[:looped]),
        partial(shared_out, _parse, files),
    )
    loops = tuple(one / looped * count for one in loops)
    name = f"{count:,} different PEM files to the finished table"
    yield Ratio(
        f"{name}, against openssl",
        ours,
        loops,
        500,
        "at least",
        f"`openssl x509` once for each file; measured on {looped} before and after each of ours, and multiplied",
    )
    yield Ratio(
        f"{name}, against the bare parse",
        ours,
        bare,
        1.3,
        "at most",
        f"pyca: read the file, the same fields, nothing else, on the same {CORES} cores, before and after each of ours",
    )
    sizes = (count // 10, count // 3, count)
    costs = []
    for size in sizes:
        part = place / f"pem-{size}"
        for number, file in enumerate(files[:size]):
            link = part / f"{number // 1000:03}" / Path(file).name
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, link)
        costs.append(seconds(partial(_rows, part, size)))
    yield Curve("Inventory of a folder", "PEM file", sizes, tuple(costs))


def _rows(folder: Path, count: int, password: Secret | None = None) -> None:
    rows = take(folder, password)
    assert rows >= count, rows


def _write_pem(folder: Path, count: int) -> list[str]:
    """Files of certificates that are all different, in name, key, dates and serial number; a few CAs issued them."""
    for number in range(0, count, 1000):
        (folder / f"{number // 1000:03}").mkdir(parents=True)
    files = [str(folder / f"{number // 1000:03}" / f"{number:06}.pem") for number in range(count)]
    shared_out(_write, list(enumerate(files)))
    return files


ISSUERS = [Authority.make(f"Example CA {number}", INTERMEDIATE) for number in range(5)]


def _write(files: list[tuple[int, str]]) -> None:
    for number, file in files:
        start = NOW - timedelta(seconds=secrets.randbelow(300 * 86400))
        end = start + timedelta(days=secrets.choice([90, 200, 397]), seconds=secrets.randbelow(86400))
        one = ISSUERS[number % 5].issue(_key(number), _subject(number), start=start, end=end)
        Path(file).write_bytes(one.public_bytes(Encoding.PEM))


def _key(number: int) -> CertificatePublicKeyTypes:
    """Half RSA 2048, half P-256. Nobody checks a modulus before using it, so a random number will do, at no cost."""
    if number % 2:
        return generate(KeyKind.P256).public_key()
    return rsa.RSAPublicNumbers(65537, secrets.randbits(2048) | 1 << 2047 | 1).public_key()


def _subject(number: int) -> x509.Name:
    oid = x509.NameOID
    return x509.Name(
        [
            x509.NameAttribute(oid.COUNTRY_NAME, "US"),
            x509.NameAttribute(oid.ORGANIZATION_NAME, "Example Ltd"),
            x509.NameAttribute(oid.ORGANIZATIONAL_UNIT_NAME, f"Department {number % 20}"),
            x509.NameAttribute(oid.COMMON_NAME, f"service {number:06}"),
        ]
    )


def _openssl(files: list[str]) -> None:
    for file in files:
        command = ["openssl", "x509", "-in", file, "-noout", "-subject", "-issuer", "-serial", "-dates"]
        subprocess.run([*command, "-fingerprint", "-sha256"], capture_output=True, check=True)


def _parse(files: list[str]) -> None:
    for file in files:
        with open(file, "rb") as stream:  # noqa: PTH123 - as bare as it gets
            one = x509.load_pem_x509_certificate(stream.read())
        _ = (
            one.subject.rfc4514_string(),
            one.issuer.rfc4514_string(),
            one.serial_number,
            one.not_valid_before_utc,
            one.not_valid_after_utc,
            describe_key(one.public_key()),
            hashlib.sha256(one.public_bytes(Encoding.DER)).hexdigest(),
        )


# --- P12 --------------------------------------------------------------------------------------------------------------


def p12(place: Path, quick: bool) -> Iterator[Ratio]:
    count, pairs = (40, 2) if quick else (2_000, 3)
    folder = place / "p12"
    folder.mkdir()
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(16)]
    sealed = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(2048)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(PASSWORD.reveal().encode())
    )
    for number in range(count):
        key = keys[number % 16]
        one = INTERMEDIATE.issue(key.public_key(), name(f"p12 {number}"))
        data = pkcs12.serialize_key_and_certificates(b"x", key, one, CHAIN, sealed)
        (folder / f"{number:05}.p12").write_bytes(data)
    plain = [key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) for key in keys]
    ours, bare = between(
        pairs,
        partial(_rows, folder, 3 * count, PASSWORD),
        partial(shared_out, _check, [plain[number % 16] for number in range(count)]),
    )
    yield Ratio(
        f"{count:,} P12 files opened and checked: key, certificate, chain",
        ours,
        bare,
        1.2,
        "at most",
        f"OpenSSL's check of the same RSA 2048 keys alone, unencrypted in memory, on the same {CORES} cores",
    )


def _check(keys: list[bytes]) -> None:
    for key in keys:
        load_der_private_key(key, None)


# --- service users ----------------------------------------------------------------------------------------------------


@contextmanager
def populated(state: Path, count: int) -> Iterator[Sandbox]:
    """A sandbox with so many service users, which answers each request `LATENCY_SECONDS` late."""
    sandbox = Sandbox(state, read_env(start(state, populate=count)))
    try:
        sandbox.admin("PUT", "/faults", {"rules": [{"fault": "delay_before", "seconds": LATENCY_SECONDS}]})
        yield sandbox
    finally:
        stop(state)


def service_users(place: Path, quick: bool) -> Iterator[Ratio]:
    count, pairs, looped = (60, 2, 10) if quick else (1_000, 3, 60)
    with populated(place / "sandbox", count) as sandbox:
        users = [one for one in sandbox.admin("GET", "/users") if one["role"] == "populated"]
        keys = {f"KEY_{number}": one["api_key"] for number, one in enumerate(users)}
        where = Environment.named("sandbox", environ=sandbox.env)
        asked = [ApiKeyOwner(one, where, f"env:{one}") for one in keys]

        def gather() -> None:
            answers = ask_all(asked, per_second=PER_SECOND, connections=CONNECTIONS, environ=keys)
            assert all(one.problem is None for one in answers)

        def loop() -> None:
            for key in list(keys.values())[:looped]:
                for path in (ME, CERTIFICATES):
                    headers = {"x-api-key": key}
                    requests.get(sandbox.url + path, headers=headers, verify=str(sandbox.ca_file), timeout=60).json()

        ours, loops, most, seen = [], [], 0, 0
        for _ in range(pairs):
            loops.append(seconds(loop) / looped * count)
            before = max((one["number"] for one in sandbox.admin("GET", "/requests")), default=0)
            ours.append(seconds(gather))
            journal = sandbox.admin("GET", f"/requests?after={before}")
            seen += len(journal)
            most = max(most, *Counter(one["time"] for one in journal).values())
    assert most <= PER_SECOND, f"{most} requests in one second, and {PER_SECOND} are allowed"
    assert seen == 2 * count * pairs
    yield Ratio(
        f"{count:,} service users: who they are and their certificates, {1000 * LATENCY_SECONDS:.0f} ms latency",
        tuple(ours),
        tuple(loops),
        20,
        "at least",
        f"a loop of `requests.get`, measured on {looped} and multiplied. Ours: {CONNECTIONS} connections, at most "
        f"{PER_SECOND} a second allowed, {most} seen by the sandbox's journal; {datetime.now(UTC):%Y-%m-%d}",
    )
