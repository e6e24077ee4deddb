"""Issues one certificate, from key to P12, resumable at any point: in notebook 01, and in each rotation of notebook 05.

The sealed key is on disk before the request is sent. If the outcome of a request is unknown, the certificate is looked
up by name and public key before anything else. The request is sent again only if nothing is found. Names are unique in
DigiCert ONE, so a list that lags cannot lead to two certificates. A certificate that nobody can use is disabled, and
the list is checked for it.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from pydantic import ValidationError

from runbook_lib.clock import iso, parse_utc
from runbook_lib.credentials import keys
from runbook_lib.credentials.csr import build_csr, csr_pem
from runbook_lib.credentials.files import read_bytes
from runbook_lib.credentials.generation import Generation
from runbook_lib.credentials.lint import LintFinding, lint
from runbook_lib.credentials.store import SEALED_KEY
from runbook_lib.digicert.client import Client
from runbook_lib.digicert.failures import NOTHING_ISSUED
from runbook_lib.digicert.models import CertificateRequest, ClientAuthCertificate, User
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.lifecycle.bundle import certificates_of, write_generation
from runbook_lib.lifecycle.journal import Journal, JournalEntry, State, has_reached, unfinished_issuance
from runbook_lib.lifecycle.request import IssuanceRequest, certificate_name, latest_end
from runbook_lib.lifecycle.session import LOOKS, Session

CSR, RESPONSE = "request.csr", "response.json"

ATTEMPTS = 6
"""How often one run requests a certificate with an unknown outcome, before it leaves the rest to the next run."""
_KEY_MARK = "-----BEGIN PRIVATE KEY-----"
"""All that is kept of a received text with a private key in it; `check` refuses the text because of it."""


class Issuance:
    """The issuance in progress for one credential. The caller holds its lock.

    Args:
        request: what to request.
    """

    def __init__(self, session: Session, request: IssuanceRequest) -> None:
        self._session = session
        self._request = request
        self.credential = session.credential(request.name)
        self.journal = Journal(self.credential.journal_path, session.clock)

    # --- where it stands ------------------------------------------------------------------------------------------

    def unfinished(self) -> JournalEntry | None:
        """The last entry of an unfinished issuance, or None."""
        return unfinished_issuance(self.journal.entries())

    def reached(self, state: State) -> JournalEntry:
        """The last entry of the issuance in progress. Raises RunbookError (STEP_OUT_OF_ORDER) before `state`."""
        last = self.unfinished()
        if last is None or not has_reached(last, state):
            raise RunbookError(
                Reason.STEP_OUT_OF_ORDER, f"The journal of “{self._request.name}” has not reached “{state}”."
            )
        return last

    def write_down_the_switch(self, current: Generation) -> None:
        """Record that `current` was set, if the run that set it ended before it could record this."""
        last = self.unfinished()
        # a rotation's successor may be “verified” too, but `current` does not point to it
        if last is not None and last.generation == current.number and has_reached(last, State.VERIFIED):
            self.journal.append(State.CURRENT, current.number)

    def response(self, number: int) -> ClientAuthCertificate:
        """DigiCert ONE's response to the request; without the certificate itself once that is in the P12."""
        if not self._committed(number):
            path = self.credential.staging(number) / RESPONSE
            try:
                return ClientAuthCertificate.model_validate_json(read_bytes(path))
            except ValidationError:
                raise RunbookError(Reason.UNREADABLE_FILE, f"{path} is malformed.") from None
        meta = self.credential.generation(number).meta
        return ClientAuthCertificate(
            id=meta.id,
            user_id=meta.user_id,
            name=meta.name,
            serial_number=meta.serial,
            start_date=meta.not_before,
            end_date=meta.not_after,
            enabled=True,
        )

    def _committed(self, number: int) -> bool:
        return any(generation.number == number for generation in self.credential.generations())

    # --- key and CSR ----------------------------------------------------------------------------------------------

    def asked(self) -> dict[str, str]:
        """The requested values that are journalled, and compared when an issuance is resumed."""
        return {
            "name": self._request.name,
            "subject": self._request.subject.model_dump_json(),
            "key": self._request.key_kind.value,
            "api_url": self._session.environment.api_url,
            "end_date": self._request.end_date,
        }

    def resume(self) -> JournalEntry | None:
        """The plan of the unfinished issuance to resume. None if there is none: then seal a key.

        An issuance that was never sent is abandoned if the values changed. A commit that was started is finished.

        Raises:
            RunbookError: CONFLICTING_PARAMETER if the request was sent with other values.
        """
        under_way = self.under_way()
        if under_way is None:
            return None
        last, plan, differing = under_way
        if differing:
            self.journal.append(State.ABANDONED, last.generation, because="other values, and nothing had been issued")
            return None
        if last.state is State.LINTED:
            self._finish_commit(last.generation)
        return plan

    def under_way(self) -> tuple[JournalEntry, JournalEntry, list[str]] | None:
        """An unfinished issuance whose key is sealed: its last entry, its plan, and the values that differ now.

        Raises:
            RunbookError: CONFLICTING_PARAMETER if the request was sent with other values.
        """
        last = self.unfinished()
        if last is None or not has_reached(last, State.KEY_SEALED):
            return None
        plan = next(entry for entry in reversed(self.journal.entries()) if entry.state is State.PLANNED)
        differing = [name for name, value in self.asked().items() if plan.data.get(name) != value]
        if not differing or last.state is State.KEY_SEALED:
            return last, plan, differing
        raise RunbookError(
            Reason.CONFLICTING_PARAMETER,
            f"The unfinished issuance of “{self._request.name}” was started on {iso(plan.at)} with different values: "
            f"{', '.join(differing)}.",
            remedy="Enter the values it was started with, or another `name`.",
        )

    def seal_key(self) -> x509.CertificateSigningRequest:
        """Plan the next generation; write its sealed key and its CSR to disk."""
        number = self._next_number()
        password = self._session.secret("p12_password")
        self.journal.append(State.PLANNED, number, **self.asked())
        key = keys.generate(self._request.key_kind)
        csr = build_csr(key, self._request.subject)
        staging = self.credential.staging(number)
        self.credential.write(staging / SEALED_KEY, keys.seal_key(key, password))
        self.credential.write(staging / CSR, csr_pem(csr).encode())
        self.journal.append(State.KEY_SEALED, number, spki_sha256=keys.spki_sha256(key.public_key()))
        return csr

    def _next_number(self) -> int:
        """A number that no generation has used, abandoned ones included: their sealed keys stay in place."""
        return max(self.credential.next_number(), *(entry.generation + 1 for entry in self.journal.entries()), 1)

    def csr_of(self, number: int) -> x509.CertificateSigningRequest:
        """The CSR of a generation that is not yet committed."""
        path = self.credential.staging(number) / CSR
        try:
            return x509.load_pem_x509_csr(read_bytes(path))
        except ValueError:
            raise RunbookError(Reason.UNREADABLE_FILE, f"{path} is not a CSR in PEM.") from None

    # --- request --------------------------------------------------------------------------------------------------

    def request(self, api: Client) -> ClientAuthCertificate:
        """Have the certificate issued, and write the response to disk.

        Raises:
            RunbookError: DigiCert ONE's refusal; OUTCOME_UNKNOWN if the outcome is still unknown after several
                attempts; DUPLICATE_NAME if the name belongs to somebody else.
        """
        user = api.me()
        doubt: RunbookError | None = None
        for attempt in range(ATTEMPTS):
            last = self.reached(State.KEY_SEALED)
            if has_reached(last, State.RECEIVED):
                return self.response(last.generation)
            if last.state in (State.POSTED, State.AMBIGUOUS) and self._reconcile(api, last.generation):
                continue
            last = self.reached(State.KEY_SEALED)
            try:
                self._post(api, last.generation, user)
            except RunbookError as error:
                if error.reason in NOTHING_ISSUED:
                    self.journal.append(State.KEY_SEALED, last.generation, refused=error.reason.value)
                    raise
                self.journal.append(State.AMBIGUOUS, last.generation, what=error.what)
                doubt = error
                asked = error.retry_after
                self._session.pause(min(0.5 * 2**attempt, 8) if asked is None else asked)
        last = self.reached(State.KEY_SEALED)
        if has_reached(last, State.RECEIVED):
            return self.response(last.generation)
        raise doubt or RunbookError(Reason.OUTCOME_UNKNOWN, "DigiCert ONE gave no clear response.")

    def _post(self, api: Client, number: int, user: User) -> None:
        end = self.end_date(user)
        request = CertificateRequest(
            csr=csr_pem(self.csr_of(number)),
            name=certificate_name(self._request.name, number),
            expiration_date=end,
        )
        self.journal.append(State.POSTED, number, name=request.name, end_date=iso(end))
        self._receive(api.request_certificate(request), number)

    def _receive(self, issued: ClientAuthCertificate, number: int) -> None:
        texts = {name: getattr(issued, name) or "" for name in ("x509_cert", "ca_cert")}
        kept = issued.model_copy(update={name: _KEY_MARK for name, text in texts.items() if "PRIVATE KEY" in text})
        content = kept.model_dump_json(exclude_none=True).encode()
        self.credential.write(self.credential.staging(number) / RESPONSE, content)
        self.journal.append(State.RECEIVED, number, id=issued.id or "", serial=issued.serial_number or "")

    def _reconcile(self, api: Client, number: int) -> bool:
        """Settle a request with an unknown outcome. False if no certificate of its name is listed.

        A listed certificate with its PEM is adopted. Without the PEM, which only the lost response held, it is
        disabled, and the next generation starts under the next name.
        """
        name = certificate_name(self._request.name, number)
        named = self._session.poll(lambda: api.certificates().named(name, else_=Reason.OUTCOME_UNKNOWN))
        if not named:
            self.journal.append(State.RECONCILED, number, found=f"nothing by that name, {LOOKS} times")
            return False
        ours = self.csr_of(number).public_key()
        found = next((entry for entry in named if entry.public_key and keys.same_key(ours, entry.public_key)), named[0])
        if found.public_key is None or found.id is None:
            raise RunbookError(
                Reason.OUTCOME_UNKNOWN,
                f"A certificate “{name}” is listed without its public key, so it is unknown whether it is ours.",
                remedy="Check it in DigiCert ONE. If it is yours, disable it and issue under another name.",
            )
        if not keys.same_key(ours, found.public_key):
            what = f"“{name}” exists with another key: it is not ours"
            if number == 1:  # a person chose the name, and chooses the next one too
                self.journal.append(State.KEY_SEALED, number, refused=Reason.DUPLICATE_NAME.value)
                raise RunbookError(Reason.DUPLICATE_NAME, f"{what}.")
            self.journal.append(State.ABANDONED, number, because=Reason.DUPLICATE_NAME.value)
            raise RunbookError(
                Reason.DUPLICATE_NAME,
                f"{what}, or the store was restored from an old backup.",
                remedy=f"Check “{name}” in DigiCert ONE; if nobody has its key, disable it. Run again: the next name "
                "is requested.",
            )
        if found.x509_cert:
            self.journal.append(State.RECONCILED, number, found="issued, and adopted")
            self._receive(found, number)
            return True
        self.withdraw(api, found.id, name)
        self.journal.append(State.RECONCILED, number, found="issued, its only copy lost", disabled=found.id)
        self.journal.append(State.ABANDONED, number, because="the certificate cannot be had again")
        self.seal_key()
        return True

    def withdraw(self, api: Client, certificate_id: str, name: str) -> None:
        """Disable a certificate, and check that it is listed as disabled. Raises RunbookError (OUTCOME_UNKNOWN)."""
        api.set_enabled(certificate_id, False)
        if not self._session.poll(
            lambda: any(entry.id == certificate_id and not entry.enabled for entry in api.certificates())
        ):
            raise RunbookError(
                Reason.OUTCOME_UNKNOWN,
                f"“{name}” was disabled, but is not listed as disabled.",
                remedy="Run again in a minute: the run checks the list before anything else.",
            )

    def give_up(self, api: Client, *, because: str) -> None:
        """Abandon the issuance in progress; disable its certificate, and check that it is listed as disabled.

        A request with an unknown outcome is settled first, by requesting again: the name is unique, so the certificate
        either exists or is issued now, and can be disabled. None can appear later.

        Raises:
            RunbookError: as `request` and `withdraw`; the issuance is then still in progress.
        """
        last = self.reached(State.PLANNED)
        if last.state in (State.POSTED, State.AMBIGUOUS, State.RECONCILED):
            self.request(api)
        elif last.state is State.LINTED:
            self._finish_commit(last.generation)
        last = self.reached(State.PLANNED)
        if has_reached(last, State.RECEIVED):
            issued = self.response(last.generation)
            self.withdraw(api, issued.id or "", issued.name)
        self.journal.append(State.ABANDONED, last.generation, because=because)

    # --- check ----------------------------------------------------------------------------------------------------

    def check(self) -> tuple[x509.Certificate, list[LintFinding]]:
        """Lint the issued certificate; disable and abandon it if it breaks a rule.

        Returns:
            the certificate and the findings; no findings if an earlier run checked it.

        Raises:
            RunbookError: KEY_MISMATCH, LINT_FAILED or UNREADABLE_FILE.
        """
        last = self.reached(State.RECEIVED)
        number = last.generation
        if has_reached(last, State.BUNDLED) or self._committed(number):
            return self.credential.generation(number).certificate(), []
        posted = next(entry for entry in reversed(self.journal.entries()) if entry.state is State.POSTED)
        # read before judging: an unreadable file is no reason to abandon the certificate
        issued, csr = self.response(number), self.csr_of(number)
        try:
            certificate, chain = certificates_of(issued)
            findings = lint(
                certificate,
                chain,
                csr=csr,
                now=self._session.clock.now(),
                end_date=parse_utc(posted.data["end_date"]),
            )
            broken = [finding for finding in findings if not finding.ok]
            if broken:
                raise RunbookError(
                    Reason.KEY_MISMATCH if any(finding.rule == "key" for finding in broken) else Reason.LINT_FAILED,
                    "; ".join(f"{finding.rule}: {finding.detail}" for finding in broken),
                )
            if issued.name != posted.data["name"]:
                raise RunbookError(Reason.LINT_FAILED, f"name: the response names it {issued.name[:100]!a}")
        except RunbookError as error:
            with self._session.api() as api:
                self.withdraw(api, issued.id or "", posted.data["name"])
            self.journal.append(State.ABANDONED, number, because=error.reason.value, disabled=issued.id or "")
            raise RunbookError(
                error.reason,
                f"“{posted.data['name']}” was disabled because it differs from the request: {error.what}",
                remedy="Run again: a certificate is requested under the next name. If it recurs, send DigiCert support "
                f"the finding and the id {issued.id}.",
            ) from None
        if not has_reached(last, State.LINTED):
            self.journal.append(State.LINTED, number, rules=str(len(findings)))
        return certificate, findings

    # --- P12 ------------------------------------------------------------------------------------------------------

    def bundle(self) -> Generation:
        """Bundle key, certificate and chain as a P12 in a committed generation; delete the sealed key."""
        last = self.reached(State.LINTED)
        number = last.generation
        if has_reached(last, State.BUNDLED):
            return self.credential.generation(number)
        finished = self._finish_commit(number)
        if finished is not None:
            return finished
        write_generation(self._session, self.credential, number, self._request, self.response(number))
        generation = self.credential.commit(number)
        self.journal.append(State.BUNDLED, number)
        return generation

    def _finish_commit(self, number: int) -> Generation | None:
        """The generation whose commit an earlier run started; None if it was not started.

        `commit` starts by deleting the sealed key, after the P12 was read back, and ends with a rename.
        """
        if not self._committed(number):
            if (self.credential.staging(number) / SEALED_KEY).exists():
                return None
            self.credential.commit(number)
        self.journal.append(State.BUNDLED, number)
        return self.credential.generation(number)

    def end_date(self, user: User | None = None) -> datetime:
        """The end date to request. Raises RunbookError (BAD_PARAMETER), as `latest_end`."""
        return latest_end(self._request.end_date, self._session.clock.now(), user)
