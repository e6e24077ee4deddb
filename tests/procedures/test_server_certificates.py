"""A server's certificate is accepted by doctor, issue and inventory as curl accepts it, or each says what is wrong."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from runbook_lib.catalogue import Reason
from runbook_lib.procedures.doctor import Doctor
from runbook_lib.procedures.inventory import Inventory
from runbook_lib.procedures.issue import Issue
from runbook_lib.result import Verdict
from tests.conftest import Sandbox
from tests.digicert.test_trust import FINE, KEYS, REFUSED, Chain, pem
from tests.procedures.between import between
from tests.procedures.conftest import issue, prepare, run


def served_with(one: Chain, folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A file with the root to trust, and a server's context with the rest of the chain."""
    folder.mkdir()
    ca, both = folder / "ca.pem", folder / "server.pem"
    ca.write_bytes(pem(one.root))
    key = KEYS[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"once"))
    both.write_bytes(pem(one.leaf, one.middle) + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both, password="once")
    return ca, context


@pytest.mark.parametrize("kind", FINE)
def test_what_curl_accepts_is_worked_with(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "tls"
    user = {"DIGICERT_ONE_API_KEY": sandbox.admin("POST", "/users")["api_key"]}
    with between(sandbox, folder, known_by=served_with(FINE[kind], folder)) as environ:
        environ |= user | {"DIGICERT_ONE_STORE": str(tmp_path / "store")}
        name = f"Behind {list(FINE).index(kind)}"
        issue(sandbox, name, environ)
        inventory = prepare(Inventory, sandbox, environ)
        run(inventory)
        assert inventory.finish().verdict is Verdict.OK
        doctor = prepare(Doctor, sandbox, environ)
        run(doctor)
        assert {record.step for record in doctor.records if record.verdict is not Verdict.OK} == set()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_told_by_each_with_its_cause(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    chain, cause, remedy = REFUSED[kind]
    folder = tmp_path / "tls"
    asked: list[Any] = []
    with between(sandbox, folder, lambda *said: asked.append(said), served_with(chain, folder)) as environ:
        environ |= {"DIGICERT_ONE_STORE": str(tmp_path / "store")}
        issuing = prepare(Issue, sandbox, environ, name="Not trusted", confirm="Not trusted", key_kind="p-256")
        error = run(issuing).error
        assert error is not None
        reports = [(error["what"], error["remedy"])]
        assert error["reason"] == Reason.TLS_NOT_TRUSTED
        for procedure in (prepare(Inventory, sandbox, environ), prepare(Doctor, sandbox, environ)):
            run(procedure)
            first = procedure.records[0].result
            assert first is not None
            reports.append((first.headline, " ".join(first.next)))
            assert procedure.finish().verdict is not Verdict.OK
    assert [(cause in what, remedy in then) for what, then in reports] == [(True, True)] * 3, reports
    assert asked == []
