"""Other programs read what `pkcs12.write` writes, in both profiles and for both kinds of key, and refuse its twins."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from runbook_lib.credentials.keys import KeyKind
from runbook_lib.credentials.pkcs12 import Profile, write_p12
from tests.credentials.pki import INTERMEDIATE, NOW, OTHER_PASSWORD, PASSWORD, ROOT, identity

pytestmark = pytest.mark.interop

FRIENDLY_NAME = "Demo API Service User"


@dataclass(frozen=True)
class Case:
    folder: Path
    profile: Profile
    kind: KeyKind
    fingerprint: str

    def run(self, *command: str, password: str = PASSWORD.reveal()) -> subprocess.CompletedProcess[str]:
        """Run a program beside the files. The password travels in its environment, never in its arguments."""
        environ = {**os.environ, "P12": password, "LC_ALL": "C", "HOME": str(self.folder)}
        return subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)

    def openssl(self, file: str = "identity.p12", *options: str, **kwargs: str) -> subprocess.CompletedProcess[str]:
        return self.run("openssl", "pkcs12", "-in", file, "-passin", "env:P12", *options, **kwargs)

    def keytool(self, file: str = "identity.p12", **kwargs: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            "keytool", "-J-Duser.language=en", "-J-Xshare:auto", "-J-XX:TieredStopAtLevel=1",
            "-list", "-v", "-storetype", "PKCS12", "-keystore", file, "-storepass:env", "P12", **kwargs,
        )  # fmt: skip


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


@pytest.fixture(
    scope="module",
    params=[(profile, kind) for profile in Profile for kind in (KeyKind.RSA_2048, KeyKind.P256)],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def case(request, tmp_path_factory):
    profile, kind = request.param
    folder = tmp_path_factory.mktemp("p12")
    given = identity(kind)
    data = write_p12(given, PASSWORD, profile=profile, friendly_name=FRIENDLY_NAME)
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    (folder / "identity.p12").write_bytes(data)
    (folder / "changed.p12").write_bytes(changed)
    (folder / "cert.pem").write_bytes(_pem(given.certificate))
    (folder / "chain.pem").write_bytes(_pem(*given.chain))
    (folder / "root.pem").write_bytes(_pem(ROOT.certificate))
    fingerprint = given.certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return Case(folder, profile, kind, fingerprint)


def test_openssl_opens_it_without_its_legacy_provider(case):
    run = case.openssl("identity.p12", "-info", "-noout")
    assert run.returncode == 0, run.stderr
    expected = "pbeWithSHA1And3-KeyTripleDES-CBC" if case.profile is Profile.COMPAT else "AES-256-CBC"
    assert expected in run.stderr
    assert "legacy" not in run.stderr.lower()
    rounds = {int(found) for found in re.findall(r"Iteration (\d+)", run.stderr)}
    assert max(rounds) <= 300_000


def test_openssl_finds_key_certificate_chain_and_friendly_name_in_it(case):
    # the key comes out under a password of its own: no plaintext key, not even here
    run = case.openssl("identity.p12", "-passout", "env:P12")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("BEGIN CERTIFICATE") == 3
    assert run.stdout.count("BEGIN ENCRYPTED PRIVATE KEY") == 1
    assert f"friendlyName: {FRIENDLY_NAME}" in run.stdout


@pytest.mark.parametrize(("file", "password"), [("identity.p12", OTHER_PASSWORD), ("changed.p12", PASSWORD)])
def test_openssl_refuses_a_wrong_password_and_a_changed_byte(case, file, password):
    assert case.openssl(file, "-info", "-noout", password=password.reveal()).returncode != 0


def test_java_lists_one_private_key_with_its_whole_chain(case):
    run = case.keytool()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Your keystore contains 1 entry" in run.stdout
    assert f"Alias name: {FRIENDLY_NAME.lower()}" in run.stdout
    assert "Entry type: PrivateKeyEntry" in run.stdout
    assert "Certificate chain length: 3" in run.stdout
    assert case.fingerprint in run.stdout


def test_java_refuses_a_wrong_password_and_a_changed_byte(case):
    assert case.keytool(password=OTHER_PASSWORD.reveal()).returncode != 0
    assert case.keytool("changed.p12").returncode != 0


def _verify(case: Case, *options: str, purpose: str = "sslclient") -> subprocess.CompletedProcess[str]:
    moment = str(int(NOW.timestamp()))
    return case.run(
        "openssl", "verify", "-purpose", purpose, "-attime", moment, "-CAfile", "root.pem", *options, "cert.pem"
    )


def test_openssl_verifies_the_certificate_through_the_chain_and_not_without_it(case):
    assert _verify(case, "-untrusted", "chain.pem").stdout == "cert.pem: OK\n"
    without = _verify(case)
    assert without.returncode != 0
    assert "unable to get local issuer certificate" in without.stdout + without.stderr
    (case.folder / "intermediate.pem").write_bytes(_pem(INTERMEDIATE.certificate))
    assert _verify(case, "-untrusted", "intermediate.pem").returncode == 0


def test_openssl_would_not_take_it_for_a_server(case):
    assert _verify(case, "-untrusted", "chain.pem", purpose="sslserver").returncode != 0
