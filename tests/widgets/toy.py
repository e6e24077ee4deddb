"""A small procedure with a step of every kind, to test the widgets without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import ClassVar

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import IssueParameters
from runbook_lib.procedures.procedure import Procedure, change, check
from runbook_lib.result import Bar, Result, Snippet, Table, Timeline, Verdict

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)


class Toy(Procedure[IssueParameters]):
    """Looks, changes, shows. The certificate's name decides what happens."""

    slug: ClassVar[str] = "toy"
    notebook: ClassVar[str] = "toy"
    model = IssueParameters

    runs: ClassVar[list[str]] = []

    @check("Look around", tutorial="Step 1")
    def look(self) -> Result:
        self.runs.append("look")
        if self.parameters.name == "Broken":
            raise RuntimeError("the <floor> gave way")
        if self.parameters.name == "Interrupted":
            raise KeyboardInterrupt
        secret = self.session.secret("p12_password")
        return Result(
            verdict=Verdict.OK,
            headline="All is there.",
            facts={"Password": f"from {secret.source}", "Host": self.session.environment.api_url},
        )

    @change("Paint it", plan=lambda self: f"paint “{self.parameters.name}” green")
    def paint(self) -> Result:
        self.runs.append("paint")
        if self.parameters.name == "Refused":
            raise RunbookError(Reason.NO_ACCESS, "The brush is locked away.")
        return Result(
            verdict=Verdict.OK,
            headline="It is green.",
            details=((Verdict.OK, "dry", "touched it"),),
        )

    @check("Show it")
    def show(self) -> Result:
        self.runs.append("show")
        day = timedelta(days=1)
        return Result(
            verdict=Verdict.ATTENTION,
            headline="One of two is due.",
            tables=(
                Table(
                    name="walls",
                    title="Walls",
                    columns=("name", "state"),
                    rows=(("North", "healthy"), ("South", "due")),
                ),
            ),
            timeline=Timeline(
                title="Paint lasts",
                now=NOW,
                bars=(
                    Bar(label="North", start=NOW - 20 * day, end=NOW + 300 * day, state="healthy"),
                    Bar(label="South", start=NOW - 300 * day, end=NOW + 60 * day, state="due"),
                ),
            ),
            snippets=(Snippet(title="Shell", language="sh", code='echo "$NAME"\nexit 0'),),
            next=("Prove it with notebook 02.",),
            needs_action=1,
        )
