"""The sandbox's certification authority: a root, the intermediate that issues client certificates, server contexts.

The root is constrained to localhost (RFC 5280, section 4.2.1.10), so trusting its file endangers nothing else. The
intermediate may issue client certificates only. Both keys are encrypted on disk; the passphrase next to them is enough
for a sandbox and keeps plaintext PEM off the disk.
"""

from __future__ import annotations

import secrets
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runbook_lib.clock import Clock
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.sandbox.options import Trusts

# fixed and wide, so that the sandbox's clock can be set to any time in between
_BORN = datetime(2015, 1, 1, tzinfo=UTC)
_ENDS = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: an expired client certificate must reach HTTP, to get a 403."""


@dataclass(frozen=True, repr=False)
class Authority:
    """Root and intermediate with their keys."""

    root: x509.Certificate
    intermediate: x509.Certificate
    root_key: ec.EllipticCurvePrivateKey
    intermediate_key: ec.EllipticCurvePrivateKey

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """Read the authority from `folder`, or make a new one there if the folder does not exist.

        Raises:
            RunbookError: UNREADABLE_FILE if the folder exists and is damaged.
        """
        if not folder.exists():
            _create(folder)
        try:
            passphrase = (folder / "passphrase").read_bytes()
            return cls(
                root=x509.load_pem_x509_certificate((folder / "root.pem").read_bytes()),
                intermediate=x509.load_pem_x509_certificate((folder / "intermediate.pem").read_bytes()),
                root_key=_load_key(folder / "root.key", passphrase),
                intermediate_key=_load_key(folder / "intermediate.key", passphrase),
            )
        except (OSError, ValueError, TypeError):
            raise RunbookError(
                Reason.UNREADABLE_FILE,
                f"The sandbox's CA in {folder} is damaged.",
                remedy="Start a new sandbox with another --state. The certificates of this one are lost.",
            ) from None

    def issue_client(
        self,
        subject: x509.Name,
        key: CertificateIssuerPublicKeyTypes,
        *,
        start: datetime,
        end: datetime,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        odd_serial: bool = False,
    ) -> x509.Certificate:
        """A client certificate for a CSR's subject and key; the rest of the CSR is ignored.

        `usage` differs only for a faulty certificate; `odd_serial` gives a serial number of 31 hexadecimal digits, as
        one in sixteen has anyway.
        """
        serial = 1 << 120 | secrets.randbits(120) if odd_serial else None
        builder = _builder(subject, self.intermediate.subject, key, start, end, serial)
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(_authority_key(self.intermediate_key), critical=False)
            .sign(self.intermediate_key, hashes.SHA256())
        )

    def api_context(self, clock: Clock) -> ssl.SSLContext:
        """TLS for the API host, without a request for a client certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load_identity(context, clock)
        return context

    def clientauth_context(self, clock: Clock, trusts: Trusts) -> ssl.SSLContext:
        """TLS for the clientauth host, with a request for an optional client certificate."""
        context = self.api_context(clock)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
        # OpenSSL checks a common name that looks like a host name against the root's name constraints, so the
        # listener trusts a twin of the root without them, which is in no file
        anchors = [self._self_signed(self.root_key, constrained=False)]
        if trusts == "intermediate":
            anchors.append(self.intermediate)
        context.load_verify_locations(cadata="".join(certificate_pem(anchor) for anchor in anchors))
        return context

    def _load_identity(self, context: ssl.SSLContext, clock: Clock) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost"), _ORGANIZATION])
        # short and backdated by a day, in the machine's time: clients do not use the sandbox's clock
        start = clock.now() - timedelta(days=1)
        builder = _builder(name, self.root.subject, key.public_key(), start, start + timedelta(days=397))
        alternatives = [
            x509.DNSName("localhost"),
            x509.IPAddress(ip_address("127.0.0.1")),
            x509.IPAddress(ip_address("::1")),
        ]
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(_authority_key(self.root_key), critical=False)
            .sign(self.root_key, hashes.SHA256())
        )
        passphrase = secrets.token_hex(32)
        # Python's ssl reads keys from files only; this one is encrypted, private, and deleted at once
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            # with the root: otherwise OpenSSL adds one of its own choice, the twin
            file.write(
                _encrypted(key, passphrase.encode())
                + (certificate_pem(certificate) + certificate_pem(self.root)).encode()
            )
            file.flush()
            context.load_cert_chain(file.name, password=passphrase)

    @staticmethod
    def _self_signed(key: ec.EllipticCurvePrivateKey, *, constrained: bool) -> x509.Certificate:
        builder = _builder(_ROOT_NAME, _ROOT_NAME, key.public_key(), _BORN, _ENDS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True).add_extension(
            _key_usage(key_cert_sign=True), critical=True
        )
        if constrained:
            builder = builder.add_extension(_LOCALHOST_ONLY, critical=True)
        return builder.sign(key, hashes.SHA256())


def certificate_pem(certificate: x509.Certificate) -> str:
    """The certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


_ORGANIZATION = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sandbox of digicert-one-runbooks, not DigiCert")
_ROOT_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SANDBOX Root CA"), _ORGANIZATION])
_INTERMEDIATE_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SANDBOX Client Auth CA"), _ORGANIZATION])
_LOCALHOST_ONLY = x509.NameConstraints(
    permitted_subtrees=[
        x509.DNSName("localhost"),
        x509.IPAddress(ip_network("127.0.0.1/32")),
        x509.IPAddress(ip_network("::1/128")),
    ],
    excluded_subtrees=None,
)


def _create(folder: Path) -> None:
    root_key = ec.generate_private_key(ec.SECP256R1())
    intermediate_key = ec.generate_private_key(ec.SECP256R1())
    root = Authority._self_signed(root_key, constrained=True)
    intermediate = (
        _builder(_INTERMEDIATE_NAME, _ROOT_NAME, intermediate_key.public_key(), _BORN, _ENDS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(_authority_key(root_key), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    passphrase = secrets.token_hex(32).encode()
    # made aside and renamed: a start that is killed here leaves no incomplete authority behind
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".ca-"))
    files = {
        "passphrase": passphrase,
        "root.pem": certificate_pem(root).encode(),
        "intermediate.pem": certificate_pem(intermediate).encode(),
        "root.key": _encrypted(root_key, passphrase),
        "intermediate.key": _encrypted(intermediate_key, passphrase),
    }
    try:
        for name, content in files.items():
            path = aside / name
            path.touch(mode=0o600)
            path.write_bytes(content)
        aside.rename(folder)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificateIssuerPublicKeyTypes,
    start: datetime,
    end: datetime,
    serial: int | None = None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial or secrets.randbits(128) | 1)
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority_key(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _encrypted(key: ec.EllipticCurvePrivateKey, passphrase: bytes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )


def _load_key(path: Path, passphrase: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path.name} is not an EC key")
    return key
