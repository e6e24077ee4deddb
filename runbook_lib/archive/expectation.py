"""What an archive should hold: which jobs, how often, for which accounts; and which changes need a ticket.

It is declared as an archive entry.

An expectation that could be edited later would prove nothing. So it is a bag of the job `expectation`, and a later one
replaces it only for periods that begin afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from runbook_lib import disk, yaml_as_written
from runbook_lib.archive import bag, chain
from runbook_lib.archive.chain import EXPECTATION, Link
from runbook_lib.archive.entries import begun, stamped
from runbook_lib.archive.seal import Place
from runbook_lib.archive.ticket_policy import TicketPolicy, environment_name, lacks_ticket
from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso, parse_utc, within
from runbook_lib.errors import RunbookError, unexpected
from runbook_lib.given import quoted
from runbook_lib.words import quantity

_DECLARED = f"data/{EXPECTATION}.json"
_SAMPLE = "parameters/expected/nightly.yaml is a sample."


def _moment(value: Any) -> Any:
    """A date means its first second. The limits of the year do not apply to what is already in the chain."""
    try:
        return parse_utc(value if "T" in value else f"{value}T00:00:00Z")
    except (TypeError, ValueError):
        raise ValueError("must be a date or time in UTC: YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ") from None


Text = Annotated[str, BeforeValidator(quoted)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
EnvironmentName = Annotated[Text, AfterValidator(environment_name)]


class Expected(BaseModel):
    """A job that must leave a run in every period.

    Args:
        every: a period is a day or a week, counted from `start`, in UTC.
        start: when the first period begins (`from` in the file).
        until: periods that begin then or later are not expected; None for no end.
        grace_hours: a run that starts later than this in its period is late; None: any time in the period.
        environment: the run's `target`, by its short name or its API address; empty for any.
        accounts: each must be in a run of the period: for a batch, the account as the fleet file names it; for a single
            run, the id or the name of the service user. Empty: any run is enough.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    job: Text = Field(pattern=rf"^{bag.JOB.pattern}$")
    every: Literal["day", "week"] = "day"
    start: Moment = Field(alias="from")
    until: Moment | None = None
    grace_hours: float | None = Field(None, gt=0)
    environment: Text = ""
    accounts: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Expected:
        if self.grace_hours is not None and self.grace_hours * 3600 > self.period.total_seconds():
            raise ValueError(f"grace_hours must not be longer than a {self.every}")
        if self.until is not None and self.until <= self.start:
            raise ValueError("until must be after from")
        if len(set(self.accounts)) != len(self.accounts):
            raise ValueError("an account is listed twice")
        return self

    @property
    def period(self) -> timedelta:
        return timedelta(days=1 if self.every == "day" else 7)

    @property
    def grace(self) -> timedelta:
        return self.period if self.grace_hours is None else timedelta(hours=self.grace_hours)

    def __str__(self) -> str:
        """One line for a reader."""
        parts = [f"{self.job}: every {self.every} from {iso(self.start)}"]
        parts += [f"until {iso(self.until)}"] if self.until else []
        parts += [f"within {self.grace_hours:g} h"] if self.grace_hours else []
        parts += [f"on {self.environment}"] if self.environment else []
        parts += [f"for {quantity(len(self.accounts), 'account')}"] if self.accounts else []
        return ", ".join(parts)


class Expectation(BaseModel):
    """The whole file. An empty list ends all expectations.

    Args:
        require_ticket: the environments in which a change needs a ticket: names, or https:// addresses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    expected: tuple[Expected, ...]
    require_ticket: tuple[EnvironmentName, ...] = ()


@dataclass(frozen=True)
class Declaration:
    """An expectation in the chain.

    Args:
        place: its bag, below the archive.
        at: when it was declared and takes effect; never before the previous declaration.
        by: who declared it, and on which machine.
        policy: which changes need a ticket from then on.
    """

    place: str
    at: datetime
    by: str
    expected: tuple[Expected, ...]
    policy: TicketPolicy


def read_expectation(content: bytes, name: str) -> Expectation:
    """Read an expectation, YAML in UTF-8.

    Args:
        name: the file's name, for the error.

    Raises:
        RunbookError: BAD_PARAMETER, with every mistake.
    """
    try:
        data, _ = yaml_as_written.read_yaml(Path(name), content.decode("utf-8-sig"))
        expectation = Expectation.model_validate(data)
    except ValidationError as error:
        found = [(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors(include_input=False)]
        what = "; ".join(": ".join(filter(None, pair)).replace("Value error, ", "") for pair in found)
        raise _invalid(f"{name}: {what}.") from None
    except UnicodeDecodeError:
        raise _invalid(f"{name} must be UTF-8 text.") from None
    except RunbookError as error:
        raise RunbookError(error.reason, error.what, remedy=f"{error.remedy} {_SAMPLE}") from None
    for number, expected in enumerate(expectation.expected):
        for what, moment in (("from", expected.start), ("until", expected.until)):
            try:
                within(moment.date() if moment else expected.start.date())
            except ValueError as error:
                where = f"{name}: expected.{number}.{what}"
                raise _invalid(f"{where}: {error}.") from None
    return expectation


def _invalid(what: str) -> RunbookError:
    remedy = f"Correct the file. {_SAMPLE}"
    return RunbookError(Reason.BAD_PARAMETER, what, remedy=remedy, title="The expectation is not valid")


def declare(archive: Path, file: Path, *, at: datetime, environ: Mapping[str, str]) -> tuple[Place, Expectation]:
    """Declare an expectation: an archive entry, signed if the archive has a signer.

    Args:
        file: the expectation (YAML). The entry keeps it unchanged, next to its parsed content.
        environ: resolves the reference to the signer's passphrase.

    Raises:
        RunbookError: BAD_PARAMETER; SIGNER_SHUT if the archive has a signer that cannot sign; DISK_FULL or
            ARCHIVE_FAILED.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{file}: {error.strerror}.",
            remedy="Check the path.",
            title="The expectation cannot be read",
        ) from None
    expectation = read_expectation(content, file.name)
    facts = expectation.model_dump(mode="json", by_alias=True)
    with begun(archive, EXPECTATION, at=at, environ=environ) as entry:
        place = entry.seal(facts, files={"expected.yaml": content})
    return stamped(archive, place), expectation


def declarations(archive: Path) -> tuple[Declaration, ...]:
    """Every expectation in the archive, in the order of the chain.

    Raises:
        RunbookError: UNREADABLE_FILE for a damaged one. OSError: from the file system.
    """
    places = (place for place in chain.bags(archive) if place.name[len("20261123T061700Z-") :].startswith(EXPECTATION))
    # a bag without that file was killed before it could declare anything
    found = sorted((_read(place) for place in places if (place / _DECLARED).exists()), key=lambda pair: pair[0])
    ordered: list[Declaration] = []
    for _, declared in found:
        # a clock that was set back must not date a declaration before the previous one
        at = max(declared.at, ordered[-1].at) if ordered else declared.at
        ordered.append(replace(declared, at=at))
    return tuple(ordered)


def declared_policy(archive: Path) -> TicketPolicy:
    """The policy of the newest expectation. Raises nothing: a policy that cannot be read says so itself."""
    try:
        declared = declarations(archive) if archive.is_dir() else ()
    except (OSError, RunbookError) as error:
        return TicketPolicy(problem=error if isinstance(error, RunbookError) else unexpected(error))
    return declared[-1].policy if declared else TicketPolicy()


def ticket_refusal(archive: Path, values: Mapping[str, Any], environ: Mapping[str, str]) -> RunbookError | None:
    """`TicketPolicy.refusal` by this archive's policy, which is read only where a ticket is missing."""
    return declared_policy(archive).refusal(values, environ) if lacks_ticket(values) else None


def _read(place: Path) -> tuple[int, Declaration]:
    try:
        link = Link.read(disk.read_file(place / chain.LINK))
        content = json.loads(disk.read_file(place / _DECLARED))
        # an expectation of an earlier version has no policy
        read = {"expected": content["expected"], "require_ticket": content.get("require_ticket", [])}
        found = Expectation.model_validate(read)
        by = f"{content['user']} on {content['host']}"
        policy = TicketPolicy(found.require_ticket)
        return link.sequence, Declaration(link.bag, parse_utc(content["at"]), by, found.expected, policy)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"What {place.name} declares is unknown, so gaps cannot be detected.",
            remedy="Find out what was changed: `runbook archive verify DIR`.",
            title="An expectation in the archive cannot be read",
        ) from None
