"""What an archive is expected to hold: which jobs, how often, for which accounts. Declared into the chain.

An expectation that could be edited afterwards would prove nothing, so it is an entry of the archive's own, a bag of the
job `expectation`, and a later one takes its place only for what begins after it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from runbook_lib import disk, yaml_as_written
from runbook_lib.archive import bag, chain
from runbook_lib.archive.chain import EXPECTATION, Link
from runbook_lib.archive.entries import begun, stamped
from runbook_lib.archive.seal import Place
from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso, parse_utc, within
from runbook_lib.errors import RunbookError
from runbook_lib.given import quoted

_DECLARED = f"data/{EXPECTATION}.json"
_SAMPLE = "parameters/expected/nightly.yaml is a sample."


def _moment(value: Any) -> Any:
    """A date is its first second. The year's limits are not for what stands in the chain already."""
    try:
        return parse_utc(value if "T" in value else f"{value}T00:00:00Z")
    except (TypeError, ValueError):
        raise ValueError("must be a moment, written YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ") from None


Text = Annotated[str, BeforeValidator(quoted)]
Moment = Annotated[datetime, BeforeValidator(_moment)]


class Expected(BaseModel):
    """A job that is expected to leave a run in every period.

    Args:
        every: a period is a day or a week, counted from `start`; there are no daylight saving hours in UTC.
        start: when the first period begins (`from` in the file).
        until: no period that begins then or later is expected; None for no end.
        grace_hours: a run that started later in its period than this is late; None: whenever in its period.
        environment: the run's `target`, by its short name or its API address; empty for any.
        accounts: each must be in a run of the period: an account of a batch as its file names it, for a single run the
            id or the name of the service user. Empty: a run is enough.
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
            raise ValueError(f"grace_hours is longer than a {self.every}")
        if self.until is not None and self.until <= self.start:
            raise ValueError("until is not after from")
        if len(set(self.accounts)) != len(self.accounts):
            raise ValueError("an account is there twice")
        return self

    @property
    def period(self) -> timedelta:
        return timedelta(days=1 if self.every == "day" else 7)

    @property
    def grace(self) -> timedelta:
        return self.period if self.grace_hours is None else timedelta(hours=self.grace_hours)

    def __str__(self) -> str:
        """For a reader: one line."""
        parts = [f"{self.job}: every {self.every} from {iso(self.start)}"]
        parts += [f"until {iso(self.until)}"] if self.until else []
        parts += [f"within {self.grace_hours:g} h"] if self.grace_hours else []
        parts += [f"on {self.environment}"] if self.environment else []
        parts += [f"for {len(self.accounts)} accounts"] if self.accounts else []
        return ", ".join(parts)


class Expectation(BaseModel):
    """The whole file. An empty list says that nothing is expected any more."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    expected: tuple[Expected, ...]


@dataclass(frozen=True)
class Declaration:
    """An expectation as it stands in the chain.

    Args:
        place: its bag, below the archive.
        at: when it was declared, and from when it holds; never before the declaration that it follows.
        by: who declared it, and on which machine.
    """

    place: str
    at: datetime
    by: str
    expected: tuple[Expected, ...]


def read_expectation(content: bytes, name: str) -> Expectation:
    """Read an expectation, YAML in UTF-8.

    Args:
        name: of the file, for the error.

    Raises:
        RunbookError: BAD_PARAMETER, naming everything that is wrong.
    """
    try:
        data, _ = yaml_as_written.read_yaml(Path(name), content.decode("utf-8-sig"))
        expectation = Expectation.model_validate(data)
    except ValidationError as error:
        found = [(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors(include_input=False)]
        what = "; ".join(": ".join(filter(None, pair)).replace("Value error, ", "") for pair in found)
        raise RunbookError(Reason.BAD_PARAMETER, f"{name}: {what}.", remedy=f"Correct it; {_SAMPLE}") from None
    except UnicodeDecodeError:
        raise RunbookError(Reason.BAD_PARAMETER, f"{name} is not UTF-8 text.", remedy=_SAMPLE) from None
    except RunbookError as error:
        raise RunbookError(error.reason, error.what, remedy=f"{error.remedy} {_SAMPLE}") from None
    for number, one in enumerate(expectation.expected):
        for what, moment in (("from", one.start), ("until", one.until)):
            try:
                within(moment.date() if moment else one.start.date())
            except ValueError as error:
                where = f"{name}: expected.{number}.{what}"
                raise RunbookError(Reason.BAD_PARAMETER, f"{where}: {error}.", remedy=_SAMPLE) from None
    return expectation


def declare(archive: Path, file: Path, *, at: datetime, environ: Mapping[str, str]) -> tuple[Place, Expectation]:
    """Make an expectation an entry of the archive's chain, signed where the archive has a signer.

    Args:
        file: is kept as it is, beside what was understood of it.
        environ: what the reference to the signer's passphrase is resolved in.

    Raises:
        RunbookError: BAD_PARAMETER; SIGNER_SHUT where the archive has a signer that cannot sign; DISK_FULL or
            ARCHIVE_FAILED.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise RunbookError(Reason.BAD_PARAMETER, f"{file} cannot be read: {error.strerror}.") from None
    expectation = read_expectation(content, file.name)
    told = expectation.model_dump(mode="json", by_alias=True)
    with begun(archive, EXPECTATION, at=at, environ=environ) as entry:
        place = entry.seal(told, files={"expected.yaml": content})
    return stamped(archive, place), expectation


def declarations(archive: Path) -> tuple[Declaration, ...]:
    """Every expectation that was declared, in the order of the chain.

    Raises:
        RunbookError: UNREADABLE_FILE for one that was damaged. OSError: from the file system.
    """
    places = (one for one in chain.bags(archive) if one.name[len("20261123T061700Z-") :].startswith(EXPECTATION))
    # without that file it is the bag of one that was killed before it could declare anything
    found = sorted((_read(one) for one in places if (one / _DECLARED).exists()), key=lambda one: one[0])
    ordered: list[Declaration] = []
    for _, declared in found:
        # a clock that was set back must not let it reach behind the one before
        at = max(declared.at, ordered[-1].at) if ordered else declared.at
        ordered.append(replace(declared, at=at))
    return tuple(ordered)


def _read(place: Path) -> tuple[int, Declaration]:
    try:
        link = Link.read(disk.read_file(place / chain.LINK))
        told = json.loads(disk.read_file(place / _DECLARED))
        expected = Expectation.model_validate({"expected": told["expected"]}).expected
        by = f"{told['user']} on {told['host']}"
        return link.sequence, Declaration(link.bag, parse_utc(told["at"]), by, expected)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise RunbookError(
            Reason.UNREADABLE_FILE,
            f"What {place.name} declares cannot be read, so what is expected is not known.",
            remedy="`runbook archive verify DIR` says what was changed.",
        ) from None
