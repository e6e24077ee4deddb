"""Proof that a certificate opens the API, or why it does not: what verification, issuance and access share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from runbook_lib.clock import iso
from runbook_lib.credentials.certificates import CertificateFacts
from runbook_lib.credentials.pkcs12 import unrelated_identity
from runbook_lib.credentials.store import Generation
from runbook_lib.digicert.client import Client, Outcome, Probe
from runbook_lib.digicert.environments import Environment
from runbook_lib.digicert.listing import Listing
from runbook_lib.digicert.models import ClientAuthCertificate
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.lifecycle.session import Session
from runbook_lib.result import Verdict

CLOCK_SLACK = timedelta(minutes=5)
TRIES = 5
PAUSE_SECONDS = 1.0

Detail = tuple[Verdict, str, str]


def check_environment(generation: Generation, environment: Environment) -> None:
    """Refuse a credential on another host than it was issued on. Raises RunbookError (WRONG_ENVIRONMENT)."""
    meta = generation.meta
    if meta.api_url != environment.api_url:
        raise RunbookError(
            Reason.WRONG_ENVIRONMENT,
            f"“{meta.name}” was issued on {meta.api_url}; the environment chosen is {environment.api_url}.",
        )


def knock(session: Session, identity: Identity | None, *, until: Outcome | None = None) -> Probe:
    """GET user/me over mTLS, as a verdict. Where an outcome is waited for, ask up to `TRIES` times.

    A change may take some moments to bite: a certificate just issued, disabled or enabled.

    Some servers refuse a certificate by just ending the connection. That is a refusal where the same host, asked at
    once without a certificate, does answer; otherwise it is no verdict.
    """
    for number in range(TRIES if until else 1):
        if number:
            session.pause(PAUSE_SECONDS)
        probe = _ask(session, identity)
        if probe.outcome is until:
            break
    return probe


def _ask(session: Session, identity: Identity | None) -> Probe:
    with session.mtls(identity) as client:
        probe = client.probe()
    if identity and probe.error is not None and probe.error.reason is Reason.UNREACHABLE:
        with session.mtls(None) as client:
            bare = client.probe()
        if bare.status is not None:
            seen = "The host ends the connection when this certificate is shown, and answers without it."
            return Probe(Outcome.REFUSED, seen, error=RunbookError(Reason.CERTIFICATE_REFUSED, seen))
    return probe


def refuse_wrong_clock(session: Session, answered: Client | Probe) -> None:
    """Raise RunbookError (CLOCK_WRONG) where the last answer was dated more than five minutes from now."""
    here, there = session.clock.now(), answered.server_clock
    if there is not None and abs(here - there) > CLOCK_SLACK:
        raise RunbookError(
            Reason.CLOCK_WRONG, f"It is {iso(here)} here ({session.clock.source}), and {iso(there)} at DigiCert ONE."
        )


def diagnose(session: Session, probe: Probe, seen: CertificateFacts, chain: int) -> RunbookError:
    """Why mTLS with this certificate is refused.

    The status says nothing: disabled, expired and absent certificates all answer 403. So the clocks, its dates, the
    list seen by the API key, and its chain are asked, in this order.
    """
    if probe.error is not None and probe.outcome is Outcome.NO_VERDICT:
        return probe.error
    try:
        refuse_wrong_clock(session, probe)
    except RunbookError as error:
        return error
    now = session.clock.now()
    if seen.not_after < now:
        return RunbookError(Reason.CERTIFICATE_EXPIRED, f"{probe.seen} It ended on {iso(seen.not_after)}.")
    if seen.not_before > now:
        return RunbookError(
            Reason.CERTIFICATE_NOT_YET_VALID,
            f"{probe.seen} It begins on {iso(seen.not_before)}; it is {iso(now)} here.",
        )
    try:
        with session.api() as api:
            listed = find(api.certificates(), seen)
    except RunbookError as error:
        return RunbookError(
            Reason.CERTIFICATE_REFUSED,
            f"{probe.seen} Whether it is disabled could not be looked up: {error.what}",
            remedy=f"First: {error.remedy}",
        )
    if listed is None:
        return RunbookError(
            Reason.CERTIFICATE_UNKNOWN,
            f"{probe.seen} {session.environment.api_url} lists no certificate {seen.serial_hex}.",
        )
    if not listed.enabled:
        return RunbookError(
            Reason.CERTIFICATE_DISABLED, f"{probe.seen} “{listed.name}” is listed with enabled = false."
        )
    if not chain:
        return RunbookError(Reason.CHAIN_MISSING, f"{probe.seen} The P12 holds no CA certificate.")
    return RunbookError(Reason.CERTIFICATE_REFUSED, f"{probe.seen} “{listed.name}” is listed, enabled and in date.")


def find(listed: Listing, seen: CertificateFacts) -> ClientAuthCertificate | None:
    """The listed certificate with this serial number, compared as an integer. Raises LIST_NOT_WHOLE where it may be
    among what the list does not hold."""
    return listed.first(lambda one: one.serial == seen.serial)


@dataclass(frozen=True)
class Controls:
    """What the same request did without the certificate, and with an unrelated one."""

    details: tuple[Detail, ...]

    @property
    def verdict(self) -> Verdict:
        return max((verdict for verdict, _, _ in self.details), key=list(Verdict).index)

    def require(self) -> None:
        """Raise RunbookError (CONTROL_FAILED) where one was let in."""
        for verdict, name, seen in self.details:
            if verdict is Verdict.FAILED:
                raise RunbookError(Reason.CONTROL_FAILED, f"{name}: {seen}")


def run_controls(session: Session) -> Controls:
    """The same request on the same host without a certificate, and with one of nobody's: both must be refused."""
    tried = (("Without a certificate", None), ("With an unrelated certificate", unrelated_identity()))
    details: list[Detail] = []
    for name, identity in tried:
        probe = knock(session, identity)
        match probe.outcome:
            case Outcome.REFUSED:
                details.append((Verdict.OK, name, f"refused, as it must be: {probe.seen}"))
            case Outcome.ACCEPTED:
                details.append((Verdict.FAILED, name, "was let in, and must not be"))
            case _:
                details.append((Verdict.UNCHECKED, name, f"no verdict: {probe.seen}"))
    return Controls(tuple(details))


def certificate_facts(generation: Generation) -> CertificateFacts:
    """What a generation's certificate says."""
    return generation.facts()


def shown(seen: CertificateFacts) -> dict[str, str]:
    """A certificate's facts as a reader wants them."""
    return {
        "Subject": seen.subject,
        "Issuer": seen.issuer,
        "Serial number": seen.serial_hex,
        "Valid from": iso(seen.not_before),
        "Valid to": iso(seen.not_after),
        "Key": seen.key,
        "SHA-256": seen.sha256,
    }
