"""Models of what the Account Manager API sends and accepts, shared with the sandbox.

They follow DigiCert's tutorial "Set up service user multi-factor authentication". What the tutorial leaves open is
optional here: the response to PUT …/enable has no certificate, and a list promises only name, end_date and enabled.
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
"""A name, id or serial number in a response. Longer ones are invalid, and would make reports slow."""

Block = Annotated[str, StringConstraints(max_length=65_536)]
"""A PEM or a public key."""


class _Answer(BaseModel):
    """A response from the server: unknown fields are ignored, not refused, because the API may grow."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CertificateRequest(BaseModel):
    """The body of POST /account/api/v1/client-auth-certificate.

    The tutorial's text calls the date `exp`; all its samples send `expiration_date`.
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
    """A client authentication certificate as the API returns it.

    Args:
        x509_cert: PEM; only in the response to the POST, and never again.
        ca_cert: PEM of the issuing CA; only in the response to the POST.
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
        """The serial number as an integer; None if it is missing or not hexadecimal."""
        digits = (self.serial_number or "").replace(":", "")
        return int(digits, 16) if re.fullmatch(r"[0-9A-Fa-f]+", digits) else None


class Application(_Answer):
    """An application of DigiCert ONE and the user's permissions in it."""

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
    """The response of GET /account/api/v1/user/me.

    `end_date` is not in the tutorial's sample; if present, it limits every certificate of the user.
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
    """The errors in an error body, in any of the shapes that DigiCert ONE is known to send; empty for any other.

    `{"errors": [{code, message}]}`, `{"error": {code, message}}`, `{"error": {status, message}}`, `{"error": "text"}`.
    Codes are returned in lower case, because DigiCert ONE writes them in either.
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
    """A value as text of limited length; half a surrogate pair, which no file takes, becomes a question mark."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else ""
    return text[:2000].encode("utf-8", "replace").decode()
