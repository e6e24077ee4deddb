"""Writes an issued certificate as the four files of a generation."""

from __future__ import annotations

from importlib.metadata import version

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from runbook_lib.credentials import keys
from runbook_lib.credentials.certificates import facts, load_certificate, load_certificates
from runbook_lib.credentials.files import read_bytes
from runbook_lib.credentials.generation import CERTIFICATE, CHAIN, IDENTITY, META, Meta
from runbook_lib.credentials.pkcs12 import open_p12, write_p12
from runbook_lib.credentials.store import SEALED_KEY, Credential
from runbook_lib.digicert.models import ClientAuthCertificate
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.lifecycle.request import IssuanceRequest
from runbook_lib.lifecycle.session import Session

TOOL_VERSION = version("digicert-one-runbooks")
"""Read at start-up, so that an unreadable file cannot come between a certificate and its P12."""


def certificates_of(issued: ClientAuthCertificate) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """The certificate and its chain from the response to the POST. Raises RunbookError (UNREADABLE_FILE)."""
    return load_certificate(issued.x509_cert or ""), load_certificates(issued.ca_cert) if issued.ca_cert else []


def write_generation(
    session: Session, credential: Credential, number: int, request: IssuanceRequest, issued: ClientAuthCertificate
) -> None:
    """Write P12, certificate, chain and meta.json into the staging folder, then read the P12 back.

    Raises:
        RunbookError: WRONG_PASSWORD if the sealed key does not open; UNREADABLE_FILE if the P12 does not read back as
            it was written; DISK_FULL or STORE_NOT_WRITABLE.
    """
    staging = credential.staging(number)
    password = session.secret("p12_password")
    environment = session.environment
    certificate, chain = certificates_of(issued)
    seen = facts(certificate)
    identity = Identity(keys.unseal(read_bytes(staging / SEALED_KEY), password), certificate, tuple(chain))
    meta = Meta(
        name=issued.name,
        id=issued.id,
        user_id=issued.user_id,
        environment=environment.name,
        api_url=environment.api_url,
        clientauth_url=environment.clientauth_url,
        serial=seen.serial_hex,
        not_before=seen.not_before,
        not_after=seen.not_after,
        spki_sha256=seen.spki_sha256,
        key_kind=request.key_kind,
        p12_profile=request.profile,
        created=session.clock.now(),
        tool_version=TOOL_VERSION,
    )
    bundle = write_p12(identity, password, profile=request.profile, friendly_name=request.name)
    credential.write(staging / IDENTITY, bundle)
    credential.write(staging / CERTIFICATE, certificate.public_bytes(Encoding.PEM))
    credential.write(staging / CHAIN, b"".join(authority.public_bytes(Encoding.PEM) for authority in chain))
    credential.write(staging / META, meta.to_json())
    again = open_p12(read_bytes(staging / IDENTITY), password)  # before `commit` drops the sealed key
    if (again.certificate, again.chain) != (identity.certificate, identity.chain):
        raise RunbookError(Reason.UNREADABLE_FILE, "The P12 that was just written does not read back the same.")
