"""Verification says that mTLS works, or names why it does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso
from runbook_lib.procedures.access import Access
from runbook_lib.procedures.verify import Verify
from runbook_lib.result import Kind, Verdict
from tests.conftest import Sandbox
from tests.procedures.conftest import issue, prepare, run


def why(sandbox: Sandbox, environ: dict[str, str] | None = None, **given: Any) -> tuple[str, str]:
    """The step that failed and its reason."""
    record = run(prepare(Verify, sandbox, environ, **given))
    assert record.error is not None, record.result
    assert record.error["remedy"]
    return record.step, record.error["reason"]


def p12_of(sandbox: Sandbox, name: str) -> tuple[Path, bytes]:
    procedure = prepare(Verify, sandbox, name=name)
    current = procedure.credential.current()
    assert current is not None
    return current.folder / "identity.p12", procedure.session.secret("p12_password").reveal().encode()


def test_mtls_is_proven_by_a_success_and_two_failures(sandbox: Sandbox) -> None:
    issue(sandbox, "Proven")
    procedure = prepare(Verify, sandbox, name="Proven")
    run(procedure)
    assert procedure.finish().verdict is Verdict.OK
    controls = procedure.records[-1].result
    assert controls is not None
    assert [name for _, name, _ in controls.details] == [
        "With the certificate",
        "Without a certificate",
        "With an unrelated certificate",
    ]
    assert "403" in controls.details[1][2]
    permissions = procedure.records[2].result
    assert permissions is not None
    demands = {row[0]: row[1] for row in permissions.tables[0].rows}
    assert demands["Software Trust"] == "required for every signing operation"
    assert demands["CA Manager"] == "an API key is enough"
    assert all(step.kind is Kind.CHECK for step in Verify.steps())


def test_a_certificate_that_was_never_issued_is_told(sandbox: Sandbox) -> None:
    assert why(sandbox, name="Nobody") == ("open-credential", Reason.NO_CREDENTIAL)


def test_a_wrong_password_is_told_and_a_stray_newline_too(sandbox: Sandbox) -> None:
    issue(sandbox, "Password")
    assert why(sandbox, {"DIGICERT_ONE_P12_PASSWORD": "0" * 64}, name="Password")[1] == Reason.WRONG_PASSWORD
    padded = sandbox.env["DIGICERT_ONE_P12_PASSWORD"] + "\n"
    record = run(prepare(Verify, sandbox, {"DIGICERT_ONE_P12_PASSWORD": padded}, name="Password"))
    assert record.error is not None
    assert "space" in record.error["what"]


def test_a_disabled_certificate_is_named_as_disabled(sandbox: Sandbox) -> None:
    name = "Disabled by hand"
    issue(sandbox, name)
    run(prepare(Access, sandbox, name=name, confirm=name, action="disable", allow_outage_of=name))
    assert why(sandbox, name=name) == ("call-over-mtls", Reason.CERTIFICATE_DISABLED)
    # without the API key it is unknown, and the report says so
    assert why(sandbox, {"DIGICERT_ONE_API_KEY": "wrong"}, name=name)[1] == Reason.CERTIFICATE_REFUSED


def test_an_expired_certificate_is_named_as_expired(fresh_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = fresh_sandbox()
    current = issue(sandbox, "Old").credential.current()
    assert current is not None
    later = iso(current.meta.not_after + timedelta(days=1))
    sandbox.admin("PUT", "/clock", {"now": later})
    assert why(sandbox, name="Old", clock=later) == ("call-over-mtls", Reason.CERTIFICATE_EXPIRED)
    assert why(sandbox, name="Old") == ("call-over-mtls", Reason.CLOCK_WRONG)
    early = iso(current.meta.not_before - timedelta(days=1))
    sandbox.admin("PUT", "/clock", {"now": early})
    assert why(sandbox, name="Old", clock=early) == ("call-over-mtls", Reason.CERTIFICATE_NOT_YET_VALID)


def test_a_credential_of_another_environment_is_refused_before_anything_is_sent(
    sandbox: Sandbox, fresh_sandbox: Callable[..., Sandbox]
) -> None:
    issue(sandbox, "Elsewhere")
    other = fresh_sandbox()
    moved = {"DIGICERT_ONE_STORE": sandbox.env["DIGICERT_ONE_STORE"]}
    moved["DIGICERT_ONE_P12_PASSWORD"] = sandbox.env["DIGICERT_ONE_P12_PASSWORD"]
    assert why(other, moved, name="Elsewhere") == ("open-credential", Reason.WRONG_ENVIRONMENT)
    # the same as a bare file, which does not name its environment: that host does not know it
    path, _ = p12_of(sandbox, "Elsewhere")
    step, reason = why(other, moved, name="Elsewhere", p12_file=str(path))
    assert (step, reason) == ("call-over-mtls", Reason.CERTIFICATE_UNKNOWN)


def test_a_p12_without_its_ca_is_named_where_the_host_knows_only_the_root(
    fresh_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = fresh_sandbox(clientauth_trusts="root")
    issue(sandbox, "Chain")
    path, password = p12_of(sandbox, "Chain")
    key, certificate, _ = pkcs12.load_key_and_certificates(path.read_bytes(), password)
    bare = tmp_path / "bare.p12"
    assert key is not None
    bare.write_bytes(
        pkcs12.serialize_key_and_certificates(b"x", key, certificate, None, BestAvailableEncryption(password))  # type: ignore[arg-type]
    )
    assert why(sandbox, name="Chain", p12_file=str(bare)) == ("call-over-mtls", Reason.CHAIN_MISSING)
    procedure = prepare(Verify, sandbox, name="Chain")
    run(procedure)
    assert procedure.finish().verdict is Verdict.OK


@pytest.mark.parametrize("kind", ["without key", "truncated PEM", "cut off", "empty", "HTML"])
def test_a_file_that_is_no_p12_with_a_key_is_told(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    issue(sandbox, "Files")
    path, password = p12_of(sandbox, "Files")
    _, certificate, _ = pkcs12.load_key_and_certificates(path.read_bytes(), password)
    content = {
        "without key": pkcs12.serialize_key_and_certificates(
            b"x", None, certificate, None, BestAvailableEncryption(password)
        ),
        "truncated PEM": (path.parent / "cert.pem").read_bytes()[:300],
        "cut off": path.read_bytes()[:500],
        "empty": b"",
        "HTML": b"<html>Sign in</html>",
    }[kind]
    file = tmp_path / "given.p12"
    file.write_bytes(content)
    expected = Reason.P12_WITHOUT_KEY if kind == "without key" else Reason.UNREADABLE_FILE
    assert why(sandbox, name="Files", p12_file=str(file)) == ("open-credential", expected)


def test_a_store_that_was_opened_to_others_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    issue(sandbox, "Opened")
    store = tmp_path / "store"
    shutil.copytree(sandbox.env["DIGICERT_ONE_STORE"], store, symlinks=True)
    current = store / "sandbox" / "Opened" / "0001"
    (current / "identity.p12").chmod(0o644)
    assert why(sandbox, {"DIGICERT_ONE_STORE": str(store)}, name="Opened")[1] == Reason.STORE_EXPOSED


@pytest.mark.parametrize(("answering", "expected"), [(False, Reason.UNREACHABLE), (True, Reason.TLS_NOT_TRUSTED)])
def test_a_host_that_is_away_or_not_trusted_is_not_taken_for_a_refusal(
    sandbox: Sandbox, fresh_sandbox: Callable[..., Sandbox], answering: bool, expected: Reason
) -> None:
    issue(sandbox, "Away")
    path, _ = p12_of(sandbox, "Away")
    dead = {
        "DIGICERT_ONE_CLIENTAUTH_URL": "https://localhost:1",
        "DIGICERT_ONE_STORE": sandbox.env["DIGICERT_ONE_STORE"],
    }
    if answering:
        dead = {"DIGICERT_ONE_CA_FILE": str(fresh_sandbox().ca_file)}
    assert why(sandbox, dead, name="Away", p12_file=str(path)) == ("call-over-mtls", expected)
