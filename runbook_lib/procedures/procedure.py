"""A procedure: the steps of one notebook, run with one set of parameters.

A step is a `check`, which only looks, or a `change`. A change runs only after a press of its button, or headlessly if
`confirm` repeats the certificate's name. With `dry_run` it only says what it would do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from runbook_lib.clock import Clock
from runbook_lib.credentials.store import Credential
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.lifecycle.provenance import target
from runbook_lib.lifecycle.session import Session
from runbook_lib.procedures.parameters import ChangeParameters, CredentialParameters, Parameters
from runbook_lib.result import (
    FinishRecord,
    Kind,
    ParameterRow,
    ParametersRecord,
    Result,
    Seen,
    StepRecord,
    Verdict,
    worst,
)
from runbook_lib.schema import Schema
from runbook_lib.secrets import Prompt

P = TypeVar("P", bound=Parameters)
Method = Callable[[Any], Result]


@dataclass(frozen=True)
class Step:
    """The definition of a step.

    Args:
        slug: the method's name, with dashes.
        title: what the reader sees.
        tutorial: the tutorial's step it carries out, if any.
        plan: says what a change would do.
        asks: raises, without changing anything, if the change would be refused. A dry run calls it too, so that it
            refuses what a real run refuses.
        deed: the text on a change's button; `{}` stands for the certificate.
        only: whether the chosen action includes the step; if not, the step does nothing.
    """

    slug: str
    title: str
    kind: Kind
    tutorial: str
    method: Method
    plan: Callable[[Any], str] | None
    asks: Callable[[Any], None] | None = None
    deed: str = ""
    only: Callable[[Any], bool] | None = None


def check(title: str, *, tutorial: str = "", only: Callable[[Any], bool] | None = None) -> Callable[[Method], Method]:
    """Mark a method as a step that only looks."""
    return _mark(title, Kind.CHECK, tutorial, only=only)


def change(
    title: str,
    *,
    plan: Callable[[Any], str],
    asks: Callable[[Any], None] | None = None,
    deed: str = "",
    only: Callable[[Any], bool] | None = None,
    tutorial: str = "",
) -> Callable[[Method], Method]:
    """Mark a method as a step that changes something. The arguments are those of `Step`."""
    return _mark(title, Kind.CHANGE, tutorial, plan=plan, asks=asks, deed=deed or f"{title}: {{}}", only=only)


def _mark(title: str, kind: Kind, tutorial: str, **more: Any) -> Callable[[Method], Method]:
    def mark(method: Method) -> Method:
        slug = method.__name__.replace("_", "-")
        method.step = Step(slug, title, kind, tutorial, method, **{"plan": None, **more})  # type: ignore[attr-defined]
        return method

    return mark


NOT_ASKED = Result(verdict=Verdict.NOTHING_TO_DO, headline="Not part of the chosen action.")


class Procedure(Generic[P]):
    """The steps of one notebook.

    Args:
        parameters: the checked parameters.
        environ: replaces the environment variables of the process.
        prompt: asks the person at the notebook for a secret; None in a headless run.
        clock: replaces the clock that the parameters name.
    """

    progress: Literal["", "nothing due", "progressed", "waiting", "finished"] = ""

    slug: ClassVar[str]
    notebook: ClassVar[str]
    model: ClassVar[type[Parameters]]
    tables: ClassVar[tuple[Schema, ...]] = ()
    """The schema of every table that a step may show."""

    def __init__(
        self,
        parameters: P,
        *,
        environ: Mapping[str, str] | None = None,
        prompt: Prompt | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.parameters = parameters
        self.session = Session(
            parameters, os.environ if environ is None else environ, clock or parameters.make_clock(), prompt
        )
        self.records: list[StepRecord] = []

    @property
    def credential(self) -> Credential:
        """The credential that the parameters name."""
        assert isinstance(self.parameters, CredentialParameters)  # noqa: S101  (a programming error, not a user's)
        return self.session.credential(self.parameters.name)

    # --- running --------------------------------------------------------------------------------------------------

    @classmethod
    def steps(cls) -> tuple[Step, ...]:
        """The steps in order."""
        return tuple(member.step for member in vars(cls).values() if hasattr(member, "step"))

    @classmethod
    def step(cls, slug: str) -> Step:
        """The step with this slug. Raises KeyError."""
        return {step.slug: step for step in cls.steps()}[slug]

    @classmethod
    def schema(cls, table: str) -> Schema:
        """The schema of the table with this name. Raises KeyError."""
        return {schema.name: schema for schema in cls.tables}[table]

    def asked(self, step: Step) -> bool:
        """Whether the chosen action includes the step."""
        return step.only is None or step.only(self)

    def waits_for(self, slug: str) -> Step | None:
        """The first step that must run before this one; None if this one may run."""
        done = {record.step for record in self.records if record.error is None}
        for step in self.steps():
            if step.slug == slug:
                return None
            if step.slug not in done:
                return step
        raise KeyError(slug)

    def begin(self, rows: tuple[ParameterRow, ...]) -> ParametersRecord:
        """The first record: the parameters, row by row, and the DigiCert ONE that they name."""
        try:
            named = target(self.session.environment)
        except RunbookError:  # the first step that needs it reports why
            named = None
        return ParametersRecord(procedure=self.slug, at=self.session.clock.now(), rows=rows, target=named)

    def perform(self, slug: str) -> StepRecord:
        """Run one step and record how it ended. A RunbookError goes into the record's `error` and is not raised.

        Records of later steps are dropped: those steps relied on the earlier result of this one.
        """
        step = self.step(slug)
        order = [step.slug for step in self.steps()]
        self.records = [record for record in self.records if order.index(record.step) < order.index(slug)]
        started = self.session.clock.now()
        self.session.seen.clear()
        result, error = None, None
        try:
            result = self._run(step)
        except RunbookError as problem:
            error = problem.as_dict()
        record = StepRecord(
            procedure=self.slug,
            step=slug,
            title=step.title,
            kind=step.kind,
            tutorial=step.tutorial,
            started=started,
            finished=self.session.clock.now(),
            result=result,
            error=error,
            seen=Seen.together(self.session.seen),
        )
        self.records.append(record)
        return record

    def _run(self, step: Step) -> Result:
        earlier = self.waits_for(step.slug)
        if earlier is not None:
            raise RunbookError(Reason.STEP_OUT_OF_ORDER, f"Run “{earlier.title}” before “{step.title}”.")
        if not self.asked(step):
            return NOT_ASKED
        if step.kind is Kind.CHECK and any(record.verdict is Verdict.PLANNED for record in self.records):
            return Result(
                verdict=Verdict.UNCHECKED,
                headline="Not checked: this is a dry run, so the change above was not made.",
            )
        if step.asks is not None:
            step.asks(self)
        if step.plan is not None and isinstance(self.parameters, ChangeParameters):
            given, dry_run = self.parameters, self.parameters.dry_run
            # a dry run needs no confirmation, but it refuses a wrong one, as the real run does
            confirmed = given.mode != "headless" or given.confirm == given.name or (dry_run and not given.confirm)
            if not confirmed:
                raise RunbookError(
                    Reason.CONFIRMATION_MISSING,
                    f"“{step.title}” would {step.plan(self)}. `confirm` is not {self.parameters.name!r}.",
                )
            if dry_run:
                return Result(verdict=Verdict.PLANNED, headline=f"Dry run, nothing changed. Would {step.plan(self)}.")
        return step.method(self)

    def finish(self) -> FinishRecord:
        """The last record: each step with its verdict (`unchecked` if it did not run), and what to do next."""
        done = {record.step: record for record in self.records}
        steps = tuple(
            (step.slug, step.title, done[step.slug].verdict if step.slug in done else Verdict.UNCHECKED)
            for step in self.steps()
        )
        results = [record.result for record in self.records if record.result is not None]
        return FinishRecord(
            procedure=self.slug,
            at=self.session.clock.now(),
            verdict=self._overall({slug: verdict for slug, _, verdict in steps}),
            steps=steps,
            needs_action=sum(result.needs_action for result in results),
            progress=self.progress,
            next=tuple(dict.fromkeys(line for result in results for line in result.next)),
        )

    def _overall(self, verdicts: dict[str, Verdict]) -> Verdict:
        if Verdict.PLANNED in verdicts.values() and Verdict.FAILED not in verdicts.values():
            return Verdict.PLANNED  # a dry run leaves later checks unchecked on purpose
        changes = {verdicts[step.slug] for step in self.steps() if step.kind is Kind.CHANGE}
        idle = changes == {Verdict.NOTHING_TO_DO}
        # “nothing to do” counts only if no change had anything to do
        return worst([verdict for verdict in verdicts.values() if idle or verdict is not Verdict.NOTHING_TO_DO])
