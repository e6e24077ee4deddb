"""Whatever the response to the request holds: a certificate that differs from the request is never put into use but
disabled, and a private key in the response is not kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from runbook_lib.catalogue import Reason
from runbook_lib.procedures.issue import Issue
from tests.conftest import Sandbox
from tests.procedures.between import between
from tests.procedures.conftest import prepare, run

Body = dict[str, Any]


def private_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


SECRET = private_key()
WRONG: dict[str, tuple[Callable[[Body], Body], Reason]] = {
    "10,000 CAs": (lambda body: body | {"ca_cert": body["ca_cert"] * 10_000}, Reason.OUTCOME_UNKNOWN),
    "60 CAs": (lambda body: body | {"ca_cert": body["ca_cert"] * 40}, Reason.LINT_FAILED),
    "no CA": (lambda body: body | {"ca_cert": None}, Reason.LINT_FAILED),
    "itself as its CA": (lambda body: body | {"ca_cert": body["x509_cert"]}, Reason.LINT_FAILED),
    "another's certificate": (lambda body: body | {"x509_cert": body["ca_cert"]}, Reason.KEY_MISMATCH),
    "a key in its CAs": (lambda body: body | {"ca_cert": body["ca_cert"] + SECRET}, Reason.UNREADABLE_FILE),
    "a key beside it": (lambda body: body | {"x509_cert": SECRET + body["x509_cert"]}, Reason.UNREADABLE_FILE),
    "half a key": (lambda body: body | {"x509_cert": SECRET[:150] + body["x509_cert"]}, Reason.UNREADABLE_FILE),
    "a page": (lambda body: body | {"x509_cert": "<html>"}, Reason.UNREADABLE_FILE),
    "1 MB of it": (lambda body: body | {"x509_cert": "A" * 2**20}, Reason.OUTCOME_UNKNOWN),
    "no id": (lambda body: body | {"id": None}, Reason.OUTCOME_UNKNOWN),
    "an id of dots": (lambda body: body | {"id": "../.."}, Reason.OUTCOME_UNKNOWN),
    "a name of markup": (lambda body: body | {"name": "<script>\x1b[2J"}, Reason.LINT_FAILED),
    "another's user": (lambda body: body | {"user_id": "somebody"}, Reason.UNEXPECTED_ANSWER),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_was_not_asked_for_is_not_put_into_use(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    change, reason = WRONG[kind]
    user = sandbox.admin("POST", "/users")

    def on_the_way(method: str, path: str, body: Any) -> Any:
        return change(body) if method == "POST" else None

    with between(sandbox, tmp_path / "tls", on_the_way) as environ:
        environ |= {"DIGICERT_ONE_API_KEY": user["api_key"], "DIGICERT_ONE_STORE": str(tmp_path / "store")}
        procedure = prepare(Issue, sandbox, environ, name="Wrong", confirm="Wrong", key_kind="p-256")
        procedure.session.pause = lambda seconds: None
        error = run(procedure).error
        assert error is not None
        assert error["reason"] == reason, error
        assert procedure.credential.current() is None
    kept = b"".join(one.read_bytes() for one in (tmp_path / "store").rglob("*") if one.is_file())
    assert SECRET.splitlines()[1].encode() not in kept
    mine = [one for one in sandbox.admin("GET", "/certificates") if one["user_id"] == user["id"]]
    assert mine
    assert "\x1b" not in error["what"]
    if reason in (Reason.LINT_FAILED, Reason.UNREADABLE_FILE, Reason.KEY_MISMATCH):
        assert not any(one["enabled"] for one in mine)
