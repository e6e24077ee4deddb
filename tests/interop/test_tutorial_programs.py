"""The tutorial's own commands and programs, against the sandbox: a reader who follows them cannot tell the difference.

The sandbox's clock is set to the day the tutorial was written, so that even its dates can stay as printed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import Sandbox

pytestmark = pytest.mark.interop

PROGRAMS = Path(__file__).parent / "tutorial"
PASSWORD = "TutorialPassword0123456789"
REFUSED = {"errors": [{"code": "AUTHORIZATION_ERROR", "message": "No authentication data provided"}]}


JACKSON = [Path(f"/usr/share/java/jackson-{part}.jar") for part in ("annotations", "core", "databind")]


@dataclass
class Reader:
    """Somebody who walks through the tutorial in a home of their own."""

    sandbox: Sandbox
    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(exist_ok=True)
        trust = str(self.sandbox.ca_file)
        # nothing of this machine's environment but the programs: it may name other trust and proxies
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "BASE_URL": self.sandbox.url,
            "CLIENTAUTH_URL": self.sandbox.clientauth_url,
            "SERVICE_USER_TOKEN": self.sandbox.api_key,
            "YOUR_PASSWORD": PASSWORD,
            "MORE": "",
            "CURL_CA_BUNDLE": trust,
            "REQUESTS_CA_BUNDLE": trust,
        } | self.env

    @property
    def folder(self) -> Path:
        return self.home / ".digicert" / "certs"

    @property
    def response(self) -> dict[str, object]:
        answer: dict[str, object] = json.loads((self.folder / "response.json").read_text())
        return answer

    def run(self, program: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of the tutorial's programs, in the folder its first step makes."""
        command = [sys.executable] if program.endswith(".py") else ["sh"]
        return self._run([*command, str(PROGRAMS / program)], env)

    def java(
        self, trust_store: Path, program: str = "Step5Verify.java", **env: str
    ) -> subprocess.CompletedProcess[str]:
        options = [f"-Djavax.net.ssl.trustStore={trust_store}", "-Djavax.net.ssl.trustStorePassword=changeit"]
        jars = ":".join(str(path) for path in JACKSON)
        return self._run(["java", *options, "-cp", jars, str(PROGRAMS / program)], env)

    def walk(self, **env: str) -> None:
        """Steps 1 to 4."""
        for step in ("step1_csr.sh", "step2_request.sh", "step3_extract.sh", "step4_p12.sh"):
            done = self.run(step, **env)
            assert done.returncode == 0, done.stderr

    def enable(self, enabled: bool) -> dict[str, object]:
        answer: dict[str, object] = json.loads(self.run("step6_enable.sh", ENABLED=str(enabled).lower()).stdout)
        return answer

    def _run(self, command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        cwd = self.folder if self.folder.exists() else self.home
        return subprocess.run(
            command, cwd=cwd, env=self.env | env, capture_output=True, text=True, timeout=60, check=False
        )


def outcome(run: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """Status and the rest of what a step 5 program printed."""
    assert run.returncode == 0, run.stderr
    lines = run.stdout.strip().splitlines()
    status = next(line for line in lines if line.startswith("Status Code: "))
    return int(status.removeprefix("Status Code: ")), "\n".join(line for line in lines if line != status)


@pytest.fixture
def reader(fresh_sandbox: Callable[..., Sandbox], tmp_path: Path) -> Reader:
    return _reader(fresh_sandbox(), tmp_path / "home")


@pytest.fixture
def strict_reader(fresh_sandbox: Callable[..., Sandbox], tmp_path: Path) -> Reader:
    """Of a DigiCert ONE whose clientauth host knows the root only."""
    return _reader(fresh_sandbox(clientauth_trusts="root"), tmp_path / "strict home")


def _reader(sandbox: Sandbox, home: Path) -> Reader:
    sandbox.admin("PUT", "/clock", {"now": "2025-10-20T09:00:00Z"})
    return Reader(sandbox, home)


@pytest.fixture(autouse=True)
def tools() -> Iterator[None]:
    missing = [tool for tool in ("openssl", "curl", "jq") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    yield


def trust_store(reader: Reader) -> Path:
    if not shutil.which("keytool") or not shutil.which("java"):
        pytest.skip("no JDK is installed")
    store = reader.home / "trust.p12"
    subprocess.run(
        ["keytool", "-importcert", "-noprompt", "-alias", "sandbox", "-file", str(reader.sandbox.ca_file),
         "-keystore", str(store), "-storetype", "PKCS12", "-storepass", "changeit"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return store


def test_the_curl_commands_lead_from_no_certificate_to_proven_mtls_and_back(reader: Reader) -> None:
    reader.walk()
    answer = reader.response
    assert set(answer) == {
        "id", "user_id", "name", "common_name", "x509_cert", "ca_cert", "end_date", "start_date", "enabled",
        "serial_number", "public_key",
    }  # fmt: skip
    assert answer["name"] == "API Client Auth Certificate"
    assert answer["common_name"] == "Demo API Service User"
    assert (answer["start_date"], answer["end_date"]) == ("2025-10-20T00:00:00Z", "2026-10-20T23:59:59Z")
    posted = next(entry for entry in reader.sandbox.admin("GET", "/requests") if entry["method"] == "POST")
    assert posted["status"] == 201
    text = reader.run("step3_extract.sh").stdout
    assert "Issuer: CN = SANDBOX Client Auth CA" in text
    assert "Not After : Oct 20 23:59:59 2026 GMT" in text

    status, body = outcome(reader.run("step5_verify.sh"))
    assert status == 200
    assert json.loads(body)["id"] == answer["user_id"]

    disabled = reader.enable(False)
    assert disabled["enabled"] is False
    assert set(disabled) == set(answer) - {"x509_cert", "ca_cert"}
    status, body = outcome(reader.run("step5_verify.sh"))
    assert (status, json.loads(body)) == (403, REFUSED)

    assert reader.enable(True)["enabled"] is True
    assert outcome(reader.run("step5_verify.sh"))[0] == 200


def test_the_expiry_check_prints_what_the_tutorial_shows(reader: Reader) -> None:
    reader.walk()
    assert reader.run("expiry_openssl.sh").stdout == "notAfter=Oct 20 23:59:59 2026 GMT\n"
    assert json.loads(reader.run("expiry_api.sh").stdout) == {
        "name": "API Client Auth Certificate",
        "end_date": "2026-10-20T23:59:59Z",
        "enabled": True,
    }


def test_the_python_programs_get_201_and_200_and_403_after_disable(reader: Reader) -> None:
    reader.run("step1_csr.sh")
    issued = reader.run("step2_request.py")
    assert outcome(issued)[0] == 201
    assert "'x509_cert': '-----BEGIN CERTIFICATE-----" in issued.stdout

    other = Reader(reader.sandbox, reader.home.with_name("other home"))
    other.env["SERVICE_USER_TOKEN"] = reader.sandbox.users()["other_account"]["api_key"]
    other.walk()
    status, body = outcome(other.run("step5_verify.py"))
    assert status == 200
    assert f"'id': '{other.response['user_id']}'" in body
    other.enable(False)
    status, body = outcome(other.run("step5_verify.py"))
    assert (status, body) == (403, str(REFUSED))
    other.enable(True)
    assert outcome(other.run("step5_verify.py"))[0] == 200


def test_the_java_program_of_step_2_gets_a_certificate_once(reader: Reader) -> None:
    reader.run("step1_csr.sh")
    store = trust_store(reader)
    status, body = outcome(reader.java(store, "Step2Request.java"))
    assert status == 201
    assert json.loads(body)["name"] == "API Client Auth Certificate"
    status, body = outcome(reader.java(store, "Step2Request.java"))
    assert (status, json.loads(body)["errors"][0]["code"]) == (400, "duplicate_error")


def test_the_java_program_gets_200_and_403_after_disable(reader: Reader) -> None:
    reader.walk()
    store = trust_store(reader)
    status, body = outcome(reader.java(store))
    assert (status, json.loads(body)["id"]) == (200, reader.response["user_id"])
    reader.enable(False)
    status, body = outcome(reader.java(store))
    assert (status, json.loads(body)) == (403, REFUSED)
    # without the trust store it must not even ask
    untrusted = reader._run(["java", str(PROGRAMS / "Step5Verify.java")], {})
    assert untrusted.returncode != 0
    assert "unable to find valid certification path" in untrusted.stderr


def test_the_tutorial_s_errors_are_answered_in_its_words(reader: Reader) -> None:
    def error() -> dict[str, str]:
        found: dict[str, str] = json.loads((reader.folder / "response.json").read_text())["errors"][0]
        return found

    reader.walk()
    reader.run("step2_request.sh")
    assert error() == {
        "code": "duplicate_error",
        "message": "Cannot have duplicate names for client authentication certificate",
    }
    reader.run("step2_request.sh", SERVICE_USER_TOKEN=reader.sandbox.users()["no_permission"]["api_key"])
    assert error() == {"code": "no_access", "message": "Not enough permissions"}
    (reader.folder / "client_auth.csr").write_text("not a CSR")
    reader.run("step2_request.sh")
    assert error() == {"code": "invalid_input_field", "message": "Wrong input or input format"}
    reader.run("step2_request.sh", SERVICE_USER_TOKEN="SERVICE_USER_TOKEN")
    assert error()["code"] == "AUTHORIZATION_ERROR"


def test_the_tutorial_s_date_is_refused_once_it_has_passed(reader: Reader) -> None:
    reader.sandbox.admin("PUT", "/clock", {"now": "2026-10-21T00:00:00Z"})
    reader.run("step1_csr.sh")
    assert outcome(reader.run("step2_request.py"))[0] == 400


def test_an_expired_certificate_gets_403_from_curl_and_python(reader: Reader) -> None:
    reader.walk()
    for program in ("step5_verify.sh", "step5_verify.py"):
        reader.sandbox.admin("PUT", "/clock", {"now": "2026-10-20T23:59:00Z"})
        assert outcome(reader.run(program))[0] == 200
        reader.sandbox.admin("PUT", "/clock", {"now": "2026-10-21T00:00:00Z"})
        assert outcome(reader.run(program))[0] == 403


def test_without_a_certificate_the_clientauth_host_answers_403(reader: Reader) -> None:
    command = [
        "curl",
        "-s",
        "-w",
        "\nStatus Code: %{http_code}",
        f"{reader.sandbox.clientauth_url}/account/api/v1/user/me",
    ]
    status, body = outcome(reader._run(command, {}))
    assert (status, json.loads(body)) == (403, REFUSED)


def test_with_another_trust_nothing_is_sent(reader: Reader, sandbox: Sandbox) -> None:
    reader.walk()
    before = len(reader.sandbox.admin("GET", "/requests"))
    other_ca = str(sandbox.ca_file)
    assert reader.run("step5_verify.sh", CURL_CA_BUNDLE=other_ca).returncode == 60  # CURLE_PEER_FAILED_VERIFICATION
    failed = reader.run("step5_verify.py", REQUESTS_CA_BUNDLE=other_ca)
    assert failed.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in failed.stderr
    assert len(reader.sandbox.admin("GET", "/requests")) == before


def test_a_wrong_password_opens_nothing(reader: Reader) -> None:
    reader.walk()
    assert reader.run("step5_verify.sh", YOUR_PASSWORD="wrong").returncode == 58  # CURLE_SSL_CERTPROBLEM
    assert reader.run("step5_verify.py", YOUR_PASSWORD="wrong").returncode != 0


def test_the_tutorial_s_p12_fails_where_the_host_knows_only_the_root(strict_reader: Reader) -> None:
    strict_reader.walk()
    store = trust_store(strict_reader)
    curl = strict_reader.run("step5_verify.sh")
    python = strict_reader.run("step5_verify.py")
    assert curl.returncode != 0
    assert "unknown ca" in curl.stderr
    assert python.returncode != 0
    assert "UNKNOWN_CA" in python.stderr
    java = strict_reader.java(store)
    # Java may find out by itself that nobody there would know the issuer, and send no certificate at all
    assert outcome(java)[0] == 403 if java.returncode == 0 else "unknown_ca" in java.stderr


def test_with_the_chain_in_the_p12_it_works_there_too(strict_reader: Reader) -> None:
    strict_reader.run("step1_csr.sh")
    strict_reader.run("step2_request.sh")
    strict_reader.run("step3_extract.sh")
    chain = strict_reader.folder / "ca.crt"
    chain.write_text(str(strict_reader.response["ca_cert"]))
    assert strict_reader.run("step4_p12.sh", MORE="-certfile ca.crt").returncode == 0
    assert outcome(strict_reader.run("step5_verify.sh"))[0] == 200
    assert outcome(strict_reader.java(trust_store(strict_reader)))[0] == 200


def test_openssl_accepts_the_chain_for_a_client_and_for_nothing_else(reader: Reader) -> None:
    reader.walk()
    (reader.folder / "ca.crt").write_text(str(reader.response["ca_cert"]))
    verify = ["openssl", "verify", "-CAfile", str(reader.sandbox.ca_file), "-untrusted", "ca.crt"]
    verify += ["-attime", "1761000000"]  # 20 October 2025
    assert reader._run([*verify, "-purpose", "sslclient", "client_auth.crt"], {}).returncode == 0
    assert reader._run([*verify, "-purpose", "sslserver", "client_auth.crt"], {}).returncode != 0
