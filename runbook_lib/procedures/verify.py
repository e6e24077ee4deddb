"""Proves that mTLS works: the identity that the API sees, its permissions, and controls that must be refused."""

from __future__ import annotations

from runbook_lib import given
from runbook_lib.clock import iso
from runbook_lib.credentials.certificates import facts
from runbook_lib.credentials.files import read_bytes
from runbook_lib.credentials.pkcs12 import open_p12
from runbook_lib.digicert.models import Application, User
from runbook_lib.digicert.tls import TlsFacts
from runbook_lib.identity import Identity
from runbook_lib.lifecycle.proof import certificate_rows, let_in, probe, run_controls
from runbook_lib.procedures.parameters import VerifyParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.result import Result, Verdict, worst
from runbook_lib.schema import INTEGER, TEXT, Schema
from runbook_lib.words import quantity

DEMANDS_MTLS = {
    "Software Trust": "required for every signing operation",
    "Device Trust": "required to issue production certificates",
    "IoT Trust": "required to issue production certificates",
    "Document Trust": "required for every signing operation",
    "Account Manager": "recommended for high-security operations",
}
"""Where a client certificate is required (tutorial, "Use mTLS … for"). Device Trust was once called IoT Trust."""


PERMISSIONS = Schema("permissions", {"application": TEXT, "mTLS": TEXT, "permissions": INTEGER, "which": TEXT})


class Verify(Procedure[VerifyParameters]):
    """Notebook 02."""

    slug = "verify"
    notebook = "02_verify"
    model = VerifyParameters
    tables = (PERMISSIONS,)

    _identity: Identity
    _user: User

    @check("Open the credential")
    def open_credential(self) -> Result:
        where = self._open()
        seen = facts(self._identity.certificate)
        now = self.session.clock.now()
        in_date = seen.not_before <= now <= seen.not_after
        chain, left = len(self._identity.chain), (seen.not_after - now).days
        details = [
            (Verdict.OK, "Key and certificate belong together", "same public key"),
            (
                Verdict.OK if in_date else Verdict.ATTENTION,
                "In date",
                f"{iso(seen.not_before)} to {iso(seen.not_after)}, {quantity(left, 'day')} left",
            ),
            (
                Verdict.OK if chain else Verdict.ATTENTION,
                "Holds its CA",
                quantity(chain, "CA certificate") if chain else "none: Java sends no certificate without it",
            ),
        ]
        return Result(
            verdict=worst([verdict for verdict, _, _ in details]),
            headline="The P12 opens with its password.",
            facts={"File": where, "Password": f"from {self.parameters.p12_password}"} | certificate_rows(seen),
            details=tuple(details),
        )

    def _open(self) -> str:
        password = self.session.secret("p12_password")
        if self.parameters.p12_file:
            path = given.path(self.parameters.p12_file)
            self._identity = open_p12(read_bytes(path), password, label=str(path))
            return str(path)
        generation = self.session.in_use(self.parameters.name)
        self._identity = generation.open(password)
        return str(generation.folder)

    @check("Call the API over mTLS", tutorial="Step 5")
    def call_over_mtls(self) -> Result:
        answer = probe(self.session, self._identity)
        self._user = user = let_in(self.session, answer, self._identity)
        return Result(
            verdict=Verdict.OK if user.status.upper() == "ACTIVE" else Verdict.ATTENTION,
            headline=f"Accepted, HTTP 200: the API identifies us as {user.friendly_name or user.email or user.id}.",
            facts={
                "Host": self.session.environment.clientauth_url,
                "Factors": "client certificate alone; no API key was sent",
                "User id": user.id,
                "Status": user.status,
                "User type": user.user_type,
                "Accounts": ", ".join(account.name for account in user.accounts),
            }
            | _tls(answer.tls),
        )

    @check("What the service user may do, and where mTLS is required")
    def permissions(self) -> Result:
        rows = tuple(
            (app.name, _demand(app), str(len(app.permissions)), ", ".join(app.permissions))
            for app in self._user.applications
        )
        required = sum(1 for row in rows if row[1].startswith("required"))
        return Result(
            verdict=Verdict.OK if rows else Verdict.ATTENTION,
            headline=f"{quantity(len(rows), 'application')}, {required or 'none'} with operations that require mTLS."
            if rows
            else "The service user has no permissions in any application.",
            tables=(PERMISSIONS.table("Permissions by application", rows),),
        )

    @check("Controls: the same request must fail without the certificate")
    def controls(self) -> Result:
        controls = run_controls(self.session)
        controls.require()
        sure = controls.verdict is Verdict.OK
        return Result(
            verdict=controls.verdict,
            headline="Both controls were refused: access depends on the certificate."
            if sure
            else "A control gave no verdict, so the success above proves less than it should.",
            details=((Verdict.OK, "With the certificate", "accepted, HTTP 200"), *controls.details),
            next=(
                "03_access: disable the certificate, prove that it is refused, and enable it again.",
                "04_inventory: see when it is due.",
            ),
        )


def _demand(application: Application) -> str:
    return next(
        (demand for name, demand in DEMANDS_MTLS.items() if name.lower() in application.name.lower()),
        "an API key is enough",
    )


def _tls(tls: TlsFacts | None) -> dict[str, str]:
    if tls is None:
        return {"TLS": "not visible through the proxy"}
    return {
        "TLS": f"{tls.protocol}, {tls.cipher}",
        "Server certificate": f"{tls.server}, issued by {tls.issuer}, valid to {tls.not_after}",
    }
