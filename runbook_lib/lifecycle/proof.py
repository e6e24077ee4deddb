"""Proves that mTLS with a certificate works, or says why not. Verification, issuance and access share it."""

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
    """Prove that mTLS accepts this generation. Returns the service user; raises RunbookError with the cause if not."""
    session.check_environment(generation)
    identity = generation.open(session.secret("p12_password"))
    user = let_in(session, probe(session, identity, until=Outcome.ACCEPTED), identity)
    if generation.meta.user_id and user.id != generation.meta.user_id:
        raise RunbookError(
            Reason.UNEXPECTED_ANSWER,
            f"The certificate was issued to user {generation.meta.user_id}, but mTLS says we are {user.id}.",
        )
    return user


def prove_refused(session: Session, generation: Generation) -> str:
    """Prove that mTLS refuses this generation. Returns what was seen; raises RunbookError (STILL_ACCEPTED) if not."""
    answer = probe(session, generation.open(session.secret("p12_password")), until=Outcome.REFUSED)
    if answer.outcome is Outcome.ACCEPTED:
        raise RunbookError(Reason.STILL_ACCEPTED, f"“{generation.meta.name}” is disabled, but mTLS still accepts it.")
    if answer.outcome is not Outcome.REFUSED:
        raise answer.error or RunbookError(Reason.UNREACHABLE, answer.seen)
    return answer.seen


def let_in(session: Session, answer: Probe, identity: Identity) -> User:
    """The service user that was accepted. Raises the RunbookError of `diagnose` if none was."""
    if answer.user is None:
        raise diagnose(session, answer, identity)
    return answer.user


def probe(session: Session, identity: Identity | None, *, until: Outcome | None = None) -> Probe:
    """GET user/me over mTLS, as a verdict. Ask up to `TRIES` times for the outcome `until`, if one is given.

    Issuing, disabling or enabling a certificate may take some moments to take effect.

    Some servers refuse a certificate by just ending the connection. That counts as a refusal if the same host, asked
    at once without a certificate, answers; otherwise there is no verdict.
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
            seen = "The host ends the connection with this certificate, but answers without it."
            return Probe(Outcome.REFUSED, seen, error=RunbookError(Reason.CERTIFICATE_REFUSED, seen))
    return answer


def refuse_wrong_clock(session: Session, answered: Client | Probe) -> None:
    """Raise RunbookError (CLOCK_WRONG) if the date of the last response differs from ours by more than five minutes."""
    here, there = session.clock.now(), answered.server_clock
    if there is not None and abs(here - there) > SLACK:
        raise RunbookError(
            Reason.CLOCK_WRONG,
            f"This machine says {iso(here)} ({session.clock.source}), but DigiCert ONE says {iso(there)}.",
        )


def diagnose(session: Session, answer: Probe, identity: Identity) -> RunbookError:
    """Find out why mTLS refuses this identity.

    The status does not tell: disabled, expired and absent certificates all give 403. So the clocks, the certificate's
    dates, the list that the API key sees, and the chain are checked, in this order.
    """
    if answer.error is not None and answer.outcome is Outcome.NO_VERDICT:
        return answer.error
    try:
        refuse_wrong_clock(session, answer)
    except RunbookError as error:
        return error
    now, certificate = session.clock.now(), facts(identity.certificate)
    if certificate.not_after < now:
        return RunbookError(
            Reason.CERTIFICATE_EXPIRED, f"{answer.seen} The certificate expired on {iso(certificate.not_after)}."
        )
    if certificate.not_before > now:
        return RunbookError(
            Reason.CERTIFICATE_NOT_YET_VALID,
            f"{answer.seen} The certificate is valid from {iso(certificate.not_before)}; this machine says {iso(now)}.",
        )
    try:
        with session.api() as api:
            listed = find_certificate(api.certificates(), certificate)
    except RunbookError as error:
        return RunbookError(
            Reason.CERTIFICATE_REFUSED,
            f"{answer.seen} It is unknown whether the certificate is disabled: {error.what}",
            remedy=f"First: {error.remedy}",
        )
    if listed is None:
        return RunbookError(
            Reason.CERTIFICATE_UNKNOWN,
            f"{answer.seen} {session.environment.api_url} lists no certificate with serial {certificate.serial_hex}.",
        )
    if not listed.enabled:
        return RunbookError(Reason.CERTIFICATE_DISABLED, f"{answer.seen} “{listed.name}” is listed as disabled.")
    if not identity.chain:
        return RunbookError(Reason.CHAIN_MISSING, f"{answer.seen} The P12 holds no CA certificate.")
    return RunbookError(Reason.CERTIFICATE_REFUSED, f"{answer.seen} “{listed.name}” is listed, enabled and in date.")


def find_certificate(listed: Listing, certificate: CertificateFacts) -> ClientAuthCertificate | None:
    """The listed certificate with this serial number, compared as an integer; None if there is none.

    Raises:
        RunbookError: LIST_NOT_WHOLE if there is none and the list may be incomplete.
    """
    return listed.first(lambda entry: entry.serial == certificate.serial)


def listed_as(session: Session, generation: Generation) -> ClientAuthCertificate:
    """A generation as DigiCert ONE lists it now. Raises RunbookError (STATE_CONTRADICTION) if it is not listed."""
    certificate = generation.facts()
    with session.api() as api:
        listed = session.poll(lambda: find_certificate(api.certificates(), certificate))
    if listed is None or listed.id is None:
        url = session.environment.api_url
        raise RunbookError(Reason.STATE_CONTRADICTION, f"{url} no longer lists “{generation.meta.name}”.")
    return listed


@dataclass(frozen=True)
class Controls:
    """The results of the same request without the certificate, and with an unrelated one."""

    details: tuple[Detail, ...]

    @property
    def verdict(self) -> Verdict:
        return worst([verdict for verdict, _, _ in self.details])

    def require(self) -> None:
        """Raise RunbookError (CONTROL_FAILED) if a control was accepted."""
        for verdict, name, seen in self.details:
            if verdict is Verdict.FAILED:
                raise RunbookError(Reason.CONTROL_FAILED, f"{name}: {seen}")


def run_controls(session: Session) -> Controls:
    """Send the same request without a certificate, and with an unrelated one: the host must refuse both."""
    tried = (("Without a certificate", None), ("With an unrelated certificate", unrelated_identity()))
    details: list[Detail] = []
    for name, identity in tried:
        answer = probe(session, identity)
        match answer.outcome:
            case Outcome.REFUSED:
                details.append((Verdict.OK, name, f"refused, as expected: {answer.seen}"))
            case Outcome.ACCEPTED:
                details.append((Verdict.FAILED, name, "accepted, but must be refused"))
            case _:
                details.append((Verdict.UNCHECKED, name, f"no verdict: {answer.seen}"))
    return Controls(tuple(details))


def certificate_rows(seen: CertificateFacts) -> dict[str, str]:
    """A certificate's facts, labelled for a report."""
    return {
        "Subject": seen.subject,
        "Issuer": seen.issuer,
        "Serial number": seen.serial_hex,
        "Valid from": iso(seen.not_before),
        "Valid to": iso(seen.not_after),
        "Key": seen.key,
        "SHA-256": seen.sha256,
    }
