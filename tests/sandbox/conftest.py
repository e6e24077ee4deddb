"""A plain client for the sandbox's tests: requests and pyca, nothing of this project's own client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runbook_lib.clock import iso
from tests.conftest import Sandbox

CERTIFICATES = "/account/api/v1/client-auth-certificate"
USER_ME = "/account/api/v1/user/me"
NOT_AUTHENTICATED = {"errors": [{"code": "AUTHORIZATION_ERROR", "message": "No authentication data provided"}]}


@dataclass
class Identity:
    """A private key and what the API answered for it."""

    key: Any
    answer: dict[str, Any]

    def files(self, folder: Path, *, chain: bool = True) -> tuple[str, str]:
        """Certificate (with its CA) and key as files, as requests wants them."""
        name = uuid4().hex
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        cert.write_text(self.answer["x509_cert"] + (self.answer["ca_cert"] if chain else ""))
        key.write_bytes(key_pem(self.key))
        return str(cert), str(key)


@dataclass
class Caller:
    """Calls one sandbox."""

    sandbox: Sandbox
    folder: Path
    session: requests.Session

    def api(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **more: Any
    ) -> requests.Response:
        headers = {"x-api-key": self.sandbox.api_key if key is None else key}
        return self.session.request(
            method,
            self.sandbox.url + path,
            json=body,
            headers=headers,
            verify=str(self.sandbox.ca_file),
            timeout=10,
            **more,
        )

    def mtls(
        self,
        identity: Identity | None,
        path: str = USER_ME,
        *,
        chain: bool = True,
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        # a fresh session: a kept connection would keep its certificate
        with requests.Session() as session:
            session.trust_env = False
            return session.get(
                self.sandbox.clientauth_url + path,
                cert=identity.files(self.folder, chain=chain) if identity else None,
                verify=str(self.sandbox.ca_file),
                headers=headers,
                timeout=10,
            )

    def issue(self, name: str | None = None, *, key: str | None = None, cn: str = "test", **fields: Any) -> Identity:
        private = ec.generate_private_key(ec.SECP256R1())
        body = {"csr": csr(private, cn), "name": name or f"test {uuid4().hex}", **fields}
        response = self.api("POST", CERTIFICATES, body, key=key)
        assert response.status_code == 201, response.text
        return Identity(private, response.json())

    def enable(self, identity: Identity, enabled: bool) -> requests.Response:
        return self.api("PUT", f"{CERTIFICATES}/{identity.answer['id']}/enable", {"enabled": enabled})


def caller_of(sandbox: Sandbox, folder: Path) -> Caller:
    session = requests.Session()
    session.trust_env = False
    return Caller(sandbox, folder, session)


@pytest.fixture
def caller(sandbox: Sandbox, tmp_path: Path) -> Iterator[Caller]:
    caller = caller_of(sandbox, tmp_path)
    yield caller
    caller.session.close()


def csr(key: Any, cn: str = "test", *more: tuple[x509.ObjectIdentifier, str]) -> str:
    attributes = [(NameOID.COMMON_NAME, cn)] if cn else []
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in (*attributes, *more)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def end_of_day(days: int) -> str:
    return iso((datetime.now(UTC) + timedelta(days=days)).replace(hour=23, minute=59, second=59))
