"""The notices file: who gets which message by which way, and where metrics and calendar are written. YAML."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from runbook_lib import given, yaml_as_written
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.looks import withheld
from runbook_lib.secrets import SecretRef

SAMPLE = "parameters/notices.yaml shows every setting."


class NoticeState(StrEnum):
    """The states of which a change is a message."""

    DUE = "due"
    URGENT = "urgent"
    EXPIRED = "expired"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    RECOVERED = "recovered"
    ROTATED = "rotated"
    DISABLED = "disabled"


def _reference(value: Any) -> str:
    try:
        reference = SecretRef.parse(given.quoted(value))
    except RunbookError as error:
        raise ValueError(error.what) from None
    if reference.scheme == "prompt":
        raise ValueError("prompt: asks a person, which a headless run cannot do")
    return str(reference)


def _path(value: Any) -> Path:
    return given.path(given.quoted(value))


Text = Annotated[str, BeforeValidator(given.quoted), Field(min_length=1, max_length=200)]
Reference = Annotated[str, BeforeValidator(_reference)]
FilePath = Annotated[Path, BeforeValidator(_path)]


def _web(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise ValueError("must begin with https:// or http://")
    return value.rstrip("/")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class SendRule(_Strict):
    """Which changes of state a recipient gets. An empty list means all."""

    to: tuple[Text, ...] = Field(min_length=1, description="names from `recipients`")
    states: tuple[NoticeState, ...] = Field((), description="a message for each change to one of these")
    jobs: tuple[Text, ...] = Field((), description="as in the names of the bags: inventory, rotate, batch-fleet")
    environments: tuple[Text, ...] = Field((), description="as in the parameters: production, demo, a host")
    digest: bool = Field(False, description="join all changes of a run into one message")

    def takes(self, state: NoticeState, job: str, environment: str) -> bool:
        """Whether the rule is about this change."""
        return (
            (not self.states or state in self.states)
            and (not self.jobs or job in self.jobs)
            and (not self.environments or environment in self.environments)
        )


class Notices(_Strict):
    """The content of a notices file."""

    recipients: dict[Text, tuple[Reference, ...]] = Field(
        {}, description="names of your choice, each with references to apprise URLs"
    )
    send: tuple[SendRule, ...] = Field((), description="who gets which changes")
    reports: Annotated[Text, AfterValidator(_web)] | None = Field(
        None, description="the archive's address in a browser; otherwise a message names the report's path"
    )
    metrics: FilePath | None = Field(None, description="folder of node-exporter's textfile collector")
    calendar: FilePath | None = Field(None, description="the calendar's file (.ics)")
    heartbeat: dict[Text, Reference] = Field({}, description="for a job, a reference to its ping URL")

    @model_validator(mode="after")
    def _known(self) -> Notices:
        named = {name for rule in self.send for name in rule.to}
        if missing := sorted(named - set(self.recipients)):
            raise ValueError(f"send: `recipients` has no {given.shown(missing[0])}")
        if unused := sorted(set(self.recipients) - named):
            raise ValueError(f"recipients: nothing is sent to {given.shown(unused[0])}; add it to `send`")
        if empty := [name for name, ways in self.recipients.items() if not ways]:
            raise ValueError(f"recipients: {given.shown(empty[0])} has no reference")
        return self

    @property
    def references(self) -> tuple[str, ...]:
        """Every reference of the file, without duplicates."""
        ways = (reference for ways in self.recipients.values() for reference in ways)
        return tuple(dict.fromkeys([*ways, *self.heartbeat.values()]))


def read_notices(path: Path) -> Notices:
    """Read a notices file. It resolves no reference.

    Raises:
        RunbookError: BAD_PARAMETER with every mistake, or SECRET_AS_VALUE. Neither quotes a value that may be a secret.
    """
    data, _ = yaml_as_written.read_yaml_file(path)
    if not isinstance(data, dict):
        raise _refused(f"{path} is not a notices file.")
    try:
        return Notices.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_input=False)
    leaked = [item for item in found if "Don't paste the secret" in item["msg"] or "secret itself" in item["msg"]]
    lines = "\n".join(_mistake(path, item) for item in leaked or found)
    if leaked:
        raise RunbookError(Reason.SECRET_AS_VALUE, withheld(lines))
    raise _refused(withheld(lines))


_MESSAGES = {
    "extra_forbidden": "unknown setting",
    "missing": "missing",
    "tuple_type": "must be a list",
    "dict_type": "must be `name: value` lines",
    "enum": f"must be one of {', '.join(NoticeState)}",
}
"""What pydantic's messages of these types say here."""


def _mistake(path: Path, item: Any) -> str:
    where = ".".join(given.shown(part).strip("'") for part in item["loc"])
    message = _MESSAGES.get(item["type"], item["msg"].removeprefix("Value error, "))
    return ": ".join(filter(None, (str(path), where, message)))


def _refused(what: str) -> RunbookError:
    return RunbookError(Reason.BAD_PARAMETER, what, remedy=f"Correct the file; {SAMPLE}")
