"""The interactive notebook: a form, and a button for each step.

A button acts on what it names, or not at all. Every new set of values gets new buttons. A click on an old button, from
another page or from an earlier form is refused here, in the kernel, and not only in the browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import ipywidgets

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import intake
from runbook_lib.procedures.procedure import Procedure, Step
from runbook_lib.result import FinishRecord, StepRecord, Verdict
from runbook_lib.widgets import panels
from runbook_lib.widgets.evidence import ArchiveRow, Evidence
from runbook_lib.widgets.form import Form
from runbook_lib.widgets.notebook import refused
from runbook_lib.widgets.outputs import Area, show_widget
from runbook_lib.widgets.ran import ran_cells
from runbook_lib.widgets.step_cell import EARLIER_RESULT, NOT_DONE, StepCell

w: Any = ipywidgets  # it has no types

_SETTLE = 0.5  # seconds
_NOT_STARTED = "Not started. Check the form above, then press Start."
_EARLIER_FORM = "This button belongs to an earlier form. Run this cell again to get a button of the newest form."
_EARLIER_CELL = "This button belongs to an earlier run of this cell. Use the newest button."


class Buttons:
    """The form and the step buttons of one notebook.

    Args:
        procedure: the notebook's procedure.
        given: the values from the parameters cell.
    """

    def __init__(self, procedure: type[Procedure[Any]], given: Mapping[str, Any]) -> None:
        self._class = procedure
        self._procedure: Procedure[Any] | None = None
        self._cells: dict[str, StepCell] = {}
        self._summary: Area | None = None
        self._row: ArchiveRow | None = None
        self._evidence: Evidence | None = None
        self._working = False
        self._retired = False
        self._form_cell, self._last_cell = ran_cells().current(), ""
        self.form = Form(procedure.model, given, on_start=self._start, on_change=self._reset)
        show_widget(self.form.widget)
        self._parameters = Area(panels.note(_NOT_STARTED))

    @property
    def procedure(self) -> Procedure[Any] | None:
        """The procedure that the buttons run; None before Start."""
        return self._procedure

    def step(self, step: Step) -> None:
        """Show a step's button and the area for its result."""
        if step.slug in self._cells:
            self._cells[step.slug].retire(_EARLIER_CELL)
        cell = self._cells[step.slug] = StepCell(step, self._press, self._refresh, ran_cells().current())
        if self._retired:
            cell.retire(_EARLIER_FORM)
            return
        cell.bind(self._procedure)
        record = self._record(step)
        if record is not None:
            cell.again = True
            cell.area.update(panels.output_bundle(record))
        self._refresh()

    def finish(self) -> None:
        """Show the summary; it is kept up to date from now on."""
        if self._summary is not None:
            self._summary.mark(EARLIER_RESULT)
        self._last_cell = ran_cells().current()
        self._summary = Area(panels.output_bundle(self._finish()))
        self._row = ArchiveRow(self._archive)
        self._row.show(self._evidence)

    def retire(self) -> None:
        """Disable everything for good: a newer form replaces this one."""
        self._close("a newer form replaced this one")
        self._retired, self._procedure = True, None
        self.form.retire()
        for cell in self._cells.values():
            cell.retire(_EARLIER_FORM)
        for area in filter(None, (self._parameters, self._summary)):
            area.mark(EARLIER_RESULT)

    # --- the form ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        values, typed = self.form.values(), self.form.typed
        self.form.take()
        try:
            parameters, rows = intake(self._class.model, values)
            procedure = self._class(parameters, prompt=self.form.prompt)
            rows = tuple(row.model_copy(update={"source": "form"}) if row.name in typed else row for row in rows)
            begun = procedure.begin(rows)
            shown = (panels.style(), panels.output_bundle(begun))
            self._evidence = Evidence(procedure, values, self.form.secrets, self._form_cell, shown)
        except RunbookError as problem:
            self._parameters.update(panels.output_bundle(refused(self._class, problem)))
            return
        self._procedure = procedure
        self.form.lock()
        self._parameters.update(panels.output_bundle(begun, folded=True))
        self._bind()
        self._summarise()
        self._refresh()

    def _reset(self) -> None:
        self._close("the values were changed")
        self._procedure = self._evidence = None
        self._parameters.update(panels.note(_NOT_STARTED))
        for cell in self._cells.values():
            cell.area.update(panels.note(NOT_DONE, waits=True))
        self._bind()
        self._summarise()
        self._refresh()

    def _bind(self) -> None:
        for cell in self._cells.values():
            cell.bind(self._procedure)

    # --- the steps --------------------------------------------------------------------------------------------------

    def _press(self, cell: StepCell) -> None:
        procedure, evidence = self._procedure, self._evidence
        if procedure is None or evidence is None or self._working:
            return
        try:
            asked = procedure.asked(cell.step)
            evidence.pressed(cell.step, asked=asked, changes=cell.changes, agreed=cell.agree.value)
        except RunbookError:  # the evidence knows why, and the button shows it
            self._refresh()
            return
        self._working = True
        cell.running()
        self._refresh()
        try:
            record = procedure.perform(cell.step.slug)
        except KeyboardInterrupt:
            record = self._broken(procedure, cell.step, RunbookError(Reason.INTERRUPTED, "The kernel was interrupted."))
        except Exception as problem:  # noqa: BLE001  (the person who pressed the button must see any error)
            what = f"{type(problem).__name__}: {problem}"
            record = self._broken(procedure, cell.step, RunbookError(Reason.NOTEBOOK_ERROR, what))
        shown = panels.output_bundle(record)
        cell.area.update(shown)
        evidence.did(cell.step, cell.source, shown, self._last_cell, panels.output_bundle(self._finish()))
        for other in self._after(cell.step):
            if not self._record(other.step):
                other.area.update(panels.note(NOT_DONE, waits=True))  # it relied on this step's earlier result
        self._summarise()
        if evidence.changed and all(self._done(step) for step in self._class.steps()):
            self._close("the last step was done")
        self._settle()

    def _done(self, step: Step) -> bool:
        record = self._record(step)
        return record is not None and record.error is None

    def _archive(self) -> None:
        if not self._working:
            self._close("the person archived it", asked=True)
            self._refresh()

    def _close(self, why: str, *, asked: bool = False) -> None:
        if self._evidence is not None:
            if self._row is not None and self._evidence.open:
                self._row.archiving()
            self._evidence.close(why, asked=asked)
            if self._row is not None:
                self._row.show(self._evidence)

    def _after(self, step: Step) -> list[StepCell]:
        """The cells of the steps after this one, in the order of the procedure."""
        slugs = [known.slug for known in self._class.steps()]
        later = slugs[slugs.index(step.slug) + 1 :]
        return [self._cells[slug] for slug in later if slug in self._cells]

    def _broken(self, procedure: Procedure[Any], step: Step, problem: RunbookError) -> StepRecord:
        """The record of a step that ended with an unforeseen error or an interruption."""
        now = procedure.session.clock.now()
        record = StepRecord(
            procedure=procedure.slug,
            step=step.slug,
            title=step.title,
            kind=step.kind,
            tutorial=step.tutorial,
            started=now,
            finished=now,
            error=problem.as_dict(),
        )
        procedure.records.append(record)
        return record

    def _settle(self) -> None:
        """Enable the buttons that may be pressed now, after a delay in which pending clicks are discarded.

        The second click of a double click arrives when the step is over, and must not run the step again. The same
        holds for a click on another button from before this step's result was visible.
        """

        def settled() -> None:
            self._working = False
            self._refresh()

        try:
            asyncio.get_running_loop().call_later(_SETTLE, settled)
        except RuntimeError:  # no kernel, as in a test
            settled()

    def _refresh(self) -> None:
        if self._retired:
            return
        self.form.hold(self._working)
        for cell in self._cells.values():
            if self._working:
                cell.button.disabled = True
                continue
            redone = any(self._record(other.step) for other in self._after(cell.step))
            problem = self._evidence.problem if self._evidence is not None else None
            cell.show(self._record(cell.step), redone=redone, problem=problem)
        if self._row is not None:
            self._row.show(self._evidence, working=self._working)

    def _summarise(self) -> None:
        if self._summary is not None:
            self._summary.update(panels.output_bundle(self._finish()))

    def _record(self, step: Step) -> StepRecord | None:
        records = self._procedure.records if self._procedure else []
        return next((record for record in records if record.step == step.slug), None)

    def _finish(self) -> FinishRecord:
        if self._procedure is not None:
            return self._procedure.finish()
        steps = tuple((step.slug, step.title, Verdict.UNCHECKED) for step in self._class.steps())
        at = self._class.model().make_clock().now()
        return FinishRecord(procedure=self._class.slug, at=at, verdict=Verdict.UNCHECKED, steps=steps)
