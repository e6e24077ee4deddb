"""One pydantic model of parameters per notebook: the form, the parameter table and the checks all come from it."""

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
    """What every notebook takes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True, coerce_numbers_to_str=True
    )

    checks_all: ClassVar[bool] = False
    """Whether the parameters of the other notebooks are checked too, where one file serves them all."""

    mode: Literal["interactive", "headless"] = Field(
        "interactive", title="Mode", description="interactive shows forms and buttons; headless runs every step"
    )
    environment: EnvironmentText = Field(
        "sandbox",
        title="Environment",
        description="sandbox, demo, production (also -ch, -jp, -nl), or https://HOST of any other DigiCert ONE",
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
        "env:DIGICERT_ONE_API_KEY", title="API key", description="where the service user's API token is"
    )
    clock: ClockText = Field(
        "system", title="Clock", description="system; or a fixed moment, for practice on a sandbox"
    )

    def make_clock(self) -> Clock:
        """The clock these parameters ask for."""
        return SystemClock() if self.clock == "system" else FixedClock(parse_utc(self.clock))

    def make_environment(self, environ: Mapping[str, str]) -> Environment:
        """The DigiCert ONE these parameters name. Raises RunbookError (BAD_PARAMETER)."""
        environment = Environment.named(self.environment, environ=environ, ca_file=self.ca_file)
        if self.clock != "system" and not environment.is_local:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"`clock` is fixed, and {environment.api_url} is no sandbox: a made-up time is no evidence.",
                remedy="Leave `clock` at system.",
            )
        return environment


class CredentialParameters(Parameters):
    """What every notebook takes that works with one certificate."""

    name: Name = Field(
        "Demo API Service User", title="Name", description="the certificate's name, unique in DigiCert ONE"
    )
    p12_password: SecretReference = Field(
        "env:DIGICERT_ONE_P12_PASSWORD", title="P12 password", description="where the password of the P12 is"
    )


class ChangeParameters(CredentialParameters):
    """What every notebook takes that changes something."""

    dry_run: bool = Field(False, title="Dry run", description="only show what would be done")
    confirm: Text = Field("", title="Confirm", description="headless: repeat the name here to allow the changes")


class IssueParameters(ChangeParameters):
    """01_issue."""

    common_name: Annotated[CommonName, AS_TEXT] = Field(
        "Demo API Service User", title="Common name (CN)", description="names the service that will use it"
    )
    organization: Annotated[Organization, AS_TEXT] = Field(
        "Your Organization", title="Organization (O)", description="the legal name"
    )
    country: Annotated[Country, AS_TEXT] = Field("US", title="Country (C)", description="two letters: US, CA, GB, DE")
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
        """The CSR's subject, of parts that were checked by its own rules."""
        return Subject(**self.model_dump(include=set(Subject.model_fields)))


class VerifyParameters(CredentialParameters):
    """02_verify."""

    p12_file: ExistingFile = Field(
        "", title="P12 file", description="verify this file instead of the store's current credential"
    )


class AccessParameters(ChangeParameters):
    """03_access."""

    action: Literal["disable and re-enable", "disable", "enable"] = Field(
        "disable and re-enable", title="Action", description="what to do with the certificate"
    )
    allow_outage_of: Text = Field(
        "",
        title="Allow outage of",
        description="the name, to disable a certificate that is in use or the last that works",
    )


class RotateParameters(ChangeParameters):
    """05_rotate."""

    action: Literal["advance", "roll back"] = Field(
        "advance", title="Action", description="take the steps that are due; or go back to the old certificate"
    )
    rotate_now: bool = Field(
        False, title="Rotate now", description="begin although it is not due, or after a roll-back"
    )
    rotate_before_days: Number = Field(
        60, ge=1, le=_DAYS, title="Begin", description="days before the effective end; at most a third of the lifetime"
    )
    overlap_days: Number = Field(
        1,
        ge=0,
        le=60,
        title="Overlap",
        description="days both certificates stay enabled after the new one is in service",
    )
    grace_days: Number = Field(
        7, ge=0, le=90, title="Grace", description="days the old files are kept after the old one is refused"
    )
    hook: CommandText = Field(
        "",
        title="Deploy hook",
        description="a command run after the switch; RUNBOOK_P12 names the new P12; what it leaves running lives on",
    )
    hook_seconds: Number = Field(
        120, ge=1, le=3600, title="Hook's time", description="seconds until its own process must have ended"
    )
    expiration_date: Moment = Field(
        "", title="End date", description="of the new certificate; empty: as late as allowed"
    )


class InventoryParameters(Parameters):
    """04_inventory. The two limits are also capped by a certificate's lifetime: a third of it, and a ninth."""

    due_days: Number = Field(90, ge=1, le=_DAYS, title="Due below", description="days left")
    urgent_days: Number = Field(30, ge=1, le=_DAYS, title="Urgent below", description="days left")
    api_keys: References = Field(
        [], title="More API keys", description="where those of further service users are, one to a line"
    )
    requests_per_second: Number = Field(
        20, ge=1, le=1000, title="At most", description="requests a second for all further service users together"
    )
    connections: Number = Field(8, ge=1, le=64, title="Connections", description="kept open for them at once")
    folders: Paths = Field([], title="Folders", description="whose certificates are read too, one folder on each line")
    folders_password: OptionalSecretReference = Field(
        "",
        title="Password for the folders",
        description="where the password of the P12 files and Java key stores in the folders is; without it a P12 "
        "that has a password is not opened, and a key store's integrity is not checked",
    )


class ArchiveParameters(Parameters):
    """06_archive."""

    archive: PathText = Field(
        "", title="Archive", description="its folder; empty: $DIGICERT_ONE_ARCHIVE, else ./archive"
    )
    period_from: Day = Field("", title="Period from", description="YYYY-MM-DD (UTC); empty: the archive's first day")
    period_to: Day = Field("", title="Period to", description="YYYY-MM-DD, that day included; empty: today")
    known_head: Digest = Field(
        "",
        title="Known head",
        description="the digest that runbook archive head printed, kept elsewhere",
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
    """A value in the parameter table; of a list the first items (run.json has them all)."""
    if not isinstance(value, list):
        return str(value)
    more = f", and {len(value) - _SHOWN_ITEMS:,} more" if len(value) > _SHOWN_ITEMS else ""
    return ", ".join(map(str, value[:_SHOWN_ITEMS])) + more


def _refused(error: ValidationError, model: type[Parameters]) -> RunbookError:
    leaked = any(item["type"] == SECRET for item in error.errors(include_input=False))
    what = "; ".join(": ".join(filter(None, pair)) for pair in problems(error, model).items())
    return RunbookError(Reason.SECRET_AS_VALUE if leaked else Reason.BAD_PARAMETER, f"{what.rstrip('.')}.")


def _check_elsewhere(others: Mapping[str, Any]) -> None:
    """Refuse a value that each notebook refuses which has the parameter."""
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
    """Check what a notebook was given.

    Args:
        model: the notebook's parameters.
        given: name and value, defaults among them. A parameter that only another notebook has may be there, so that one
            file serves several notebooks; it is shown as not used.

    Returns:
        the parameters, and a row for each for the parameter table.

    Raises:
        RunbookError: UNKNOWN_PARAMETER, SECRET_AS_VALUE or BAD_PARAMETER, naming every wrong parameter at once.
    """
    elsewhere = _known_elsewhere()
    unknown = sorted(set(given) - elsewhere)
    if unknown:
        listed = withheld(", ".join(shown(name).strip("'") for name in unknown))
        meant = "".join(did_you_mean(name, elsewhere) for name in unknown[:9])
        raise RunbookError(Reason.UNKNOWN_PARAMETER, f"No notebook here has the parameter {listed}.{meant}")
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
        # the value is not checked by this notebook, so it is not repeated either
        ParameterRow(name=name, value="", source="not used here", description="a parameter of another notebook")
        for name in sorted(set(given) - set(own))
    ]
    return parameters, tuple(rows)
