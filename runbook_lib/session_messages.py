"""What a notebook tells the keeper of its clicked session: one JSON line a message, and one a reply.

The keeper appends each message to `session.jsonl` before it replies, so that what was pressed is on the disk before it
has an effect. Two kinds are never written: `Secrets`, and `Ran`, because a cell of the person's may print anything.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from runbook_lib.result import Kind

Bundle = dict[str, Any]
"""One output of a cell: MIME type and content."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepOf(_Message):
    """A step of the notebook, in its order."""

    slug: str
    title: str
    kind: Kind


class Secrets(_Message):
    """The secrets that were typed into the form, by their references, so that they are searched for."""

    do: Literal["secrets"] = "secrets"
    secrets: dict[str, str] = Field(repr=False)


class Begin(_Message):
    """Start was pressed.

    Args:
        job: the name of the procedure.
        notebook: the stem of the shipped notebook's name.
        file: the path of the open notebook; empty if it is unknown.
        tables: the folder of the kernel's long tables.
        parameters: every value in use; secrets as references.
        steps: all steps, in order.
        cell: the source of the cell with the form.
        shown: its outputs.
        earlier: the steps that an earlier session of the same form has done, if this one continues it.
    """

    do: Literal["begin"] = "begin"
    job: str
    notebook: str
    file: str
    tables: str
    parameters: dict[str, Any]
    steps: tuple[StepOf, ...]
    cell: str
    shown: tuple[Bundle, ...]
    earlier: tuple[str, ...] = ()


class Pressed(_Message):
    """The button of a step was pressed; the step has not begun.

    Args:
        asked: whether the chosen action includes the step; if not, the step does nothing.
        goes_on: the step begins even if the press cannot be recorded.
        without_evidence: the person agreed to that, because nothing could be archived.
    """

    do: Literal["pressed"] = "pressed"
    step: str
    asked: bool = True
    goes_on: bool = False
    without_evidence: bool = False


class Did(_Message):
    """A step has ended.

    Args:
        cell: the source of the step's cell.
        shown: its output, with the record.
        last_cell: the source of the cell with the summary; empty if it was not run.
        summary: its output, with the record.
    """

    do: Literal["did"] = "did"
    step: str
    cell: str
    shown: Bundle
    last_cell: str
    summary: Bundle


class Ran(_Message):
    """A cell has run.

    Args:
        number: its execution count.
        outputs: as in a notebook (nbformat 4).
        ours: whether it shows the form, a step or the summary.
    """

    do: Literal["ran"] = "ran"
    number: int
    source: str
    ours: bool
    outputs: tuple[dict[str, Any], ...]


class Close(_Message):
    """The session is over.

    Args:
        why: a part of a sentence, for example “the values were changed”.
        asked: whether the person asked for a bag.
    """

    do: Literal["close"] = "close"
    why: str
    asked: bool = False


Message = Secrets | Begin | Pressed | Did | Ran | Close
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="do")])


def read_message(data: Any) -> Message:
    """Read a message from its JSON value. Raises pydantic.ValidationError."""
    return _MESSAGE.validate_python(data)


class Line(_Message):
    """A line of session.jsonl: when the keeper received what, and the secrets that it left out (their references)."""

    at: AwareDatetime
    message: Begin | Pressed | Did | Close = Field(discriminator="do")
    withheld: tuple[str, ...] = ()


class Reply(_Message):
    """The keeper's reply to the message with the same number.

    Args:
        problem: why it could not do what was asked; `RunbookError.as_dict()`.
        refused: the archive's policy forbids what was asked.
        bag: the path of the sealed bag; empty if there is none.
        status: of the sealed session.
        note: what else the person should know, for example that the bag is not signed.
    """

    number: int
    problem: dict[str, Any] | None = None
    refused: bool = False
    bag: str = ""
    status: str = ""
    note: str = ""
