"""What an issuance requests: name, subject, key, and an end date within the limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from runbook_lib.clock import iso, parse_utc
from runbook_lib.credentials.csr import Subject
from runbook_lib.credentials.generation import Generation
from runbook_lib.credentials.keys import KeyKind
from runbook_lib.credentials.pkcs12 import Profile
from runbook_lib.digicert.models import User
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.rules import MAX_LIFETIME, NAME_MAX_LENGTH


@dataclass(frozen=True)
class IssuanceRequest:
    """What to request. `end_date` is as the user entered it; empty means the latest that is allowed."""

    name: str
    subject: Subject
    key_kind: KeyKind
    profile: Profile
    end_date: str = ""

    @classmethod
    def successor(cls, current: Generation, end_date: str) -> IssuanceRequest:
        """A request like that of the certificate in use. Raises RunbookError (BAD_PARAMETER) for an invalid subject."""
        try:
            subject = Subject.of(current.certificate().subject)
        except ValidationError as error:
            fields = ", ".join(str(item["loc"][0]) for item in error.errors())
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"The subject of {current.folder.name} cannot be requested again. Invalid: {fields}.",
                remedy="Issue a certificate under another name with notebook 01.",
            ) from None
        return cls(current.folder.parent.name, subject, current.meta.key_kind, current.meta.p12_profile, end_date)


def certificate_name(name: str, number: int) -> str:
    """A generation's name on the server. Names are unique there and cannot be reused."""
    return name if number == 1 else f"{name[: NAME_MAX_LENGTH - 5].rstrip()} {number:04d}"


def latest_end(given: str, now: datetime, user: User | None = None) -> datetime:
    """The end date to request: `given`, or the latest that is allowed if that is empty.

    Raises:
        RunbookError: BAD_PARAMETER if `given` is in the past, or later than allowed.
    """
    limits = {f"{MAX_LIFETIME.days} days from now": now + MAX_LIFETIME} | ends_of(user)
    if not given:
        # the last second of today + 397 days is over the limit: the days count from the moment of creation
        latest = (now + MAX_LIFETIME - timedelta(days=1)).replace(hour=23, minute=59, second=59, microsecond=0)
        return min(latest, *limits.values())
    end = parse_utc(given)
    if end <= now:
        raise RunbookError(Reason.BAD_PARAMETER, f"expiration_date: {given} is in the past.")
    for what, limit in limits.items():
        if end > limit:
            raise RunbookError(Reason.BAD_PARAMETER, f"expiration_date: {given} is later than {what} ({iso(limit)}).")
    return end


def ends_of(user: User | None) -> dict[str, datetime]:
    """The dates at which a service user itself ends, by cause: its certificates stop working then."""
    limits: dict[str, datetime] = {}
    if user is not None:
        if user.end_date is not None:
            limits["the service user's own end date"] = user.end_date
        periods = [account.service_period for account in user.accounts]
        ends = [period.to for period in periods if period and period.to]
        if len(ends) == 1:
            limits["the end of the account's service period"] = parse_utc(f"{ends[0].isoformat()}T23:59:59Z")
    return limits
