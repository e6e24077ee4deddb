"""Forgers who have more than an editor: a key of the same CA, a file that nobody signs, what a system trusts."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runbook_lib import disk
from runbook_lib.archive import entries, signing
from runbook_lib.archive.chain import TAGS, signature_of
from runbook_lib.archive.timestamps import stamp_of
from runbook_lib.archive.verify import verify_archive
from tests.archive import tsa
from tests.archive.bags import AT, ENVIRON, REFERENCE, places, put, sign, small, stamp_from_now_on, started, verify_sh

pytestmark = pytest.mark.interop


class CompanyCA:
    """A CA that certifies the archive's signer, and others too."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = self.certificate("Company CA", self.key.public_key(), ca=True)

    def certificate(self, name: str, public: ec.EllipticCurvePublicKey, *, ca: bool = False) -> x509.Certificate:
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, "Company CA"))
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(AT - timedelta(days=9))
        made = made.not_valid_after(AT + timedelta(days=900))
        constraints = x509.BasicConstraints(ca=ca, path_length=None)
        return made.add_extension(constraints, critical=True).sign(self.key, hashes.SHA256())


def write_anew(bag: Path, signer: signing.Signer) -> None:
    """Edit a bag so that its digests hold, and sign it."""
    (bag / "data/run.json").write_bytes(b'{"forged": true}\n')
    for name in ("manifest-sha256.txt", TAGS):
        paths = [line[66:] for line in (bag / name).read_text().splitlines()]
        (bag / name).write_text("".join(f"{disk.sha256((bag / path).read_bytes())}  {path}\n" for path in paths))
    signature_of(bag).write_bytes(signer.sign((bag / TAGS).read_bytes()))


def test_another_certificate_of_the_same_ca_signs_nothing_wherever_it_is_put(
    tmp_path: Path, archive: Path, tools: Path
) -> None:
    company = CompanyCA()
    archive.mkdir()
    asked = signing.request_signer(archive, passphrase=REFERENCE, at=AT, environ=ENVIRON)
    public = x509.load_pem_x509_csr(asked.read_bytes()).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    brought = tmp_path / "brought.pem"
    brought.write_bytes(signing.certificates_pem(company.certificate("Signer", public), company.root))
    signer = signing.accept(archive, brought, ENVIRON)
    entries.begin_signing(archive, signer, at=AT, environ=ENVIRON)
    last = put(archive).folder
    assert verify_archive(archive).findings == ()
    assert verify_sh(archive, tools).returncode == 0
    key = ec.generate_private_key(ec.SECP256R1())
    colleague = signing.Signer(key, (company.certificate("Colleague", key.public_key()),))
    write_anew(last, colleague)
    (archive / ".head").unlink()
    file = archive / f"certs/{signer.fingerprint}.pem"
    for content in (file.read_bytes(), file.read_bytes() + signing.certificates_pem(*colleague.certificates)):
        file.write_bytes(content)
        assert any("its signature does not verify" in one for one in verify_archive(archive).findings)
        assert "its signature does not verify" in verify_sh(archive, tools).stdout


def test_what_the_machine_trusts_is_not_what_the_archive_trusts(
    tmp_path: Path, archive: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(archive, signed=True, bags=2)
    store = tmp_path / "store"
    store.mkdir()
    shutil.copyfile(archive / "certs/roots.pem", store / "roots.pem")
    subprocess.run(["openssl", "rehash", str(store)], check=True)
    (archive / "certs/roots.pem").write_bytes(signing.certificates_pem(CompanyCA().root))
    monkeypatch.setenv("SSL_CERT_DIR", str(store))
    monkeypatch.setenv("SSL_CERT_FILE", str(store / "roots.pem"))
    signature, bag = signature_of(places(archive)[-1]), places(archive)[-1]
    stock = [
        "openssl",
        "cms",
        "-verify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        str(signature),
        "-content",
        str(bag / TAGS),
    ]
    stock += ["-no_check_time", "-CAfile", str(archive / "certs/roots.pem"), "-out", os.devnull]
    assert subprocess.run(stock, capture_output=True).returncode == 0  # openssl by itself takes it
    assert any("its signature does not verify" in one for one in verify_archive(archive).findings)
    command = [
        "env",
        "-i",
        f"PATH={tools}",
        f"SSL_CERT_DIR={store}",
        f"SSL_CERT_FILE={store}/roots.pem",
        "sh",
        "verify.sh",
    ]
    seen = subprocess.run(command, cwd=archive, capture_output=True, text=True)
    assert (seen.returncode, "its signature does not verify" in seen.stdout) == (1, True)


def test_an_archive_that_was_sealed_anew_is_known_by_its_first_signer(archive: Path, tools: Path) -> None:
    first = sign(archive, AT - timedelta(days=2)).fingerprint
    sign(archive, AT)
    put(archive)
    assert verify_archive(archive).signer == first
    assert f"First signer: {first}\n" in verify_sh(archive, tools).stdout
    roots = (archive / "certs/roots.pem").read_bytes()
    shutil.rmtree(archive)
    forger = small(archive, signed=True, bags=3)
    # the true roots come first: who looks at the first certificate of the file sees nothing
    (forger / "certs/roots.pem").write_bytes(roots + (forger / "certs/roots.pem").read_bytes())
    assert verify_archive(forger).findings == ()
    assert verify_archive(forger).signer not in ("", first)
    seen = verify_sh(forger, tools)
    assert (seen.returncode, first in seen.stdout) == (0, False)


def der(tag: int, content: bytes) -> bytes:
    assert len(content) < 1 << 16
    return bytes([tag, 0x82]) + len(content).to_bytes(2) + content


@pytest.mark.parametrize("lie", [b"\x18\x0f20210101000000Z", b"\nTime stamp: Jan  1 00:00:00 2021 GMT\n"])
def test_a_time_that_nobody_signed_is_not_the_time_of_a_stamp(
    tmp_path: Path, archive: Path, tools: Path, lie: bytes
) -> None:
    """The answer's status stands before the token, and is no part of what the authority signs."""
    with tsa.authority(tmp_path / "tsa", since=datetime(2020, 1, 1, tzinfo=UTC)) as source:
        sign(archive)
        stamp_from_now_on(archive, source)
        stamp = stamp_of(put(archive).folder)
    before = verify_archive(archive).stamped
    content = stamp.read_bytes()
    head, status = content[:4], b"\x30\x03\x02\x01\x00"
    assert (head[:2], content[4:9]) == (b"\x30\x82", status)
    told = der(0x30, status[2:] + der(0x30, der(0x0C, lie)))
    stamp.write_bytes(der(0x30, told + content[9:]))
    data = ["-data", str(signature_of(stamp.with_suffix(""))), "-in", str(stamp)]
    stock = ["openssl", "ts", "-verify", *data, "-CAfile", str(source.roots)]
    assert subprocess.run(stock, capture_output=True).returncode == 0  # openssl takes it: the token itself holds
    audit = verify_archive(archive)
    assert (audit.findings, audit.stamped) == ((), before)
    seen = verify_sh(archive, tools).stdout
    assert f"Time-stamped: 3 bags, {before[0]:%Y-%m-%dT%H:%M:%SZ} to {before[-1]:%Y-%m-%dT%H:%M:%SZ}" in seen
    assert "2021" not in seen


def test_a_file_that_verify_sh_may_not_read_does_not_pass_for_none(archive: Path, tools: Path) -> None:
    small(archive, signed=True, bags=2)
    added = places(archive)[-1] / "data/added"
    added.write_bytes(b"")
    (tools / "sha256sum").unlink()
    real = shutil.which("sha256sum")
    # as for another user than root, whom the tests may run as
    (tools / "sha256sum").write_text(
        f"""#!/bin/sh
        for one in "$@"; do case $one in
            *added) echo "$one: Permission denied" >&2; bad=1 ;;
            *) {real} "$one" ;;
        esac; done
        [ "$#" -gt 0 ] || exec {real}
        exit ${{bad:-0}}
        """
    )
    (tools / "sha256sum").chmod(0o755)
    seen = verify_sh(archive, tools)
    assert (seen.returncode, "cannot be read" in seen.stdout) == (1, True), seen.stdout
    added.unlink()
    assert verify_sh(archive, tools).returncode == 0


def test_the_writers_own_files_lead_nobody_out_of_the_archive(tmp_path: Path, archive: Path) -> None:
    """They are no evidence, and whoever can write here can edit them."""
    small(archive, signed=True, bags=2)
    outside = tmp_path / "outside"
    (outside / "bag").mkdir(parents=True)
    (outside / TAGS).write_bytes(b"")
    head = (archive / ".head").read_text()
    sealed = head.removeprefix("head ").strip()
    for where in (str(outside), ".staging/../../outside", "../outside"):
        (archive / ".head").write_text(f"{head}next {sealed} {where}\n")
        put(archive, at=AT + timedelta(hours=1))
        assert (outside / "bag").is_dir(), where
        head = (archive / ".head").read_text()
        sealed = head.removeprefix("head ").strip()
    with tsa.authority(tmp_path / "tsa") as source:
        stamp_from_now_on(archive, source)
        (archive / ".unstamped").write_text("../outside\n/etc\n")
        put(archive, at=AT + timedelta(hours=2))
        put(archive, at=AT + timedelta(hours=3))
    assert not stamp_of(outside).exists()
    left = archive / ".staging/left"
    told = started().model_dump_json()
    for other in (told.replace('"demo"', '"/../../../../../outside/demo"'), told.replace('Z"', '"')):
        assert other != told
        left.mkdir()
        (left / "started.json").write_text(other)
        put(archive, at=AT + timedelta(hours=4))
    assert sorted(one.name for one in outside.iterdir()) == ["bag", TAGS]
    assert verify_archive(archive).findings == ()
