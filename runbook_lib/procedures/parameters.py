"""The parameters: one pydantic model per notebook, from which its form, its parameter table and its checks are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runbook_lib.clock import Clock, FixedClock, SystemClock, parse_utc
from runbook_lib.credentials.csr import CommonName, Country, Organization, Place, Subject, Unit
from runbook_lib.credentials.keys import KeyKind
from runbook_lib.credentials.pkcs12 import Profile
from runbook_lib.digicert.environments import Environment
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.given import did_you_mean, shown
from runbook_lib.looks import withheld
from runbook_lib.procedures.values import (
    AS_TEXT,
    SECRET,
    ClockText,
    CommandText,
    Day,
    Digest,
    EnvironmentText,
    ExistingFile,
    Moment,
    Name,
    Number,
    OneLine,
    OptionalSecretReference,
    Paths,
    PathText,
    References,
    SecretReference,
    Stripped,
    Text,
    problems,
)
from runbook_lib.result import ParameterRow
from runbook_lib.rules import MAX_LIFETIME

_DAYS = MAX_LIFETIME.days


class Parameters(BaseModel):
    """The parameters of every notebook."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True, coerce_numbers_to_str=True
    )

    checks_all: ClassVar[bool] = False
    """Whether to check the parameters of the other notebooks too, in a file that serves them all."""

    mode: Literal["interactive", "headless"] = Field(
        "interactive", title="Mode", description="interactive shows forms and buttons; headless runs every step"
    )
    environment: EnvironmentText = Field(
        "sandbox",
        title="Environment",
        description="sandbox, demo, production (also -ch, -jp, -nl), or https://HOST for any other DigiCert ONE",
    )
    ca_file: ExistingFile = Field(
        "",
        title="CA file",
        description="PEM file with the CAs to trust for TLS; empty: the environment's, else the system's",
    )
    store: PathText = Field(
        "", title="Store", description="folder of the credentials; empty: $DIGICERT_ONE_STORE, else ~/.digicert/certs"
    )
    api_key: SecretReference = Field(
        "env:DIGICERT_ONE_API_KEY", title="API key", description="where the service user's API key is"
    )
    clock: ClockText = Field(
        "system", title="Clock", description="system; or a fixed date and time, for practice on a sandbox"
    )

    def make_clock(self) -> Clock:
        """The clock that these parameters name."""
        return SystemClock() if self.clock == "system" else FixedClock(parse_utc(self.clock))

    def make_environment(self, environ: Mapping[str, str]) -> Environment:
        """The DigiCert ONE that these parameters name. Raises RunbookError (BAD_PARAMETER)."""
        environment = Environment.named(self.environment, environ=environ, ca_file=self.ca_file)
        if self.clock != "system" and not environment.is_local:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"`clock` is fixed, but {environment.api_url} is not a sandbox: a made-up time is not evidence.",
                remedy="Set `clock` to system.",
            )
        return environment


class CredentialParameters(Parameters):
    """The parameters of every notebook that works with one certificate."""

    name: Name = Field(
        "Demo API Service User", title="Name", description="the certificate's name, unique in DigiCert ONE"
    )
    p12_password: SecretReference = Field(
        "env:DIGICERT_ONE_P12_PASSWORD", title="P12 password", description="where the P12's password is"
    )


class ChangeParameters(CredentialParameters):
    """The parameters of every notebook that changes something."""

    dry_run: bool = Field(False, title="Dry run", description="show the plan and change nothing")
    confirm: Text = Field("", title="Confirm", description="headless: repeat the name here to allow the changes")
    ticket: OneLine = Field("", title="Ticket", description="the ticket that the change belongs to")
    change_reason: OneLine = Field("", title="Reason for change", description="why the change is made")
    approved_by: OneLine = Field("", title="Approved by", description="who approved the change")


class IssueParameters(ChangeParameters):
    """01_issue."""

    common_name: Annotated[CommonName, AS_TEXT] = Field(
        "Demo API Service User", title="Common name (CN)", description="names the service that uses the certificate"
    )
    organization: Annotated[Organization, AS_TEXT] = Field(
        "Your Organization", title="Organization (O)", description="the legal name"
    )
    country: Annotated[Country, AS_TEXT] = Field(
        "US", title="Country (C)", description="a two-letter code, for example DE"
    )
    organizational_unit: Annotated[Unit, AS_TEXT] = Field("", title="Unit (OU)", description="optional")
    locality: Annotated[Place, AS_TEXT] = Field("", title="Locality (L)", description="optional")
    state: Annotated[Place, AS_TEXT] = Field("", title="State (ST)", description="optional")
    key_kind: KeyKind = Field(KeyKind.RSA_2048, title="Key", description="RSA 2048 is what the tutorial uses")
    expiration_date: Moment = Field(
        "", title="End date", description=f"YYYY-MM-DD, at most {_DAYS} days ahead; empty: as late as allowed"
    )
    p12_profile: Profile = Field(
        Profile.MODERN,
        title="P12 profile",
        description="compat for Java before 8u301 / 11.0.12 and Windows Server before 2019",
    )

    def subject(self) -> Subject:
        """The subject of the CSR."""
        return Subject(**self.model_dump(include=set(Subject.model_fields)))


class VerifyParameters(CredentialParameters):
    """02_verify."""

    p12_file: ExistingFile = Field(
        "", title="P12 file", description="verify this file instead of the store's current credential"
    )


class AccessParameters(ChangeParameters):
    """03_access."""

    action: Literal["disable and re-enable", "disable", "enable"] = Field(
        "disable and re-enable", title="Action", description="what to do to the certificate"
    )
    allow_outage_of: Text = Field(
        "",
        title="Allow outage of",
        description="repeat the name to disable a certificate that is in use, or the last one that works",
    )


class RotateParameters(ChangeParameters):
    """05_rotate."""

    action: Literal["advance", "roll back"] = Field(
        "advance",
        title="Action",
        description="advance: take the steps that are due; roll back: return to the old certificate",
    )
    rotate_now: bool = Field(
        False, title="Rotate now", description="start before the rotation is due, or again after a roll-back"
    )
    rotate_before_days: Number = Field(
        60,
        ge=1,
        le=_DAYS,
        title="Start rotation (days before end)",
        description="counted from the effective end; capped at a third of the lifetime",
    )
    overlap_days: Number = Field(
        1,
        ge=0,
        le=60,
        title="Overlap (days)",
        description="days both certificates stay enabled after the new one is in service",
    )
    grace_days: Number = Field(
        7,
        ge=0,
        le=90,
        title="Grace period (days)",
        description="days the old key is kept after the old certificate is refused",
    )
    hook: CommandText = Field(
        "",
        title="Deploy hook",
        description="command to run after the switch; RUNBOOK_P12 names the new P12; services it starts keep running",
    )
    hook_seconds: Number = Field(
        120, ge=1, le=3600, title="Hook timeout (s)", description="seconds within which the hook's own process must end"
    )
    expiration_date: Moment = Field(
        "", title="End date", description="of the new certificate, YYYY-MM-DD; empty: as late as allowed"
    )


class InventoryParameters(Parameters):
    """04_inventory."""

    due_days: Number = Field(
        90, ge=1, le=_DAYS, title="Due below (days left)", description="capped at a third of the lifetime"
    )
    urgent_days: Number = Field(
        30, ge=1, le=_DAYS, title="Urgent below (days left)", description="capped at a ninth of the lifetime"
    )
    api_keys: References = Field(
        [], title="More API keys", description="where the keys of further service users are, one per line"
    )
    requests_per_second: Number = Field(
        20, ge=1, le=1000, title="Requests per second", description="limit for all further service users together"
    )
    connections: Number = Field(
        8, ge=1, le=64, title="Connections", description="kept open at once for the further service users"
    )
    folders: Paths = Field([], title="Folders", description="folders whose certificates are read too, one per line")
    folders_password: OptionalSecretReference = Field(
        "",
        title="Password for the folders",
        description="where the password of their P12 files and Java key stores is; without it, no P12 with a password "
        "is opened, and the integrity of key stores is not checked",
    )


class ArchiveParameters(Parameters):
    """06_archive."""

    archive: PathText = Field(
        "", title="Archive", description="folder of the archive; empty: $DIGICERT_ONE_ARCHIVE, else ./archive"
    )
    period_from: Day = Field("", title="Period from", description="YYYY-MM-DD (UTC); empty: the archive's first day")
    period_to: Day = Field("", title="Period to", description="YYYY-MM-DD, inclusive; empty: today")
    known_head: Digest = Field(
        "",
        title="Known head",
        description="the digest of 64 hexadecimal digits that runbook archive head printed",
    )
    compare_from: Stripped = Field(
        "", title="Compare from", description="a day or a bag; empty: the period's first inventory"
    )
    compare_to: Stripped = Field(
        "", title="Compare with", description="a day or a bag; empty: the period's last inventory"
    )


class DoctorParameters(CredentialParameters):
    """00_start_here."""

    checks_all: ClassVar[bool] = True


class TroubleshootParameters(Parameters):
    """07_troubleshoot."""

    symptom: Text = Field("", title="What you saw", description="a word, code or message; empty shows all")


MODELS: tuple[type[Parameters], ...] = (
    DoctorParameters,
    IssueParameters,
    VerifyParameters,
    AccessParameters,
    InventoryParameters,
    RotateParameters,
    ArchiveParameters,
    TroubleshootParameters,
)


_P = TypeVar("_P", bound=Parameters)
_SHOWN_ITEMS = 5


def _known_elsewhere() -> set[str]:
    return {name for model in MODELS for name in model.model_fields}


def _shown(value: Any) -> str:
    """A value in the parameter table; of a list, the first items only (run.json has all)."""
    if not isinstance(value, list):
        return str(value)
    more = f", and {len(value) - _SHOWN_ITEMS:,} more" if len(value) > _SHOWN_ITEMS else ""
    return ", ".join(map(str, value[:_SHOWN_ITEMS])) + more


def _refused(error: ValidationError, model: type[Parameters]) -> RunbookError:
    leaked = any(item["type"] == SECRET for item in error.errors(include_input=False))
    what = "; ".join(": ".join(filter(None, pair)) for pair in problems(error, model).items())
    return RunbookError(Reason.SECRET_AS_VALUE if leaked else Reason.BAD_PARAMETER, f"{what.rstrip('.')}.")


def _check_elsewhere(others: Mapping[str, Any]) -> None:
    """Refuse a value that every notebook with this parameter refuses."""
    for name, value in others.items():
        refused = []
        having = [model for model in MODELS if name in model.model_fields]
        for model in having:
            try:
                model.model_validate({name: value})
            except ValidationError as error:
                refused.append(_refused(error, model))
        if len(refused) == len(having):
            raise refused[0]


def intake(model: type[_P], given: Mapping[str, Any]) -> tuple[_P, tuple[ParameterRow, ...]]:
    """Check the values that a notebook was given.

    Args:
        model: the notebook's parameters.
        given: names and values, defaults included. A parameter that only another notebook has is accepted and shown as
            not used, so that one file can serve several notebooks.

    Returns:
        the parameters, and a row for each in the parameter table.

    Raises:
        RunbookError: UNKNOWN_PARAMETER, SECRET_AS_VALUE or BAD_PARAMETER, naming every wrong parameter at once.
    """
    elsewhere = _known_elsewhere()
    unknown = sorted(set(given) - elsewhere)
    if unknown:
        listed = withheld(", ".join(shown(name).strip("'") for name in unknown))
        suggestion = "".join(did_you_mean(name, elsewhere) for name in unknown[:9])
        raise RunbookError(Reason.UNKNOWN_PARAMETER, f"No notebook has the parameter {listed}.{suggestion}")
    own = {name: value for name, value in given.items() if name in model.model_fields}
    if model.checks_all:
        _check_elsewhere({name: value for name, value in given.items() if name not in own})
    try:
        parameters = model.model_validate(own)
    except ValidationError as error:
        raise _refused(error, model) from None
    rows = [
        ParameterRow(
            name=name,
            value=_shown(getattr(parameters, name)),
            source="given" if name in own and own[name] != field.default else "default",
            description=field.description or "",
        )
        for name, field in model.model_fields.items()
    ]
    rows += [
        # this notebook does not check the value, so it does not repeat it either
        ParameterRow(name=name, value="", source="not used here", description="a parameter of another notebook")
        for name in sorted(set(given) - set(own))
    ]
    return parameters, tuple(rows)
