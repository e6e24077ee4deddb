"""What the Account Manager API sends and takes, shared with the sandbox.

Shapes follow DigiCert's tutorial "Set up service user multi-factor authentication". What the tutorial leaves open is
optional here: an answer of PUT …/enable has no certificate, and a list promises only name, end_date and enabled.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from runbook_lib.rules import NAME_MAX_LENGTH, NAME_PATTERN
from runbook_lib.timestamp import Timestamp

CertificateName = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=NAME_MAX_LENGTH)]

Text = Annotated[str, StringConstraints(max_length=1024)]
"""What an answer may hold of a name, an id or a serial number: what is longer makes reports slow, and is none."""

Block = Annotated[str, StringConstraints(max_length=65_536)]
"""A PEM or a public key."""


class _Answer(BaseModel):
    """What comes from the server: unknown fields are kept out, not refused, since the API may grow."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CertificateRequest(BaseModel):
    """The body of POST /account/api/v1/client-auth-certificate.

    The tutorial's text calls the date `exp`; every sample of it sends `expiration_date`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    csr: str
    name: CertificateName
    expiration_date: Timestamp | None = None


class EnableRequest(BaseModel):
    """The body of PUT /account/api/v1/client-auth-certificate/{id}/enable."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    enabled: bool


class ClientAuthCertificate(_Answer):
    """A client authentication certificate as the API tells it.

    Args:
        x509_cert: PEM; only in the answer to the POST, and never again.
        ca_cert: PEM of the issuing CA; only in the answer to the POST.
        serial_number: hexadecimal in either case, possibly of odd length: compare `serial`.
        public_key: base64 of the DER SubjectPublicKeyInfo (RFC 5280, section 4.1).
    """

    name: Text
    end_date: Timestamp
    enabled: StrictBool
    id: Text | None = None
    user_id: Text | None = None
    common_name: Text | None = None
    start_date: Timestamp | None = None
    serial_number: Text | None = None
    public_key: Block | None = None
    x509_cert: Block | None = None
    ca_cert: Block | None = None

    @property
    def serial(self) -> int | None:
        """The serial number as an integer, or None where the answer holds none or it is not hexadecimal."""
        digits = (self.serial_number or "").replace(":", "")
        return int(digits, 16) if re.fullmatch(r"[0-9A-Fa-f]+", digits) else None


class Application(_Answer):
    """An application of DigiCert ONE and what the user may do in it."""

    id: Text = ""
    name: Text = ""
    permissions: tuple[Text, ...] = ()


class ServicePeriod(_Answer):
    """From and to, day-granular, both included."""

    start: date | None = Field(default=None, alias="from")
    to: date | None = None


class Account(_Answer):
    """An account the user belongs to."""

    id: Text = ""
    name: Text = ""
    service_period: ServicePeriod | None = None


class User(_Answer):
    """The answer of GET /account/api/v1/user/me.

    `end_date` is not in the tutorial's sample; where the answer has it, it bounds every certificate of the user.
    """

    id: Text
    status: Text = ""
    user_type: Text = ""
    email: Text | None = None
    friendly_name: Text | None = None
    end_date: Timestamp | None = None
    applications: tuple[Application, ...] = ()
    accounts: tuple[Account, ...] = ()


class ApiError(_Answer):
    """One error of an error body."""

    code: str
    message: str


def read_errors(body: Any) -> list[ApiError]:
    """The errors in an error body, in any of the shapes DigiCert ONE is known to send; empty for any other.

    `{"errors": [{code, message}]}`, `{"error": {code, message}}`, `{"error": {status, message}}`, `{"error": "text"}`.
    Codes come back in lower case: they differ in case from place to place.
    """
    if not isinstance(body, dict):
        return []
    found = body.get("errors", body.get("error"))
    items = found if isinstance(found, list) else [found]
    errors = []
    for item in items[:10]:
        if isinstance(item, str):
            errors.append(ApiError(code="", message=_sound(item)))
        elif isinstance(item, dict):
            code = item.get("code", item.get("status", ""))
            errors.append(ApiError(code=_sound(code).lower(), message=_sound(item.get("message", ""))))
    return errors


def _sound(value: Any) -> str:
    """A value as text of a bearable length; half a surrogate pair, which no file takes, becomes a question mark."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else ""
    return text[:2000].encode("utf-8", "replace").decode()
