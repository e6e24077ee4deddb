"""One generation of a credential: its four files, read-only once in place."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from pydantic import BaseModel, ConfigDict, ValidationError

from runbook_lib.credentials.certificates import CertificateFacts, load_certificate, load_certificates, read_facts
from runbook_lib.credentials.files import read_bytes, read_private, refuse_exposed
from runbook_lib.credentials.keys import KeyKind
from runbook_lib.credentials.pkcs12 import Profile, open_p12
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.secrets import Secret
from runbook_lib.timestamp import Timestamp

IDENTITY, CERTIFICATE, CHAIN, META = "identity.p12", "cert.pem", "chain.pem", "meta.json"


class Meta(BaseModel):
    """The record kept with a generation's certificate. It holds no secrets.

    Args:
        name: the certificate's name on the server.
        id, user_id: as the server gave them; None if it gave none.
        environment: the environment's short name; credentials work only there.
        serial: upper-case hexadecimal.
        created: when the generation was made.
        tool_version: of this software.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    id: str | None
    user_id: str | None
    environment: str
    api_url: str
    clientauth_url: str
    serial: str
    not_before: Timestamp
    not_after: Timestamp
    spki_sha256: str
    key_kind: KeyKind
    p12_profile: Profile
    created: Timestamp
    tool_version: str

    def to_json(self) -> bytes:
        """The content of meta.json."""
        return (self.model_dump_json(indent=2) + "\n").encode()


class Generation:
    """One certificate with its key, complete and never edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = int(folder.name)

    def __repr__(self) -> str:
        return f"Generation({str(self.folder)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Generation) and other.folder == self.folder

    def __hash__(self) -> int:
        return hash(self.folder)

    @property
    def meta(self) -> Meta:
        """The content of meta.json. Raises RunbookError (UNREADABLE_FILE)."""
        path = self.folder / META
        try:
            return Meta.model_validate_json(read_bytes(path))
        except ValidationError as error:
            fields = sorted({str(part) for item in error.errors() for part in item["loc"][:1]})
            raise RunbookError(Reason.UNREADABLE_FILE, f"{path} is malformed{_list(fields)}.") from None

    def certificate(self) -> x509.Certificate:
        """The certificate. Raises RunbookError (UNREADABLE_FILE)."""
        path = self.folder / CERTIFICATE
        return load_certificate(read_bytes(path), label=str(path))

    def facts(self) -> CertificateFacts:
        """The certificate's facts, even if its encoding is unusual. Raises RunbookError (UNREADABLE_FILE)."""
        path = self.folder / CERTIFICATE
        return read_facts(read_bytes(path), label=str(path))

    def chain(self) -> tuple[x509.Certificate, ...]:
        """The CAs above the certificate, nearest first. Raises RunbookError (UNREADABLE_FILE)."""
        path = self.folder / CHAIN
        return tuple(load_certificates(read_bytes(path), label=str(path)))

    def open(self, password: Secret) -> Identity:
        """Read key, certificate and chain from the P12.

        Raises:
            RunbookError: as `open_p12`; STORE_EXPOSED if others may read the file; KEY_MISMATCH if its certificate is
                not the one in cert.pem.
        """
        path = self.folder / IDENTITY
        refuse_exposed(self.folder)
        identity = open_p12(read_private(path), password, label=str(path))
        if identity.certificate != self.certificate():
            raise RunbookError(Reason.KEY_MISMATCH, f"{path} and {CERTIFICATE} next to it hold different certificates.")
        return identity


def read_public(generation: Generation) -> tuple[CertificateFacts, Meta]:
    """Read what an inventory needs of a generation from its public files, without opening the P12.

    Raises:
        RunbookError: UNREADABLE_FILE with the file's path; KEY_MISMATCH if meta.json describes another certificate.
    """
    try:
        seen = generation.facts()
    except RunbookError as error:
        path = str(generation.folder / CERTIFICATE)
        what = error.what if path in error.what else f"{path}: {error.what}"
        raise RunbookError(error.reason, what) from None
    meta = generation.meta
    if meta.spki_sha256 != seen.spki_sha256 or meta.serial.upper() != seen.serial_hex:
        raise RunbookError(
            Reason.KEY_MISMATCH,
            f"{generation.folder / META} describes serial {meta.serial}, but {CERTIFICATE} next to it has serial "
            f"{seen.serial_hex}, or another key.",
            remedy="Restore the folder from a backup, or issue a new certificate with notebook 01.",
        )
    return seen, meta


def _list(fields: list[str]) -> str:
    return f" (see {', '.join(fields)})" if fields else ""
