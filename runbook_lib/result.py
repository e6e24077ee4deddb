"""What a step says of itself: the one shape that procedures fill, notebooks show and reports read.

A step's record travels inside the notebook, as an output of MIME type `MIME` beside its HTML and its plain text. So the
executed notebook alone holds everything a report or an auditor needs, whoever ran it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

MIME = "application/vnd.digicert-one-runbooks+json"


class Kind(StrEnum):
    """Whether a step only looks, or changes something."""

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
    """The verdict that outranks the others; `unchecked` where there is none at all."""
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
    """A file that lies beside the notebook: its path from there, and its SHA-256 in hexadecimal."""

    file: str = Field(pattern=r"^tables/[a-z][a-z0-9-]*\.(csv|parquet)$")
    sha256: str


class TableBeside(_Frozen):
    """A table too long for a notebook: it lies beside it, as CSV and as Parquet.

    `rows` does not count the header; `unchecked` are those of them whose state says so.
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
    """How many certificates end in which month, where they are too many for a timeline: (`YYYY-MM`, state, count)."""

    title: str
    months: tuple[tuple[str, str, int], ...]
    now: datetime


class Snippet(_Frozen):
    """Something to paste elsewhere. It names secrets by reference, and never holds one."""

    title: str
    language: str
    code: str


class Result(_Frozen):
    """What a step found or did.

    Args:
        verdict: how it ended.
        headline: one sentence, the first thing a reader sees.
        facts: label and value, in reading order.
        details: named checks, each with its own verdict: (verdict, name, what was seen).
        next: what to do now, a sentence each.
        needs_action: how many certificates need somebody to act (`--fail-on due`).
        reason: where something was not found out and the step went on all the same: why, as the catalogue names it.
        retry_after: seconds that the server asked to wait, where that is why.
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
    """One parameter as used: its value (a reference for a secret), where it came from, what it is for."""

    name: str
    value: str
    source: Literal["default", "given", "form", "not used here"]
    description: str = ""


# --- provenance: whom and what a run talked to ------------------------------------------------------------------------


class _Described(_Frozen):
    # part of run.json, whose readers pass over what a later version adds
    model_config = ConfigDict(extra="ignore")


class Trust(_Described):
    """What the server's certificate had to lead to."""

    source: Literal["file", "system"]
    """A CA file that was named, or the CAs of the machine."""
    file: str
    """Where they were read from; empty where the machine keeps them in no single file."""
    sha256: str | None
    """SHA-256 of that file; null where there is none or it could not be read."""


class Target(_Described):
    """The DigiCert ONE that a run was told to work with."""

    environment: str
    """Its short name, or its host where it has none."""
    api_url: str
    """For the API key."""
    clientauth_url: str
    """For mTLS."""
    trust: Trust


class ServiceUser(_Described):
    """A service user as DigiCert ONE named it."""

    id: str
    name: str
    """Its friendly name; empty where it has none."""
    accounts: tuple[str, ...]
    """The accounts it belongs to: their names, or ids where they have none."""


class Connection(_Described):
    """A TLS connection that was answered. The same terms with the same server are told once."""

    url: str
    protocol: str
    cipher: str
    subject: str
    """Of the server's certificate (RFC 4514)."""
    issuer: str
    not_after: str
    """The last second it is valid, `YYYY-MM-DDTHH:MM:SSZ`."""
    sha256: str
    """Fingerprint of the server's certificate (DER)."""


class Seen(_Described):
    """Whom and what a step talked to. What it did not see is absent: a refused handshake leaves no connection."""

    service_users: tuple[ServiceUser, ...] = ()
    connections: tuple[Connection, ...] = ()
    clock_ahead: float | None = None
    """Seconds by which the server's clock was ahead of ours where they differed most; a server tells full seconds."""

    @classmethod
    def together(cls, parts: Iterable[Seen]) -> Seen:
        """Everything that was seen, each once, in order."""
        parts = tuple(parts)
        return cls(
            service_users=tuple(dict.fromkeys(one for part in parts for one in part.service_users)),
            connections=tuple(dict.fromkeys(one for part in parts for one in part.connections)),
            clock_ahead=max((one.clock_ahead for one in parts if one.clock_ahead is not None), key=abs, default=None),
        )


# --- records ----------------------------------------------------------------------------------------------------------


class ParametersRecord(_Frozen):
    """The parameters of a run, and the DigiCert ONE they name; None where they name none."""

    record: Literal["parameters"] = "parameters"
    procedure: str
    at: datetime
    rows: tuple[ParameterRow, ...]
    target: Target | None = None
    error: dict[str, Any] | None = None


class StepRecord(_Frozen):
    """One step: what it was, when, how it ended (`result` or `error`), and whom it talked to."""

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
    """The last cell's word. A run without one did not reach its end."""

    record: Literal["finish"] = "finish"
    procedure: str
    at: datetime
    verdict: Verdict
    steps: tuple[tuple[str, str, Verdict], ...]  # slug, title, verdict
    needs_action: int = 0
    next: tuple[str, ...] = ()
    progress: Literal["", "nothing due", "progressed", "waiting", "finished"] = ""
    """How far a procedure that takes many runs has come in this one."""


Record = Annotated[ParametersRecord | StepRecord | FinishRecord, Field(discriminator="record")]
_RECORD: TypeAdapter[ParametersRecord | StepRecord | FinishRecord] = TypeAdapter(Record)


def read_record(data: Any) -> ParametersRecord | StepRecord | FinishRecord:
    """Read a record back from a notebook's output. Raises pydantic.ValidationError for anything else."""
    return _RECORD.validate_python(data)
