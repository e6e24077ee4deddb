"""From no certificate to one in use: the tutorial's steps 1 to 4, then its proof.

Every step reads where the issuance stands from the journal, does what is left of it, and may be run again after a crash
at any point. The key is sealed and on disk before the request is sent; the request is sent once; a lost answer is
looked for by name and public key before anything else happens.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError

from runbook_lib.clock import iso, parse_utc
from runbook_lib.credentials import keys, pkcs12
from runbook_lib.credentials.certificates import facts, load_certificate, load_certificates
from runbook_lib.credentials.csr import build_csr
from runbook_lib.credentials.csr import pem as csr_pem
from runbook_lib.credentials.lint import lint
from runbook_lib.credentials.store import CERTIFICATE, CHAIN, META, SEALED_KEY, Generation, Meta
from runbook_lib.credentials.store import IDENTITY as P12
from runbook_lib.digicert.client import Client, Outcome
from runbook_lib.digicert.models import MAX_LIFETIME_DAYS, CertificateRequest, ClientAuthCertificate, User
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.handover import snippets
from runbook_lib.procedures.journal import Entry, Journal, State
from runbook_lib.procedures.parameters import IssueParameters
from runbook_lib.procedures.procedure import Procedure, change, check
from runbook_lib.procedures.proof import certificate_facts, check_environment, diagnose, knock, run_controls, shown
from runbook_lib.result import Result, Table, Verdict
from runbook_lib.secrets import SecretRef

KEY, CSR, RESPONSE = SEALED_KEY, "request.csr", "response.json"

_ORDER = list(State)


class Issue(Procedure[IssueParameters]):
    """Notebook 01."""

    slug: ClassVar[str] = "issue"
    notebook: ClassVar[str] = "01_issue"
    model = IssueParameters

    lag_seconds: float = 1.0
    """Between two looks at a list that may lag behind the request."""

    # --- step 1 ---------------------------------------------------------------------------------------------------

    @change(
        "Generate a private key and CSR",
        tutorial="Step 1",
        plan=lambda self: (
            f"make a {self.parameters.key_kind} key, sealed with the P12 password, and a CSR in the store"
        ),
    )
    def generate_key_and_csr(self) -> Result:
        done = self._in_use()
        if done is not None:
            return done
        keys.check_password(self.secret("p12_password"))
        end = self._end_date()
        try:
            subject = self.parameters.subject()
        except ValidationError as error:
            raise RunbookError(Reason.BAD_PARAMETER, "; ".join(item["msg"] for item in error.errors())) from None
        asked = {
            "name": self.parameters.name,
            "subject": subject.model_dump_json(),
            "key": self.parameters.key_kind.value,
            "api_url": self.environment.api_url,
            "end_date": self.parameters.expiration_date,
        }
        with self.credential.lock():
            journal = self._journal()
            last = self._unfinished(journal)
            if last is not None and _reached(last, State.KEY_SEALED):
                resumed = self._resume(journal, last, asked)
                if resumed is not None:
                    return resumed
            number = self._next_number(journal)
            journal.append(State.PLANNED, number, **asked)
            key = keys.generate(self.parameters.key_kind)
            request = build_csr(key, subject)
            staging = self.credential.staging(number)
            self.credential.write(staging / KEY, keys.seal(key, self.secret("p12_password")))
            self.credential.write(staging / CSR, csr_pem(request).encode())
            journal.append(State.KEY_SEALED, number, spki_sha256=keys.spki_sha256(key.public_key()))
        return Result(
            verdict=Verdict.OK,
            headline="The key is sealed in the store, and the CSR is ready.",
            facts={
                "Subject": request.subject.rfc4514_string(),
                "Key": f"{self.parameters.key_kind}, encrypted; never on disk in plaintext",
                "Public key (SHA-256 of SPKI)": keys.spki_sha256(key.public_key()),
                "End date to ask for": iso(end),
                "Folder": str(staging),
            },
        )

    def _resume(self, journal: Journal, last: Entry, asked: dict[str, str]) -> Result | None:
        """Say that an unfinished issuance goes on; give up one that was never sent where other values are asked for."""
        plan = next(one for one in reversed(journal.entries()) if one.state is State.PLANNED)
        differing = [name for name, value in asked.items() if plan.data.get(name) != value]
        if differing and last.state is State.KEY_SEALED:
            journal.append(State.ABANDONED, last.generation, because="other values, and nothing had been sent")
            return None
        if differing:
            raise RunbookError(
                Reason.CONFLICTING_PARAMETER,
                f"An issuance of “{self.parameters.name}” was begun on {iso(plan.at)} and is not finished; it had "
                f"another {', '.join(differing)}.",
                remedy="Give the values it was begun with, or another `name`.",
            )
        return Result(
            verdict=Verdict.OK,
            headline=f"Resumed: an issuance begun on {iso(plan.at)} had got as far as “{last.state}”.",
            facts={"Folder": str(self._folder(last.generation))},
        )

    # --- step 2 ---------------------------------------------------------------------------------------------------

    @change(
        "Request the client authentication certificate",
        tutorial="Step 2",
        plan=lambda self: f"send a request named “{self.parameters.name}” to {self.environment.api_url}",
    )
    def request_certificate(self) -> Result:
        done = self._in_use()
        if done is not None:
            return done
        with self.credential.lock(), self.api() as api:
            journal = self._journal()
            last = self._must_have(journal, State.KEY_SEALED)
            if not _reached(last, State.RECEIVED):
                user = api.me()
                if last.state in (State.POSTED, State.AMBIGUOUS):
                    self._reconcile(api, journal, last.generation)
                self._post(api, journal, last.generation, user)
            issued = self._response(last.generation)
        return Result(
            verdict=Verdict.OK,
            headline=f"DigiCert ONE issued “{issued.name}”.",
            facts={
                "Certificate id": issued.id or "",
                "Service user id": issued.user_id or "",
                "Ends": iso(issued.end_date),
            },
            tables=(
                Table(
                    name="issued",
                    title="As DigiCert ONE tells it",
                    columns=("name", "id", "serial", "starts", "ends", "enabled"),
                    rows=(
                        (
                            issued.name,
                            issued.id or "",
                            issued.serial_number or "",
                            iso(issued.start_date) if issued.start_date else "",
                            iso(issued.end_date),
                            "yes" if issued.enabled else "no",
                        ),
                    ),
                ),
            ),
        )

    def _post(self, api: Client, journal: Journal, number: int, user: User) -> None:
        staging = self.credential.staging(number)
        request = CertificateRequest(
            csr=(staging / CSR).read_text(), name=self.parameters.name, expiration_date=self._end_date(user)
        )
        journal.append(State.POSTED, number, name=request.name, end_date=iso(self._end_date(user)))
        try:
            issued = api.request_certificate(request)
        except RunbookError as error:
            # A name that is taken may have been taken by an earlier request of ours whose answer was lost.
            if error.reason in (Reason.OUTCOME_UNKNOWN, Reason.DUPLICATE_NAME):
                journal.append(State.AMBIGUOUS, number, what=error.what)
                if error.reason is Reason.DUPLICATE_NAME:
                    self._reconcile(api, journal, number)
            else:  # refused or never sent: nothing was issued
                journal.append(State.KEY_SEALED, number, refused=error.reason.value)
            raise
        self.credential.write(staging / RESPONSE, issued.model_dump_json(exclude_none=True).encode())
        journal.append(State.RECEIVED, number, id=issued.id or "", serial=issued.serial_number or "")

    def _reconcile(self, api: Client, journal: Journal, number: int) -> None:
        """After a request whose answer was lost: go on only where it is proven that nothing was issued.

        A certificate that was issued cannot be fetched again, so it is disabled, and seen to be.
        """
        public_key = load_csr((self.credential.staging(number) / CSR).read_bytes()).public_key()
        for look in range(3):
            if look:
                time.sleep(self.lag_seconds)
            named = [one for one in api.certificates() if one.name == self.parameters.name]
            if named:
                break
        else:
            journal.append(State.RECONCILED, number, found="nothing by that name, three times")
            return
        found = named[0]
        if found.public_key is None or found.id is None:
            raise RunbookError(
                Reason.OUTCOME_UNKNOWN,
                f"A certificate “{found.name}” is listed, without the public key that would tell whether it is ours.",
                remedy="Look at it in DigiCert ONE; if it is yours, disable it and issue under another name.",
            )
        if not keys.same_key(public_key, found.public_key):
            journal.append(State.KEY_SEALED, number, refused=Reason.DUPLICATE_NAME.value)
            raise RunbookError(
                Reason.DUPLICATE_NAME, f"“{found.name}” exists and was made for another key: it is not ours."
            )
        if found.enabled:
            api.set_enabled(found.id, False)
            if any(one.id == found.id and one.enabled for one in api.certificates()):
                raise RunbookError(
                    Reason.OUTCOME_UNKNOWN, f"“{found.name}” was disabled, and is still listed as enabled."
                )
        journal.append(State.RECONCILED, number, found="issued, its only copy lost", disabled=found.id)
        journal.append(State.ABANDONED, number, because="the certificate cannot be had again")
        raise RunbookError(
            Reason.ANSWER_LOST, f"“{found.name}” (id {found.id}) was issued, and its answer never arrived."
        )

    # --- step 3 ---------------------------------------------------------------------------------------------------

    @check("Extract and check the certificate", tutorial="Step 3")
    def extract_certificate(self) -> Result:
        done = self._in_use()
        if done is not None:
            return done
        with self.credential.lock():
            journal = self._journal()
            last = self._must_have(journal, State.RECEIVED)
            if _reached(last, State.BUNDLED):
                certificate = self._generation(last.generation).certificate()
                return Result(
                    verdict=Verdict.OK, headline="Checked in an earlier run.", facts=shown(facts(certificate))
                )
            certificate, chain = self._received(last.generation)
            request = load_csr((self.credential.staging(last.generation) / CSR).read_bytes())
            posted = next(one for one in reversed(journal.entries()) if one.state is State.POSTED)
            findings = lint(
                certificate,
                chain,
                csr=request,
                now=self.clock.now(),
                end_date=parse_utc(posted.data["end_date"]),
            )
            broken = [one for one in findings if not one.ok]
            if broken:
                key = any("key" in one.rule for one in broken)
                raise RunbookError(
                    Reason.KEY_MISMATCH if key else Reason.LINT_FAILED,
                    "; ".join(f"{one.rule}: {one.detail}" for one in broken),
                )
            if not _reached(last, State.LINTED):
                journal.append(State.LINTED, last.generation, rules=str(len(findings)))
        return Result(
            verdict=Verdict.OK,
            headline="The certificate is what was asked for.",
            facts=shown(facts(certificate)),
            details=tuple((Verdict.OK, one.rule, one.detail) for one in findings),
        )

    # --- step 4 ---------------------------------------------------------------------------------------------------

    @change(
        "Create the PKCS#12 file",
        tutorial="Step 4",
        plan=lambda self: (
            f"bundle key, certificate and chain as a P12 ({self.parameters.p12_profile}) and drop the sealed key"
        ),
    )
    def create_pkcs12(self) -> Result:
        done = self._in_use()
        if done is not None:
            return done
        with self.credential.lock():
            journal = self._journal()
            last = self._must_have(journal, State.LINTED)
            generation = (
                self._generation(last.generation)
                if _reached(last, State.BUNDLED)
                else self._bundle(journal, last.generation)
            )
        return Result(
            verdict=Verdict.OK,
            headline="The P12 was written, opened again, and holds key, certificate and chain.",
            facts={
                "File": str(generation.folder / P12),
                "Profile": generation.meta.p12_profile,
                "Password": f"from {self.parameters.p12_password}",
                "CA certificates in it": str(len(generation.chain())),
                "Private key": "only in the P12, encrypted",
            },
        )

    def _bundle(self, journal: Journal, number: int) -> Generation:
        if any(one.number == number for one in self.credential.generations()):
            # renamed into place, and then the run ended before it could say so
            journal.append(State.BUNDLED, number)
            return self._generation(number)
        staging = self.credential.staging(number)
        if not (staging / KEY).exists():
            # `commit` drops it last, when the P12 had been opened again, and then the run ended
            return self._commit(journal, number)
        password = self.secret("p12_password")
        certificate, chain = self._received(number)
        issued = self._response(number)
        identity = pkcs12.Identity(keys.unseal((staging / KEY).read_bytes(), password), certificate, tuple(chain))
        seen = facts(certificate)
        meta = Meta(
            name=issued.name,
            id=issued.id,
            user_id=issued.user_id,
            environment=self.environment.name,
            api_url=self.environment.api_url,
            clientauth_url=self.environment.clientauth_url,
            serial=seen.serial_hex,
            not_before=seen.not_before,
            not_after=seen.not_after,
            spki_sha256=seen.spki_sha256,
            key_kind=self.parameters.key_kind,
            p12_profile=self.parameters.p12_profile,
            created=self.clock.now(),
            tool_version=version("digicert-one-runbooks"),
        )
        bundle = pkcs12.write(
            identity, password, profile=self.parameters.p12_profile, friendly_name=self.parameters.name
        )
        self.credential.write(staging / P12, bundle)
        self.credential.write(staging / CERTIFICATE, certificate.public_bytes(Encoding.PEM))
        self.credential.write(staging / CHAIN, b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        self.credential.write(staging / META, meta.to_json())
        pkcs12.open_p12((staging / P12).read_bytes(), password)  # before `commit` drops the sealed key
        return self._commit(journal, number)

    def _commit(self, journal: Journal, number: int) -> Generation:
        generation = self.credential.commit(number)
        journal.append(State.BUNDLED, number)
        return generation

    # --- proof ----------------------------------------------------------------------------------------------------

    @change(
        "Prove it and put it into use",
        tutorial="Step 5",
        plan=lambda self: f"call {self.environment.clientauth_url} with the new certificate and point `current` at it",
    )
    def put_into_use(self) -> Result:
        done = self._in_use()
        if done is not None:
            return done
        with self.credential.lock():
            journal = self._journal()
            last = self._must_have(journal, State.BUNDLED)
            generation = self._generation(last.generation)
            check_environment(generation, self.environment)
            identity = generation.open(self.secret("p12_password"))
            probe = knock(self, identity)
            if probe.outcome is not Outcome.ACCEPTED or probe.user is None:
                raise diagnose(self, probe, certificate_facts(generation), len(identity.chain))
            if generation.meta.user_id and probe.user.id != generation.meta.user_id:
                raise RunbookError(
                    Reason.UNEXPECTED_ANSWER,
                    f"Issued to user {generation.meta.user_id}, and mTLS says we are {probe.user.id}.",
                )
            controls = run_controls(self)
            controls.require()
            if not _reached(last, State.VERIFIED):
                journal.append(State.VERIFIED, last.generation)
            self.credential.make_current(generation)
            journal.append(State.CURRENT, last.generation)
        return Result(
            verdict=controls.verdict,
            headline=f"mTLS works, and “{self.parameters.name}” is in use.",
            facts={
                "The API says we are": probe.user.friendly_name or probe.user.id,
                "Path for programs": str(self._current_p12()),
            },
            details=((Verdict.OK, "With the certificate", "let in, HTTP 200"), *controls.details),
        )

    @check("Hand over")
    def hand_over(self) -> Result:
        generation = self.credential.current()
        if generation is None:
            raise RunbookError(Reason.NO_CREDENTIAL, f"“{self.parameters.name}” is not in use.")
        return Result(
            verdict=Verdict.OK,
            headline=f"Ready to paste. The certificate ends on {iso(generation.meta.not_after)}.",
            facts={"P12": str(self._current_p12()), "Password": f"from {self.parameters.p12_password}"},
            tables=(
                Table(
                    name="journal",
                    title="How it was issued",
                    columns=("at", "state", "generation", "what"),
                    rows=tuple(
                        (iso(one.at), one.state.value, f"{one.generation:04d}", _told(one))
                        for one in self._journal().entries()
                    ),
                ),
            ),
            snippets=snippets(self.environment, self._current_p12(), SecretRef.parse(self.parameters.p12_password)),
            next=(
                "02_verify: prove at any time that mTLS works, and what the service user may do.",
                f"Prepare the next certificate before {iso(generation.meta.not_after - timedelta(days=30))}; "
                "04_inventory tells when it is due.",
            ),
        )

    # --- where it stands ------------------------------------------------------------------------------------------

    def _in_use(self) -> Result | None:
        """The answer of every step where this name has been issued and is in use already."""
        current = self.credential.current()
        if current is None:
            return None
        check_environment(current, self.environment)
        if current.meta.not_after <= self.clock.now():
            raise RunbookError(
                Reason.CERTIFICATE_EXPIRED, f"“{self.parameters.name}” ended on {iso(current.meta.not_after)}."
            )
        return Result(
            verdict=Verdict.NOTHING_TO_DO,
            headline=f"“{self.parameters.name}” is issued and in use already.",
            facts={"Serial number": current.meta.serial, "Valid to": iso(current.meta.not_after)},
        )

    def _next_number(self, journal: Journal) -> int:
        """A number no generation has had, not even one that was given up: its sealed key stays where it is."""
        return max(self.credential.next_number(), *(entry.generation + 1 for entry in journal.entries()), 1)

    def _journal(self) -> Journal:
        return Journal(self.credential.journal_path, self.clock)

    def _unfinished(self, journal: Journal) -> Entry | None:
        last = journal.last()
        return None if last is None or last.state in (State.CURRENT, State.ABANDONED) else last

    def _must_have(self, journal: Journal, state: State) -> Entry:
        last = self._unfinished(journal)
        if last is None or not _reached(last, state):
            raise RunbookError(
                Reason.STEP_OUT_OF_ORDER, f"The journal of “{self.parameters.name}” has not reached “{state}”."
            )
        return last

    def _folder(self, number: int) -> Path:
        made = [one.folder for one in self.credential.generations() if one.number == number]
        return made[0] if made else self.credential.staging(number)

    def _generation(self, number: int) -> Generation:
        return next(one for one in self.credential.generations() if one.number == number)

    def _current_p12(self) -> Path:
        return self.credential.folder / "current" / P12

    def _response(self, number: int) -> ClientAuthCertificate:
        path = self._folder(number) / RESPONSE
        if path.is_file():
            return ClientAuthCertificate.model_validate_json(path.read_bytes())
        meta = self._generation(number).meta
        return ClientAuthCertificate(
            id=meta.id,
            user_id=meta.user_id,
            name=meta.name,
            serial_number=meta.serial,
            start_date=meta.not_before,
            end_date=meta.not_after,
            enabled=True,
        )

    def _received(self, number: int) -> tuple[x509.Certificate, list[x509.Certificate]]:
        issued = self._response(number)
        return load_certificate(issued.x509_cert or ""), load_certificates(issued.ca_cert) if issued.ca_cert else []

    def _end_date(self, user: User | None = None) -> datetime:
        """The end date to ask for: what was given, else the latest that is allowed.

        Raises:
            RunbookError: BAD_PARAMETER where what was given is past, or later than allowed.
        """
        now = self.clock.now()
        given = self.parameters.expiration_date
        limits = {f"{MAX_LIFETIME_DAYS} days from now": now + timedelta(days=MAX_LIFETIME_DAYS)}
        if user is not None:
            if user.end_date is not None:
                limits["the service user's own end date"] = user.end_date
            ends = [one.service_period.to for one in user.accounts if one.service_period and one.service_period.to]
            if len(ends) == 1:
                limits["the end of the account's service period"] = parse_utc(f"{ends[0].isoformat()}T23:59:59Z")
        if given:
            end = parse_utc(given)
            if end <= now:
                raise RunbookError(Reason.BAD_PARAMETER, f"expiration_date: {given} is past.")
            for what, limit in limits.items():
                if end > limit:
                    raise RunbookError(
                        Reason.BAD_PARAMETER, f"expiration_date: {given} is later than {what} ({iso(limit)})."
                    )
            return end
        # today + 397 at the last second would be over the limit (facts: 397 days count from the moment of creation)
        latest = (now + timedelta(days=MAX_LIFETIME_DAYS - 1)).replace(hour=23, minute=59, second=59, microsecond=0)
        return min(latest, *limits.values())


def load_csr(pem: bytes) -> x509.CertificateSigningRequest:
    """A CSR this library wrote itself."""
    return x509.load_pem_x509_csr(pem)


def _told(entry: Entry) -> str:
    return ", ".join(f"{key} {value}" for key, value in entry.data.items() if key != "subject")


def _reached(entry: Entry, state: State) -> bool:
    """Whether an issuance has come as far as `state`. A request in doubt has not been received."""
    return _ORDER.index(entry.state) >= _ORDER.index(state)
