"""The signer of an archive: its key and certificate in `<archive>/certs`, and the CMS signature of a bag.

    <archive>/certs/roots.pem          the roots that the signers' certificates must lead to
    <archive>/certs/<sha256>.pem       a signer's certificate, then any intermediates; named by its SHA-256 (DER)
    <archive>/certs/<sha256>.key       its private key, encrypted (PKCS#8)
    <archive>/certs/signer.json        where the passphrase of each key is: a reference, never the passphrase
    <archive>/certs/request.key .csr   a key that waits for a certificate from the company's CA

`next_signer` of the last bag in the chain names the signer of the next bag.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509.oid import NameOID

from runbook_lib import disk, programs
from runbook_lib.archive.openssl import CERTS, ROOTS, signature_refused
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.secrets import SecretRef, resolve

REFERENCES, REQUEST = "signer.json", "request"
PASSPHRASE = f"env:{programs.ARCHIVE_PASSPHRASE}"
FEWEST = 22
"""Least characters of a passphrase: as many as a P12 password needs for 128 bits."""

YEARS = 10
"""Years that a self-signed certificate is valid: long enough that a roll-over is a decision, not an emergency."""

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_OPTIONS = [PKCS7Options.DetachedSignature, PKCS7Options.Binary, PKCS7Options.NoCapabilities]


@dataclass(frozen=True, repr=False)
class Signer:
    """An opened key, its certificate, and the certificates from there up to the root."""

    key: Key
    certificates: tuple[x509.Certificate, ...]

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.certificates[0])

    def sign(self, content: bytes) -> bytes:
        """Sign `content`: a detached CMS signature (RFC 5652) in DER, with SHA-256 and the certificates."""
        builder = PKCS7SignatureBuilder().set_data(content)
        builder = builder.add_signer(self.certificates[0], self.key, hashes.SHA256())
        for certificate in self.certificates[1:]:
            builder = builder.add_certificate(certificate)
        return builder.sign(Encoding.DER, _OPTIONS)


def fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def load_signer(archive: Path, signer: str, environ: Mapping[str, str]) -> Signer:
    """Open a signer's key.

    Args:
        signer: SHA-256 of its certificate, as the chain names it.
        environ: resolves `env:` references.

    Raises:
        RunbookError: NOT_SIGNED, with the cause.
    """
    certs = archive / CERTS
    try:
        reference = _references(certs)[signer]
        certificates = tuple(x509.load_pem_x509_certificates(disk.read_file(certs / f"{signer}.pem", follow=True)))
        key = _open(certs / f"{signer}.key", reference, environ)
    except KeyError:
        raise RunbookError(
            Reason.NOT_SIGNED, f"{CERTS}/{REFERENCES} has no passphrase reference for {signer}."
        ) from None
    except RunbookError as error:
        raise RunbookError(
            Reason.NOT_SIGNED, f"Cannot open the signing key: {error.what}", remedy=error.remedy
        ) from None
    except (OSError, ValueError) as error:
        raise RunbookError(Reason.NOT_SIGNED, f"Cannot read the signing key: {error}.") from None
    found = Signer(key, certificates)
    if found.fingerprint != signer or key.public_key() != certificates[0].public_key():
        raise RunbookError(Reason.NOT_SIGNED, f"The key and certificate in {CERTS} do not belong to {signer}.")
    return found


def references(archive: Path) -> tuple[str, ...]:
    """Every reference to a passphrase, so that a run can be searched for the passphrases."""
    try:
        return tuple(sorted(set(_references(archive / CERTS).values())))
    except RunbookError:
        return ()


def make_signer(archive: Path, *, passphrase: str, at: datetime, environ: Mapping[str, str]) -> Signer:
    """Write a new P-256 key and a self-signed certificate to `certs`. It signs nothing until the chain names it.

    Raises:
        RunbookError: SECRET_AS_VALUE, SECRET_NOT_FOUND, SECRET_EXPOSED or WEAK_PASSWORD, for the passphrase.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(archive, at)
    usage = x509.KeyUsage(True, True, False, False, False, False, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(minutes=5))  # another machine's clock may be behind
        .not_valid_after(at + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    signer = Signer(key, (certificate,))
    _install(archive, signer, _sealed(key, passphrase, environ), passphrase, certificate)
    return signer


def request_signer(archive: Path, *, passphrase: str, at: datetime, environ: Mapping[str, str]) -> Path:
    """Write a new P-256 key and a certificate request (PKCS#10) for the company's CA; return the .csr file.

    Raises:
        RunbookError: as `make_signer`, and BUSY if another request is open.
    """
    certs = archive / CERTS
    key_file, csr_file = certs / f"{REQUEST}.key", certs / f"{REQUEST}.csr"
    if key_file.exists():
        raise RunbookError(
            Reason.BUSY,
            f"{csr_file} still waits for its certificate.",
            remedy=f"Import the certificate with `--certificate FILE`, or delete {REQUEST}.key and {REQUEST}.csr.",
            title="A certificate request is open",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    sealed = _sealed(key, passphrase, environ)
    csr = x509.CertificateSigningRequestBuilder().subject_name(_name(archive, at)).sign(key, hashes.SHA256())
    _remember(certs, REQUEST, passphrase)
    disk.write_file(csr_file, csr.public_bytes(Encoding.PEM))
    disk.write_file(key_file, sealed, mode=0o600)
    return csr_file


def accept(archive: Path, file: Path, environ: Mapping[str, str]) -> Signer:
    """Import the certificate that the company's CA issued for the request. It stays open until `close_request`.

    Args:
        file: PEM: the certificate, the intermediates, and last the self-signed root.

    Raises:
        RunbookError: UNREADABLE_FILE, KEY_MISMATCH, or LINT_FAILED if `openssl cms -verify` refuses its signature.
    """
    certs = archive / CERTS
    try:
        *chain, root = x509.load_pem_x509_certificates(file.read_bytes())
        sealed = (certs / f"{REQUEST}.key").read_bytes()
    except (OSError, ValueError) as error:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"Cannot read {file} or the request's key: {error}.",
            remedy="Check the path. If there is no request yet, make one with `--csr`.",
            title="The signer's certificate cannot be imported",
        ) from None
    if not chain or root.subject != root.issuer:
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"{file} must hold the certificate, any intermediates, and last the self-signed root.",
            remedy="Join the PEM files of your CA in this order: cat signer.pem intermediate.pem root.pem",
            title="The signer's certificate cannot be imported",
        )
    reference = _references(certs).get(REQUEST, PASSPHRASE)
    signer = Signer(_open(certs / f"{REQUEST}.key", reference, environ), tuple(chain))
    if signer.key.public_key() != chain[0].public_key():
        raise RunbookError(
            Reason.KEY_MISMATCH,
            f"{file} does not hold the certificate for {REQUEST}.csr.",
            remedy="Import the certificate that your CA issued for this request.",
        )
    _install(archive, signer, sealed, reference, root)
    return signer


def close_request(archive: Path, signer: Signer) -> None:
    """Delete the signer's request, once an entry names the signer. Until then its certificate can be imported again."""
    key_file, csr_file = (archive / CERTS / f"{REQUEST}.{suffix}" for suffix in ("key", "csr"))
    if csr_file.exists() and x509.load_pem_x509_csr(csr_file.read_bytes()).public_key() == signer.key.public_key():
        key_file.unlink(missing_ok=True)
        csr_file.unlink()
        known = _references(archive / CERTS)
        _note(archive / CERTS, {name: where for name, where in known.items() if name != REQUEST})


def _install(archive: Path, signer: Signer, sealed: bytes, passphrase: str, root: x509.Certificate) -> None:
    certs = archive / CERTS
    content = b"probe\n"
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        certificate = Path(folder) / "signer.pem"
        certificate.write_bytes(certificates_pem(signer.certificates[0]))
        (Path(folder) / "p7s").write_bytes(signer.sign(content))
        (Path(folder) / "content").write_bytes(content)
        (Path(folder) / ROOTS).write_bytes(certificates_pem(root))
        why = signature_refused(Path(folder) / "p7s", Path(folder) / "content", certificate, Path(folder) / ROOTS)
    if why:
        raise RunbookError(
            Reason.LINT_FAILED,
            f"openssl says: {why}.",
            remedy="Have your CA issue a certificate for signing, then import it.",
            title="openssl refuses signatures by this certificate",
        )
    roots_file = certs / ROOTS
    roots = x509.load_pem_x509_certificates(disk.read_file(roots_file, follow=True)) if roots_file.exists() else []
    disk.replace(certs / f"{signer.fingerprint}.pem", certificates_pem(*signer.certificates))
    disk.replace(roots_file, certificates_pem(*roots, *([] if root in roots else [root])))
    _remember(certs, signer.fingerprint, passphrase)
    disk.replace(certs / f"{signer.fingerprint}.key", sealed, mode=0o600)


def _open(file: Path, reference: str, environ: Mapping[str, str]) -> Key:
    secret = resolve(reference, environ=environ)
    try:
        key = load_pem_private_key(disk.read_file(file, follow=True), secret.reveal().encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RunbookError(
            Reason.WRONG_PASSWORD, f"The passphrase at {reference} does not open {CERTS}/{file.name}."
        ) from None
    if not isinstance(key, Key):
        raise RunbookError(Reason.UNREADABLE_FILE, f"{CERTS}/{file.name} must hold an EC or RSA key.")
    return key


def _sealed(key: Key, passphrase: str, environ: Mapping[str, str]) -> bytes:
    reference = SecretRef.parse(passphrase)
    secret = resolve(reference, environ=environ)
    if len(secret.reveal()) < FEWEST:
        raise RunbookError(
            Reason.WEAK_PASSWORD,
            f"The passphrase at {reference} must have {FEWEST} or more characters.",
        )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(secret.reveal().encode()))


def _references(certs: Path) -> dict[str, str]:
    try:
        content = json.loads(disk.read_file(certs / REFERENCES, follow=True))
        return {name: str(item["passphrase"]) for name, item in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"Cannot read {certs / REFERENCES}.",
            remedy="Restore it from a backup.",
            title="The signer's references cannot be read",
        ) from None


def _remember(certs: Path, name: str, passphrase: str) -> None:
    _note(certs, _references(certs) | {name: str(SecretRef.parse(passphrase))})


def _note(certs: Path, known: dict[str, str]) -> None:
    text = json.dumps({name: {"passphrase": where} for name, where in sorted(known.items())}, indent=2)
    certs.mkdir(parents=True, exist_ok=True)
    disk.replace(certs / REFERENCES, text.encode() + b"\n")


def certificates_pem(*certificates: x509.Certificate) -> bytes:
    """Certificates as PEM, one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _name(archive: Path, at: datetime) -> x509.Name:
    # the second keeps two signers of an archive apart
    common = f"Archive signer {archive.resolve().name[:30]} {at:%Y-%m-%d %H%M%S}"
    attributes = [(NameOID.ORGANIZATION_NAME, "DigiCert ONE runbooks"), (NameOID.COMMON_NAME, common)]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in attributes])
