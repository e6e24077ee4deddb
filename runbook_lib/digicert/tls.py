"""TLS for requests: always verified, and the client identity is never in a plaintext file."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets as entropy
import ssl
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.utils import CryptographyDeprecationWarning
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from runbook_lib.digicert.wire import POOLS, watch
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity


def make_context(ca_file: Path | None, identity: Identity | None = None) -> ssl.SSLContext:
    """A client context that verifies the server against `ca_file`, or the system's CAs if it is None.

    Raises:
        RunbookError: UNREADABLE_FILE if the CA file holds no certificate; UNREADABLE_FILE or DISK_FULL if the
            operating system prevents passing the identity to OpenSSL.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError):
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"The CA file {ca_file} holds no readable PEM certificate.",
            remedy="Name a PEM file with the CA certificates to trust.",
        ) from None
    watch(context)
    # like curl, and Python from 3.13 on: a CA in the file is trusted even if its root is not in it
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if identity is not None:
        # ssl loads keys only from a file, so the key is encrypted under a passphrase that exists only here
        passphrase = entropy.token_bytes(32).hex()
        pem = identity.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode())
        ) + b"".join(certificate.public_bytes(Encoding.PEM) for certificate in (identity.certificate, *identity.chain))
        with _as_file(pem) as path:
            context.load_cert_chain(path, password=passphrase)
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    try:
        if sys.platform == "linux":
            fd = os.memfd_create("identity", os.MFD_CLOEXEC)
            name = f"/proc/self/fd/{fd}"
        else:  # macOS: a private, encrypted file that is deleted at once
            fd, name = tempfile.mkstemp()
    except OSError as error:
        raise _not_handed_over(error) from None
    try:
        try:
            with os.fdopen(fd, "wb", closefd=False) as stream:
                stream.write(content)
        except OSError as error:
            raise _not_handed_over(error) from None
        yield name
    finally:
        os.close(fd)
        if not name.startswith("/proc/"):
            Path(name).unlink()


def _not_handed_over(error: OSError) -> RunbookError:
    text = f"The key and certificate cannot be passed to OpenSSL in memory: {error.strerror}."
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        return RunbookError(Reason.DISK_FULL, text, remedy="Free memory or close open files, then run again.")
    return RunbookError(Reason.UNREADABLE_FILE, text, remedy="Run again, or use a machine that allows memfd_create.")


class ContextAdapter(HTTPAdapter):
    """A requests transport that trusts what its context trusts, and nothing else.

    requests would also load certifi, or the file that REQUESTS_CA_BUNDLE names, into the context.
    """

    def __init__(self, context: ssl.SSLContext, retries: Retry, connections: int) -> None:
        self._context = context
        super().__init__(max_retries=retries, pool_maxsize=connections, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs, ssl_context=self._context)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> Any:
        return super().get_connection_with_tls_context(request, True, proxies, cert)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"


@dataclass(frozen=True)
class TlsFacts:
    """The TLS facts of a connection: protocol, cipher, and the server's certificate with its SHA-256 (of the DER)."""

    protocol: str
    cipher: str
    server: str
    issuer: str
    not_after: str
    sha256: str


def tls_facts(sock: ssl.SSLSocket | None) -> TlsFacts | None:
    """The TLS facts of the connection of a response whose body is not yet read; None if the connection is gone."""
    if sock is None:
        return None
    peer = sock.getpeercert(binary_form=True)
    cipher = sock.cipher()
    if peer is None or cipher is None:
        return None
    read = _read(peer)
    other = read if all(read) else _read_by_openssl(sock)
    server, issuer, not_after = (mine or its for mine, its in zip(read, other, strict=True))
    return TlsFacts(
        protocol=sock.version() or "",
        cipher=cipher[0],
        server=server,
        issuer=issuer,
        not_after=not_after,
        sha256=hashlib.sha256(peer).hexdigest(),
    )


def _read(der: bytes) -> tuple[str, str, str]:
    """Subject, issuer and end; empty if pyca cannot read one. TLS may accept the certificate anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # for a serial number of 0 or less
        try:
            certificate = x509.load_der_x509_certificate(der)
        except (ValueError, x509.InvalidVersion):
            return "", "", ""
    return (
        _or_nothing(lambda: certificate.subject.rfc4514_string()),
        _or_nothing(lambda: certificate.issuer.rfc4514_string()),
        _or_nothing(lambda: f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"),
    )


def _or_nothing(read: Callable[[], str]) -> str:
    try:
        return read()
    except ValueError:
        return ""


def _read_by_openssl(sock: ssl.SSLSocket) -> tuple[str, str, str]:
    try:
        peer: dict[str, Any] = dict(sock.getpeercert() or {})
        end = datetime.fromtimestamp(ssl.cert_time_to_seconds(peer["notAfter"]), UTC)
        return _name(peer["subject"]), _name(peer["issuer"]), f"{end:%Y-%m-%dT%H:%M:%SZ}"
    except (KeyError, ValueError, OverflowError, ssl.SSLError):
        return "not readable", "not readable", "not readable"


def _name(parts: Any) -> str:
    return ", ".join(f"{name}={value}" for part in reversed(parts) for name, value in part)
