"""Proof that a certificate opens the API, or why it does not: what verification, issuance and access share."""

from __future__ import annotations

from dataclasses import dataclass

from runbook_lib.clock import SLACK, iso
from runbook_lib.credentials.certificates import CertificateFacts, facts
from runbook_lib.credentials.generation import Generation
from runbook_lib.credentials.pkcs12 import unrelated_identity
from runbook_lib.digicert.client import Client, Outcome, Probe
from runbook_lib.digicert.listing import Listing
from runbook_lib.digicert.models import ClientAuthCertificate, User
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.lifecycle.session import Session
from runbook_lib.result import Verdict, worst

TRIES = 5
PAUSE_SECONDS = 1.0

Detail = tuple[Verdict, str, str]


def prove(session: Session, generation: Generation) -> User:
    """Who the API says we are with this generation. Raises RunbookError, with the reason, where we are not let in."""
    session.check_environment(generation)
    identity = generation.open(session.secret("p12_password"))
    user = let_in(session, probe(session, identity, until=Outcome.ACCEPTED), identity)
    if generation.meta.user_id and user.id != generation.meta.user_id:
        raise RunbookError(
            Reason.UNEXPECTED_ANSWER, f"Issued to user {generation.meta.user_id}, and mTLS says we are {user.id}."
        )
    return user


def prove_refused(session: Session, generation: Generation) -> str:
    """What was seen when this generation was refused. Raises RunbookError (STILL_ACCEPTED) where it was not."""
    answer = probe(session, generation.open(session.secret("p12_password")), until=Outcome.REFUSED)
    if answer.outcome is Outcome.ACCEPTED:
        raise RunbookError(Reason.STILL_ACCEPTED, f"“{generation.meta.name}” is disabled, and is let in.")
    if answer.outcome is not Outcome.REFUSED:
        raise answer.error or RunbookError(Reason.UNREACHABLE, answer.seen)
    return answer.seen


def let_in(session: Session, answer: Probe, identity: Identity) -> User:
    """Who was let in. Raises RunbookError, as `diagnose` makes it, where nobody was."""
    if answer.user is None:
        raise diagnose(session, answer, identity)
    return answer.user


def probe(session: Session, identity: Identity | None, *, until: Outcome | None = None) -> Probe:
    """GET user/me over mTLS, as a verdict. Where an outcome is waited for, ask up to `TRIES` times.

    A change may take some moments to bite: a certificate just issued, disabled or enabled.

    Some servers refuse a certificate by just ending the connection. That is a refusal where the same host, asked at
    once without a certificate, does answer; otherwise it is no verdict.
    """
    for number in range(TRIES if until else 1):
        if number:
            session.pause(PAUSE_SECONDS)
        answer = _ask(session, identity)
        if answer.outcome is until:
            break
    return answer


def _ask(session: Session, identity: Identity | None) -> Probe:
    with session.mtls(identity) as client:
        answer = client.probe()
    if identity and answer.error is not None and answer.error.reason is Reason.UNREACHABLE:
        with session.mtls(None) as client:
            bare = client.probe()
        if bare.status is not None:
            seen = "The host ends the connection when this certificate is shown, and answers without it."
            return Probe(Outcome.REFUSED, seen, error=RunbookError(Reason.CERTIFICATE_REFUSED, seen))
    return answer


def refuse_wrong_clock(session: Session, answered: Client | Probe) -> None:
    """Raise RunbookError (CLOCK_WRONG) where the last answer was dated more than five minutes from now."""
    here, there = session.clock.now(), answered.server_clock
    if there is not None and abs(here - there) > SLACK:
        raise RunbookError(
            Reason.CLOCK_WRONG, f"It is {iso(here)} here ({session.clock.source}), and {iso(there)} at DigiCert ONE."
        )


def diagnose(session: Session, answer: Probe, identity: Identity) -> RunbookError:
    """Why mTLS with this identity is refused.

    The status says nothing: disabled, expired and absent certificates all answer 403. So the clocks, its dates, the
    list seen by the API key, and its chain are asked, in this order.
    """
    if answer.error is not None and answer.outcome is Outcome.NO_VERDICT:
        return answer.error
    try:
        refuse_wrong_clock(session, answer)
    except RunbookError as error:
        return error
    now, certificate = session.clock.now(), facts(identity.certificate)
    if certificate.not_after < now:
        return RunbookError(Reason.CERTIFICATE_EXPIRED, f"{answer.seen} It ended on {iso(certificate.not_after)}.")
    if certificate.not_before > now:
        return RunbookError(
            Reason.CERTIFICATE_NOT_YET_VALID,
            f"{answer.seen} It begins on {iso(certificate.not_before)}; it is {iso(now)} here.",
        )
    try:
        with session.api() as api:
            listed = find_certificate(api.certificates(), certificate)
    except RunbookError as error:
        return RunbookError(
            Reason.CERTIFICATE_REFUSED,
            f"{answer.seen} Whether it is disabled could not be looked up: {error.what}",
            remedy=f"First: {error.remedy}",
        )
    if listed is None:
        return RunbookError(
            Reason.CERTIFICATE_UNKNOWN,
            f"{answer.seen} {session.environment.api_url} lists no certificate {certificate.serial_hex}.",
        )
    if not listed.enabled:
        return RunbookError(
            Reason.CERTIFICATE_DISABLED, f"{answer.seen} “{listed.name}” is listed with enabled = false."
        )
    if not identity.chain:
        return RunbookError(Reason.CHAIN_MISSING, f"{answer.seen} The P12 holds no CA certificate.")
    return RunbookError(Reason.CERTIFICATE_REFUSED, f"{answer.seen} “{listed.name}” is listed, enabled and in date.")


def find_certificate(listed: Listing, certificate: CertificateFacts) -> ClientAuthCertificate | None:
    """The listed certificate with this serial number, compared as an integer. Raises LIST_NOT_WHOLE where it may be
    among what the list does not hold."""
    return listed.first(lambda entry: entry.serial == certificate.serial)


def listed_as(session: Session, generation: Generation) -> ClientAuthCertificate:
    """A generation as DigiCert ONE lists it now. Raises RunbookError (STATE_CONTRADICTION) where it does not."""
    certificate = generation.facts()
    with session.api() as api:
        listed = session.poll(lambda: find_certificate(api.certificates(), certificate))
    if listed is None or listed.id is None:
        url = session.environment.api_url
        raise RunbookError(Reason.STATE_CONTRADICTION, f"{url} no longer lists “{generation.meta.name}”.")
    return listed


@dataclass(frozen=True)
class Controls:
    """What the same request did without the certificate, and with an unrelated one."""

    details: tuple[Detail, ...]

    @property
    def verdict(self) -> Verdict:
        return worst([verdict for verdict, _, _ in self.details])

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
        answer = probe(session, identity)
        match answer.outcome:
            case Outcome.REFUSED:
                details.append((Verdict.OK, name, f"refused, as it must be: {answer.seen}"))
            case Outcome.ACCEPTED:
                details.append((Verdict.FAILED, name, "was let in, and must not be"))
            case _:
                details.append((Verdict.UNCHECKED, name, f"no verdict: {answer.seen}"))
    return Controls(tuple(details))


def certificate_rows(seen: CertificateFacts) -> dict[str, str]:
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
