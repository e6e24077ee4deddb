"""Certificate signing requests, PKCS#10 (RFC 2986)."""

from __future__ import annotations

import re
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from runbook_lib.identity import PrivateKey


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters, line ends or invisible marks")
    return text


def _common_name(text: str) -> str:
    # X.520 counts characters, pyca and some CAs count UTF-8 bytes: keep within both
    if len(text.encode()) > 64:
        raise ValueError(f"must be at most 64 bytes in UTF-8; it has {len(text.encode())}")
    return text


def _country(text: str) -> str:
    if not re.fullmatch("[A-Z]{2}", text):
        raise ValueError("Enter a two-letter code in capitals, for example DE")
    return text


def _attribute(most: int, *, least: int = 0) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=least, max_length=most)


CommonName = Annotated[str, _attribute(64, least=1), AfterValidator(_printable), AfterValidator(_common_name)]
Organization = Annotated[str, _attribute(64, least=1), AfterValidator(_printable)]
Country = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_country)]
Unit = Annotated[str, _attribute(64), AfterValidator(_printable)]
Place = Annotated[str, _attribute(128), AfterValidator(_printable)]
"""A locality or a state. These types check the parameters of the notebooks too."""


class Subject(BaseModel):
    """Whom the certificate names. The limits are those of RFC 5280, appendix A.1 (ub-common-name and the like).

    The tutorial requires common name, organization and country; the others are optional and left out if empty.
    Raises pydantic.ValidationError for a value that breaks its rule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    common_name: CommonName
    organization: Organization
    country: Country
    organizational_unit: Unit = ""
    locality: Place = ""
    state: Place = ""

    @classmethod
    def of(cls, name: x509.Name) -> Subject:
        """The subject of an existing certificate, for its successor. Raises pydantic.ValidationError."""

        def first(oid: x509.ObjectIdentifier) -> str:
            found = name.get_attributes_for_oid(oid)
            return str(found[0].value) if found else ""

        return cls(
            common_name=first(NameOID.COMMON_NAME),
            organization=first(NameOID.ORGANIZATION_NAME),
            country=first(NameOID.COUNTRY_NAME),
            organizational_unit=first(NameOID.ORGANIZATIONAL_UNIT_NAME),
            locality=first(NameOID.LOCALITY_NAME),
            state=first(NameOID.STATE_OR_PROVINCE_NAME),
        )

    def name(self) -> x509.Name:
        """The X.501 name, from the country down to the common name."""
        values = (
            (NameOID.COUNTRY_NAME, self.country),
            (NameOID.STATE_OR_PROVINCE_NAME, self.state),
            (NameOID.LOCALITY_NAME, self.locality),
            (NameOID.ORGANIZATION_NAME, self.organization),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, self.organizational_unit),
            (NameOID.COMMON_NAME, self.common_name),
        )
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in values if value])


def build_csr(key: PrivateKey, subject: Subject) -> x509.CertificateSigningRequest:
    """A request signed with the key: SHA-256, or SHA-384 for P-384."""
    wide = isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject.name())
        .sign(key, hashes.SHA384() if wide else hashes.SHA256())
    )


def csr_pem(csr: x509.CertificateSigningRequest) -> str:
    """The request in PEM (RFC 7468, section 7), as the API's field `csr` takes it."""
    return csr.public_bytes(Encoding.PEM).decode()
