"""A step's result and record: procedures fill it in, notebooks show it, reports read it.

The record is an output of the notebook, of MIME type `MIME`, together with its HTML and its plain text. So the executed
notebook holds everything that a report or an auditor needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

MIME = "application/vnd.digicert-one-runbooks+json"


class Kind(StrEnum):
    """Whether a step only checks, or changes something."""

    CHECK = "check"
    CHANGE = "change"


class Status(StrEnum):
    """How a run ended."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    KILLED = "killed"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"  # nothing was executed
    WITHHELD = "withheld"  # a secret was found in what would have been archived


class Verdict(StrEnum):
    """How a step ended, from best to worst."""

    OK = "ok"
    NOTHING_TO_DO = "nothing to do"
    PLANNED = "planned"
    ATTENTION = "attention"
    UNCHECKED = "unchecked"
    FAILED = "failed"


SEVERITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


def worst(verdicts: list[Verdict]) -> Verdict:
    """The most severe verdict; `unchecked` if there is none."""
    return max(verdicts, key=SEVERITY.__getitem__, default=Verdict.UNCHECKED)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Table(_Frozen):
    """Rows of text. `name` becomes a CSV file's name in the archive.

    A column called `state` or `verdict` is shown as a badge.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class FileBeside(_Frozen):
    """A file next to the notebook: its relative path and its SHA-256 in hexadecimal."""

    file: str = Field(pattern=r"^tables/[a-z][a-z0-9-]*\.csv$")
    sha256: str


class TableBeside(_Frozen):
    """A table too long for a notebook: it is next to it, as CSV.

    `rows` does not count the header; `unchecked` counts the rows in that state.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title: str
    columns: tuple[str, ...]
    rows: int
    unchecked: int
    files: tuple[FileBeside, ...]


class Bar(_Frozen):
    """One line of a timeline: from `start` to `end`, coloured by `state`."""

    label: str
    start: datetime
    end: datetime
    state: str


class Timeline(_Frozen):
    """Validity periods on a common axis, with a mark for now."""

    title: str
    bars: tuple[Bar, ...]
    now: datetime


class Histogram(_Frozen):
    """How many certificates end in which month, if a timeline cannot show them all: (`YYYY-MM`, state, count)."""

    title: str
    months: tuple[tuple[str, str, int], ...]
    now: datetime


class Snippet(_Frozen):
    """Code to paste elsewhere. It names secrets by reference and never contains one."""

    title: str
    language: str
    code: str


class Result(_Frozen):
    """What a step found or did.

    Args:
        verdict: how it ended.
        headline: one sentence, which the reader sees first.
        facts: label and value, in reading order.
        details: named checks, each with its own verdict: (verdict, name, what was seen).
        next: what to do now, a sentence each.
        needs_action: how many certificates need action (`--fail-on due`).
        reason: the catalogue's reason why the step failed or could not check, if it continued all the same.
        retry_after: seconds that the server asked to wait, if that is the reason.
    """

    verdict: Verdict
    headline: str
    facts: dict[str, str] = {}
    details: tuple[tuple[Verdict, str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    beside: tuple[TableBeside, ...] = ()
    timeline: Timeline | None = None
    histogram: Histogram | None = None
    snippets: tuple[Snippet, ...] = ()
    next: tuple[str, ...] = ()
    needs_action: int = 0
    reason: str = ""
    retry_after: float | None = None


class ParameterRow(_Frozen):
    """One parameter as used: its value (for a secret, its reference), source and purpose."""

    name: str
    value: str
    source: Literal["default", "given", "form", "not used here"]
    description: str = ""


# --- provenance: what a run connected to ------------------------------------------------------------------------------


class _Described(_Frozen):
    # part of run.json, whose readers ignore fields that a later version adds
    model_config = ConfigDict(extra="ignore")


class Trust(_Described):
    """The CAs that the server's certificate had to chain to."""

    source: Literal["file", "system"]
    """A named CA file, or the machine's CAs."""
    file: str
    """The file they were read from; empty if the machine does not keep them in a single file."""
    sha256: str | None
    """SHA-256 of that file; null if there is none or it could not be read."""


class Target(_Described):
    """The DigiCert ONE environment of a run."""

    environment: str
    """Its short name, or its host if it has none."""
    api_url: str
    """For the API key."""
    clientauth_url: str
    """For mTLS."""
    trust: Trust


class ServiceUser(_Described):
    """A service user as DigiCert ONE reported it."""

    id: str
    name: str
    """Its friendly name; empty if it has none."""
    accounts: tuple[str, ...]
    """The names of its accounts, or the ids of those without a name."""


class Connection(_Described):
    """A TLS connection that was answered. Connections with the same terms to the same server are listed once."""

    url: str
    protocol: str
    cipher: str
    subject: str
    """Subject of the server's certificate (RFC 4514)."""
    issuer: str
    not_after: str
    """The last second of its validity, `YYYY-MM-DDTHH:MM:SSZ`."""
    sha256: str
    """Fingerprint of the server's certificate (DER)."""


class Seen(_Described):
    """What a step connected to and saw. A refused handshake leaves no connection."""

    service_users: tuple[ServiceUser, ...] = ()
    connections: tuple[Connection, ...] = ()
    clock_ahead: float | None = None
    """Seconds by which the server's clock was ahead of ours when they differed most; servers report full seconds."""

    @classmethod
    def together(cls, parts: Iterable[Seen]) -> Seen:
        """All of the parts, without duplicates, in order."""
        parts = tuple(parts)
        ahead = (part.clock_ahead for part in parts if part.clock_ahead is not None)
        return cls(
            service_users=tuple(dict.fromkeys(user for part in parts for user in part.service_users)),
            connections=tuple(dict.fromkeys(connection for part in parts for connection in part.connections)),
            clock_ahead=max(ahead, key=abs, default=None),
        )


# --- records ----------------------------------------------------------------------------------------------------------


class ParametersRecord(_Frozen):
    """The parameters of a run, and the DigiCert ONE environment that they name, if any."""

    record: Literal["parameters"] = "parameters"
    procedure: str
    at: datetime
    rows: tuple[ParameterRow, ...]
    target: Target | None = None
    error: dict[str, Any] | None = None


class StepRecord(_Frozen):
    """One step: which, when, how it ended (`result` or `error`), and what it connected to."""

    record: Literal["step"] = "step"
    procedure: str
    step: str
    title: str
    kind: Kind
    tutorial: str = ""
    started: datetime
    finished: datetime
    result: Result | None = None
    error: dict[str, Any] | None = None
    seen: Seen = Seen()

    @property
    def verdict(self) -> Verdict:
        return self.result.verdict if self.result else Verdict.FAILED


class FinishRecord(_Frozen):
    """The record of a notebook's last cell. A run without it did not reach its end."""

    record: Literal["finish"] = "finish"
    procedure: str
    at: datetime
    verdict: Verdict
    steps: tuple[tuple[str, str, Verdict], ...]  # slug, title, verdict
    needs_action: int = 0
    next: tuple[str, ...] = ()
    progress: Literal["", "nothing due", "progressed", "waiting", "finished"] = ""
    """How far a procedure of many runs came in this one."""


Record = Annotated[ParametersRecord | StepRecord | FinishRecord, Field(discriminator="record")]
_RECORD: TypeAdapter[ParametersRecord | StepRecord | FinishRecord] = TypeAdapter(Record)


def read_record(data: Any) -> ParametersRecord | StepRecord | FinishRecord:
    """Read a record from a notebook's output. Raises pydantic.ValidationError for anything else."""
    return _RECORD.validate_python(data)
