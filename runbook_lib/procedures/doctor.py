"""The tutorial's “Before you begin” as named checks, each with its remedy. All of them run, even after a failure."""

from __future__ import annotations

from functools import wraps

from runbook_lib.clock import iso
from runbook_lib.digicert.client import ME
from runbook_lib.digicert.environments import FROM_VARIABLES, base_url
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.lifecycle.proof import refuse_wrong_clock
from runbook_lib.procedures.parameters import DoctorParameters
from runbook_lib.procedures.procedure import Method, Procedure, check
from runbook_lib.result import Result, Verdict
from runbook_lib.secrets import SecretRef
from runbook_lib.words import quantity


def _as_result(method: Method) -> Method:
    """Report a failed check as a result, so that the checks after it still run."""

    @wraps(method)
    def run(self: Doctor) -> Result:
        try:
            return method(self)
        except RunbookError as error:
            if error.reason is Reason.TIMED_OUT:
                self.too_slow = error.what
            return Result(
                verdict=Verdict.FAILED,
                headline=error.what,
                facts={"What it means": error.means, "What to do": error.remedy},
                next=(error.remedy,),
                reason=error.reason,
            )

    return run


class Doctor(Procedure[DoctorParameters]):
    """Notebook 00, and `runbook doctor`."""

    slug = "doctor"
    notebook = "00_start_here"
    model = DoctorParameters

    too_slow: str = ""
    """What timed out; later checks do not wait for it again."""

    @check("Connection: both hosts answer, and their TLS is trusted")
    @_as_result
    def connection(self) -> Result:
        details = []
        for clientauth, name in ((False, "API host"), (True, "mTLS host")):
            with self.session.client(clientauth=clientauth) as client:
                answer = client.call("GET", ME)
                tls = f", {answer.tls.protocol}, {answer.tls.server}" if answer.tls else ", through a proxy"
                details.append((Verdict.OK, name, f"{client.base_url} answers{tls}"))
        trust = str(self.session.environment.ca_file or "this machine's CAs")
        details.append((Verdict.OK, "Trusted CAs", trust))
        differs = self._elsewhere()
        if differs:
            details.append((Verdict.ATTENTION, "DIGICERT_ONE_URL", differs))
        return Result(
            verdict=Verdict.ATTENTION if differs else Verdict.OK,
            headline=f"{self.session.environment.name} is reachable.",
            details=tuple(details),
        )

    def _not_asked(self) -> Result:
        return Result(verdict=Verdict.UNCHECKED, headline=f"Not asked again: {self.too_slow}")

    def _elsewhere(self) -> str:
        """A warning if DIGICERT_ONE_URL and `environment` name different hosts; empty otherwise."""
        given = self.session.environ.get("DIGICERT_ONE_URL", "").strip()
        if not given or self.parameters.environment in FROM_VARIABLES:
            return ""
        try:
            other = base_url(given, "DIGICERT_ONE_URL")
        except RunbookError as error:
            return error.what
        return (
            ""
            if other == self.session.environment.api_url
            else f"names {other}, but `environment` names another host: is that intended?"
        )

    @check("Clock: this machine and the server agree")
    @_as_result
    def clock_agrees(self) -> Result:
        if self.too_slow:
            return self._not_asked()
        with self.session.client() as client:
            client.call("GET", ME)
        refuse_wrong_clock(self.session, client)
        server = client.server_clock
        if server is None:
            raise RunbookError(Reason.UNEXPECTED_ANSWER, "The server's response has no date.")
        apart = abs((self.session.clock.now() - server).total_seconds())
        return Result(
            verdict=Verdict.OK,
            headline=f"The clocks agree within {max(1, round(apart))} s.",
            facts={"Here": f"{iso(self.session.clock.now())} ({self.session.clock.source})", "Server": iso(server)},
        )

    @check("Credentials: each secret is where its reference points")
    @_as_result
    def credentials(self) -> Result:
        details, reasons = [], []
        for parameter, what in (("api_key", "API key"), ("p12_password", "P12 password")):
            source = str(SecretRef.parse(getattr(self.parameters, parameter)))
            try:
                secret = self.session.secret(parameter)
            except RunbookError as error:
                details.append((Verdict.FAILED, what, f"{error.what} {error.remedy}"))
                reasons.append(error.reason)
            else:
                shown = f" ({secret.masked()})" if parameter == "api_key" else ""
                details.append((Verdict.OK, what, f"found in {source}{shown}"))
        failed = [name for verdict, name, _ in details if verdict is Verdict.FAILED]
        return Result(
            verdict=Verdict.FAILED if failed else Verdict.OK,
            headline=f"Not available: {', '.join(failed)}." if failed else "Both secrets were found.",
            details=tuple(details),
            reason=reasons[0] if reasons else "",
        )

    @check("Service user: the API key works and may manage certificates")
    @_as_result
    def service_user(self) -> Result:
        if self.too_slow:
            return self._not_asked()
        with self.session.api() as api:
            user = api.me()
            listed = api.certificates()
        active = user.status.upper() == "ACTIVE"
        return Result(
            verdict=Verdict.OK if active else Verdict.ATTENTION,
            headline=f"The API key belongs to {user.friendly_name or user.id} and lists "
            f"{quantity(len(listed), 'certificate')}.",
            facts={
                "User id": user.id,
                "Status": user.status,
                "User type": user.user_type,
                "Accounts": ", ".join(account.name for account in user.accounts),
                "Applications": ", ".join(application.name for application in user.applications),
            },
        )

    @check("Store: writable, and only by us")
    @_as_result
    def store_is_private(self) -> Result:
        store = self.session.store
        store.check()
        credentials = store.credentials(self.session.environment.name)
        in_use = [credential.name for credential in credentials if credential.current() is not None]
        return Result(
            verdict=Verdict.OK,
            headline=f"{store.root} is ready.",
            facts={"Credentials for this environment": ", ".join(in_use) or "none yet"},
            next=("01_issue: issue the first certificate.",) if not in_use else ("02_verify: prove that mTLS works.",),
        )
