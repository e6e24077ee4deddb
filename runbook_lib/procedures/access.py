"""Disables and enables a certificate, and proves each by a call to the same host."""

from __future__ import annotations

from runbook_lib.clock import iso
from runbook_lib.digicert.client import Outcome
from runbook_lib.digicert.models import ClientAuthCertificate
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.lifecycle.journal import Journal, State
from runbook_lib.lifecycle.proof import TRIES, diagnose, let_in, probe
from runbook_lib.procedures.parameters import AccessParameters
from runbook_lib.procedures.procedure import Procedure, change, check
from runbook_lib.result import Result, Verdict
from runbook_lib.schema import MOMENT, TEXT, Schema

CERTIFICATES = Schema("certificates", {"name": TEXT, "state": ("enabled", "disabled"), "ends": MOMENT, "id": TEXT})


class Access(Procedure[AccessParameters]):
    """Notebook 03."""

    slug = "access"
    notebook = "03_access"
    model = AccessParameters
    tables = (CERTIFICATES,)

    _identity: Identity | None = None
    _target: ClientAuthCertificate
    _others: list[ClientAuthCertificate]
    _worked: bool = False
    _cut_off: str = ""
    """When an earlier run disabled the certificate and ended before enabling it again; empty if none did."""

    # --- before ---------------------------------------------------------------------------------------------------

    @check("Prove the current state")
    def prove_access(self) -> Result:
        self._look_up()
        rows = [
            (entry.name, "enabled" if entry.enabled else "disabled", iso(entry.end_date), entry.id or "")
            for entry in (self._target, *self._others)
        ]
        table = CERTIFICATES.table("The service user's certificates", rows)
        if self._identity is None:
            self._refuse_contradiction()
            return Result(
                verdict=Verdict.ATTENTION,
                headline="The key is not in this store, so only the list can show the effect of a change.",
                tables=(table,),
            )
        answer = probe(self.session, self._identity)
        self._worked = answer.outcome is Outcome.ACCEPTED
        if self._target.enabled and not self._worked:
            raise diagnose(self.session, answer, self._identity)
        if not self._target.enabled and self._worked:
            raise RunbookError(Reason.STILL_ACCEPTED, f"“{self._target.name}” is listed as disabled, but is accepted.")
        self._refuse_contradiction()
        resumed = self._again and not self._worked
        verdict, headline = Verdict.OK, "The certificate works: mTLS is accepted with HTTP 200."
        if resumed:
            verdict = Verdict.ATTENTION
            headline = f"A run at {self._cut_off} disabled the certificate and ended early; this run resumes there."
        elif answer.outcome is Outcome.REFUSED:
            headline = "The certificate is listed as disabled, and is refused."
        elif not self._worked:
            verdict = Verdict.UNCHECKED
            headline = "The certificate is listed as disabled. Whether it is refused is unknown."
        return Result(
            verdict=verdict,
            headline=headline,
            facts={"Host": self.session.environment.clientauth_url, "Seen": answer.seen},
            tables=(table,),
        )

    def _look_up(self) -> None:
        name = self.parameters.name
        generation = self.credential.current()
        with self.session.api() as api:
            me = api.me()
            listed = api.certificates()
        if generation is None:
            named = listed.named(name)
            if len(named) > 1:
                raise RunbookError(
                    Reason.STATE_CONTRADICTION,
                    f"{self.session.environment.api_url} lists {len(named)} certificates “{name}”, and this store has "
                    "the key of none, so it is unknown which one to change.",
                    remedy="Look at them with notebook 04, then change the right one in DigiCert ONE.",
                )
            target = next(iter(named), None)
        else:
            self.session.check_environment(generation)
            self._identity = generation.open(self.session.secret("p12_password"))
            changes = (State.ACCESS_TAKEN, State.ACCESS_GIVEN_BACK)
            past = [entry for entry in self._journal.entries() if entry.state in changes]
            self._cut_off = iso(past[-1].at) if past and past[-1].state is State.ACCESS_TAKEN else ""
            serial, certificate_id = generation.facts().serial, generation.meta.id
            target = next((certificate for certificate in listed if certificate.serial == serial), None)
            target = target or listed.first(lambda certificate: certificate.id == certificate_id)
        if target is None or target.id is None:
            raise RunbookError(
                Reason.CERTIFICATE_UNKNOWN,
                f"{self.session.environment.api_url} lists no certificate “{name}” with an id.",
            )
        self._target = target
        self._others = [entry for entry in listed if entry.id != target.id and entry.user_id in (None, me.id)]

    def _refuse_contradiction(self) -> None:
        if self._again and not self._target.enabled and not self._cut_off:
            raise RunbookError(
                Reason.CERTIFICATE_DISABLED,
                f"“{self._target.name}” is already disabled, so it cannot be disabled and re-enabled.",
                remedy="Choose the action “enable”.",
            )

    # --- disable --------------------------------------------------------------------------------------------------

    @change(
        "Disable the certificate",
        tutorial="Step 6",
        deed="Disable {}",
        only=lambda self: self.parameters.action != "enable",
        plan=lambda self: f"set enabled = false for “{self.parameters.name}” on {self.session.environment.api_url}",
        asks=lambda self: self._refuse_outage(),
    )
    def disable(self) -> Result:
        if not self._target.enabled:
            return Result(verdict=Verdict.NOTHING_TO_DO, headline="The certificate is already disabled.")
        if not self._again or self._identity is None:
            return self._set(False)
        with self.credential.lock():
            self._journal.append(State.ACCESS_TAKEN, self._number, id=self._target.id or "")
        try:
            return self._set(False)
        except RunbookError as error:
            raise RunbookError(error.reason, f"{error.what} {self._give_back()}", remedy=error.remedy) from None

    def _give_back(self) -> str:
        """Enable the certificate again after a change with an unknown outcome; say whether that worked."""
        try:
            self._set(True)
        except RunbookError:
            return "It is unknown whether the certificate is now disabled. Run the same again to resume."
        self._note_given_back()
        return "The certificate was enabled again."

    def _note_given_back(self) -> None:
        if self._identity is not None:
            with self.credential.lock():
                self._journal.append(State.ACCESS_GIVEN_BACK, self._number, id=self._target.id or "")

    def _refuse_outage(self) -> None:
        allowed = self.parameters.allow_outage_of == self.parameters.name
        if not self._target.enabled or allowed:
            return
        now = self.session.clock.now()
        if not any(certificate.enabled and certificate.end_date > now for certificate in self._others):
            raise RunbookError(
                Reason.LAST_WORKING_CERTIFICATE, f"“{self._target.name}” is the only enabled certificate in date."
            )
        if self._identity is not None:
            raise RunbookError(
                Reason.CERTIFICATE_IN_USE, f"{self.credential.folder / 'current'} points to “{self._target.name}”."
            )

    def _set(self, enabled: bool) -> Result:
        word = "enabled" if enabled else "disabled"
        assert self._target.id is not None  # noqa: S101  (looked up so)
        with self.session.api() as api:
            api.set_enabled(self._target.id, enabled)
            listed = api.certificates().first(lambda certificate: certificate.id == self._target.id)
        if listed is None or listed.enabled is not enabled:
            raise RunbookError(
                Reason.UNEXPECTED_ANSWER, f"DigiCert ONE confirmed that it is {word}, but its list says otherwise."
            )
        self._target = listed
        return Result(
            verdict=Verdict.OK,
            headline=f"“{listed.name}” is {word}; both the response and the list confirm it.",
            facts={"Certificate id": listed.id or "", "At": iso(self.session.clock.now())},
        )

    @check(
        "Prove that access is gone",
        tutorial="Step 6, “Verify access is revoked”",
        only=lambda self: self.parameters.action != "enable",
    )
    def prove_refused(self) -> Result:
        if self._identity is None:
            return Result(
                verdict=Verdict.ATTENTION,
                headline="Listed as disabled. A refusal cannot be proven without the key.",
            )
        answer = probe(self.session, self._identity, until=Outcome.REFUSED)
        facts = {"Host": self.session.environment.clientauth_url, "Seen": answer.seen}
        if answer.outcome is Outcome.REFUSED:
            return Result(
                verdict=Verdict.OK if self._worked else Verdict.ATTENTION,
                headline="Refused: the same call to the same host worked before the change."
                if self._worked
                else "Refused. The certificate was disabled before this run, so there is no accepted call to compare.",
                facts=facts,
                next=() if self._again else ("03_access with the action “enable” restores access.",),
            )
        problem = RunbookError(
            Reason.STILL_ACCEPTED if answer.outcome is Outcome.ACCEPTED else Reason.UNREACHABLE,
            f"After {TRIES} calls: {answer.seen}",
        )
        if not self._again:
            raise problem
        # reported, not raised: the certificate must still be enabled again
        return Result(
            verdict=Verdict.FAILED,
            headline=problem.what,
            facts=facts,
            next=(problem.remedy,),
            reason=problem.reason,
        )

    # --- enable ---------------------------------------------------------------------------------------------------

    @property
    def _journal(self) -> Journal:
        return Journal(self.credential.journal_path, self.session.clock)

    @property
    def _number(self) -> int:
        current = self.credential.current()
        return current.number if current else 0

    @property
    def _again(self) -> bool:
        return self.parameters.action == "disable and re-enable"

    @change(
        "Enable the certificate",
        tutorial="Step 6, “Re-enable the certificate”",
        deed="Enable {}",
        only=lambda self: self.parameters.action != "disable",
        plan=lambda self: f"set enabled = true for “{self.parameters.name}” on {self.session.environment.api_url}",
    )
    def enable(self) -> Result:
        if self._target.enabled:
            return Result(verdict=Verdict.NOTHING_TO_DO, headline="The certificate is already enabled.")
        result = self._set(True)
        self._note_given_back()
        return result

    @check("Prove that access is back", only=lambda self: self.parameters.action != "disable")
    def prove_restored(self) -> Result:
        if self._identity is None:
            return Result(
                verdict=Verdict.ATTENTION,
                headline="Listed as enabled. Access cannot be proven without the key.",
            )
        answer = probe(self.session, self._identity, until=Outcome.ACCEPTED)
        let_in(self.session, answer, self._identity)
        return Result(
            verdict=Verdict.OK,
            headline="Accepted again, HTTP 200, on the same host.",
            facts={"Host": self.session.environment.clientauth_url, "Seen": answer.seen},
        )
