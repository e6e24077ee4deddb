"""Issues a certificate and puts it into use: the tutorial's steps 1 to 5. Every step can be run again."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property, wraps

from runbook_lib.clock import iso
from runbook_lib.credentials import keys
from runbook_lib.credentials.certificates import facts
from runbook_lib.credentials.generation import IDENTITY, Generation
from runbook_lib.digicert.models import User
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.lifecycle.issuance import Issuance
from runbook_lib.lifecycle.journal import ISSUANCE, Journal, JournalEntry, State, has_reached
from runbook_lib.lifecycle.proof import certificate_rows, prove, run_controls
from runbook_lib.lifecycle.request import IssuanceRequest, certificate_name
from runbook_lib.procedures.handover import snippets
from runbook_lib.procedures.parameters import IssueParameters
from runbook_lib.procedures.procedure import Method, Procedure, change, check
from runbook_lib.result import Result, Verdict
from runbook_lib.schema import FLAG, INTEGER, MOMENT, TEXT, Schema
from runbook_lib.secrets import SecretRef

ISSUED = Schema("issued", {"name": TEXT, "id": TEXT, "serial": TEXT, "starts": MOMENT, "ends": MOMENT, "enabled": FLAG})
JOURNAL = Schema("journal", {"at": MOMENT, "state": TEXT, "generation": INTEGER, "what": TEXT})


def _unless_in_use(step: Method) -> Method:
    """Make a step do nothing if the name is already issued and in use."""

    @wraps(step)
    def run(self: Issue) -> Result:
        return self._in_use() or step(self)

    return run


class Issue(Procedure[IssueParameters]):
    """Notebook 01."""

    slug = "issue"
    notebook = "01_issue"
    model = IssueParameters
    tables = (ISSUED, JOURNAL)

    _end: datetime

    @change(
        "Generate a private key and CSR",
        deed="Generate a key and CSR for {}",
        tutorial="Step 1",
        plan=lambda self: (
            f"create a key ({self.parameters.key_kind}), encrypted with the P12 password, and a CSR in the store"
        ),
        asks=lambda self: self._ask(),
    )
    @_unless_in_use
    def generate_key_and_csr(self) -> Result:
        end = self._end
        with self.credential.lock():
            plan = self._issuance.resume()
            if plan is not None:
                return self._resumed(plan)
            request = self._issuance.seal_key()
            number = self._issuance.reached(State.KEY_SEALED).generation
        return Result(
            verdict=Verdict.OK,
            headline="The encrypted key and the CSR are in the store.",
            facts={
                "Subject": request.subject.rfc4514_string(),
                "Key": f"{self.parameters.key_kind}, encrypted; never on disk in plaintext",
                "Public key (SHA-256 of SPKI)": keys.spki_sha256(request.public_key()),
                "Name to request": certificate_name(self.parameters.name, number),
                "End date to request": iso(end),
            },
        )

    def _ask(self) -> None:
        """Refuse wrong parameters, missing secrets and a conflicting issuance before anything is created."""
        password, _ = self.session.secret("p12_password"), self.session.secret("api_key")
        if self._current_in_date() is not None:
            return
        keys.check_password(password)
        self._end = self._issuance.end_date(self._user_if_a_date_was_given())
        self._issuance.under_way()

    def _user_if_a_date_was_given(self) -> User | None:
        """The service user, so that an end date past its own end is refused before a key is created."""
        if not self.parameters.expiration_date:
            return None
        with self.session.api() as api:
            return api.me()

    def _resumed(self, plan: JournalEntry) -> Result:
        last = self._issuance.reached(State.KEY_SEALED)
        return Result(
            verdict=Verdict.OK,
            headline=f"Resumed the issuance started on {iso(plan.at)}, which had reached “{last.state}”.",
            facts={"Generation": f"{last.generation:04d}", "Folder": str(self.credential.folder)},
        )

    @change(
        "Request the client authentication certificate",
        deed="Request {}",
        tutorial="Step 2",
        plan=lambda self: f"send a request named “{self.parameters.name}” to {self.session.environment.api_url}",
    )
    @_unless_in_use
    def request_certificate(self) -> Result:
        with self.credential.lock(), self.session.api() as api:
            issued = self._issuance.request(api)
        row = (
            issued.name,
            issued.id or "",
            issued.serial_number or "",
            iso(issued.start_date) if issued.start_date else "",
            iso(issued.end_date),
            "yes" if issued.enabled else "no",
        )
        return Result(
            verdict=Verdict.OK,
            headline=f"DigiCert ONE issued “{issued.name}”.",
            facts={
                "Certificate id": issued.id or "",
                "Service user id": issued.user_id or "",
                "Ends": iso(issued.end_date),
            },
            tables=(ISSUED.table("As DigiCert ONE reports it", [row]),),
        )

    @change(
        "Extract and check the certificate",
        deed="Extract and check {}",
        tutorial="Step 3",
        plan=lambda self: "check the certificate, and disable it if it differs from the request",
    )
    @_unless_in_use
    def extract_certificate(self) -> Result:
        with self.credential.lock():
            certificate, findings = self._issuance.check()
        return Result(
            verdict=Verdict.OK,
            headline="The certificate matches the request." if findings else "Checked in an earlier run.",
            facts=certificate_rows(facts(certificate)),
            details=tuple((Verdict.OK, finding.rule, finding.detail) for finding in findings),
        )

    @change(
        "Create the PKCS#12 file",
        deed="Create the PKCS#12 file of {}",
        tutorial="Step 4",
        plan=lambda self: (
            f"bundle key, certificate and chain as a P12 ({self.parameters.p12_profile}); delete the separate key file"
        ),
    )
    @_unless_in_use
    def create_pkcs12(self) -> Result:
        with self.credential.lock():
            generation = self._issuance.bundle()
        return Result(
            verdict=Verdict.OK,
            headline="The P12 is written; it opens, and holds key, certificate and chain.",
            facts={
                "File": str(generation.folder / IDENTITY),
                "Profile": generation.meta.p12_profile,
                "Password": f"from {self.parameters.p12_password}",
                "CA certificates in it": str(len(generation.chain())),
                "Private key": "only in the P12, encrypted",
            },
        )

    @change(
        "Prove the certificate and put it into use",
        deed="Prove {} and put it into use",
        tutorial="Step 5",
        plan=lambda self: (
            f"call {self.session.environment.clientauth_url} with the new certificate and point `current` at it"
        ),
    )
    def put_into_use(self) -> Result:
        done = self._in_use()
        current = self.credential.current()
        if done is not None and current is not None:
            prove(self.session, current)  # it may have been disabled since
            return done.model_copy(update={"headline": f"{done.headline} mTLS works."})
        with self.credential.lock():
            last = self._issuance.reached(State.BUNDLED)
            generation = self.credential.generation(last.generation)
            user = prove(self.session, generation)
            controls = run_controls(self.session)
            controls.require()
            if not has_reached(last, State.VERIFIED):
                self._issuance.journal.append(State.VERIFIED, generation.number)
            self.credential.make_current(generation)
            self._issuance.journal.append(State.CURRENT, generation.number)
        return Result(
            verdict=controls.verdict,
            headline=f"mTLS works, and “{self.parameters.name}” is in use.",
            facts={
                "Service user": user.friendly_name or user.id,
                "Path for programs": str(self.credential.p12),
            },
            details=((Verdict.OK, "With the certificate", "accepted, HTTP 200"), *controls.details),
        )

    @check("Hand over")
    def hand_over(self) -> Result:
        generation = self.credential.current()
        if generation is None:
            raise RunbookError(Reason.NO_CREDENTIAL, f"“{self.parameters.name}” is not in use.")
        entries = Journal(self.credential.journal_path, self.session.clock).entries()
        password = SecretRef.parse(self.parameters.p12_password)
        issuing = [entry for entry in entries if entry.state in ISSUANCE]  # others are of rotations or 03_access
        return Result(
            verdict=Verdict.OK,
            headline=f"Ready to paste. The certificate ends on {iso(generation.meta.not_after)}.",
            facts={"P12": str(self.credential.p12), "Password": f"from {self.parameters.p12_password}"},
            tables=(JOURNAL.table("How it was issued", [_journal_row(entry) for entry in issuing]),),
            snippets=snippets(self.session.environment, self.credential.p12, password),
            next=(
                "02_verify: prove at any time that mTLS works, and what the service user may do.",
                f"05_rotate: replace the certificate before {iso(generation.meta.not_after - timedelta(days=30))}; "
                "04_inventory shows when it is due.",
            ),
        )

    # --- state ----------------------------------------------------------------------------------------------------

    def _in_use(self) -> Result | None:
        """The result of every step if the name is already issued and in use."""
        current = self._current_in_date()
        if current is None:
            return None
        with self.credential.lock():
            self._issuance.write_down_the_switch(current)
        return Result(
            verdict=Verdict.NOTHING_TO_DO,
            headline=f"“{self.parameters.name}” is already issued and in use.",
            facts={"Serial number": current.meta.serial, "Valid to": iso(current.meta.not_after)},
        )

    def _current_in_date(self) -> Generation | None:
        current = self.credential.current()
        if current is None:
            return None
        self.session.check_environment(current)
        if current.meta.not_after <= self.session.clock.now():
            raise RunbookError(
                Reason.CERTIFICATE_EXPIRED, f"“{self.parameters.name}” expired on {iso(current.meta.not_after)}."
            )
        return current

    @cached_property
    def _issuance(self) -> Issuance:
        request = IssuanceRequest(
            name=self.parameters.name,
            subject=self.parameters.subject(),
            key_kind=self.parameters.key_kind,
            profile=self.parameters.p12_profile,
            end_date=self.parameters.expiration_date,
        )
        return Issuance(self.session, request)


def _journal_row(entry: JournalEntry) -> tuple[str, ...]:
    data = ", ".join(f"{key} {value}" for key, value in entry.data.items() if key != "subject" and value != "")
    return iso(entry.at), entry.state.value, f"{entry.generation:04d}", data
