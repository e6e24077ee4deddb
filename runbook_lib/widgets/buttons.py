"""A notebook with a person at it: a form, and a button for each step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
from markupsafe import escape

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import intake
from runbook_lib.procedures.procedure import Procedure, Step
from runbook_lib.result import FinishRecord, Kind, StepRecord, Verdict
from runbook_lib.visible import visible
from runbook_lib.widgets import panels
from runbook_lib.widgets.form import Form
from runbook_lib.widgets.notebook import refused
from runbook_lib.widgets.outputs import Area, show_widget

w: Any = ipywidgets  # it has no types

_SETTLE = 0.5  # seconds
_DONE = frozenset({Verdict.OK, Verdict.NOTHING_TO_DO, Verdict.PLANNED, Verdict.ATTENTION})
_NOT_STARTED = "Nothing has been done yet. Check the form above, then press Start."
_NOT_DONE = "This step has not been done yet."


class Buttons:
    """The form and the step buttons of one notebook.

    Args:
        procedure: which one.
        given: the parameters of the parameters cell.
    """

    def __init__(self, procedure: type[Procedure[Any]], given: Mapping[str, Any]) -> None:
        self._class = procedure
        self._procedure: Procedure[Any] | None = None
        self._cells: dict[str, _StepCell] = {}
        self._summary: Area | None = None
        self.form = Form(procedure.model, given, on_start=self._start, on_change=self._reset)
        show_widget(self.form.widget)
        self._parameters = Area(panels.note(_NOT_STARTED))

    def step(self, step: Step) -> None:
        """Show a step's button and the place of its result."""
        cell = _StepCell(step, self._press)
        self._cells[step.slug] = cell
        record = self._record(step)
        if record is not None:
            cell.again = True
            cell.area.update(panels.bundle(record))
        self._refresh()

    def finish(self) -> None:
        """Show the summary, which is kept up to date from now on."""
        self._summary = Area(panels.bundle(self._finish()))

    # --- the form ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        values, typed = self.form.values(), self.form.typed
        self.form.take()
        try:
            parameters, rows = intake(self._class.model, values)
            self._procedure = self._class(parameters, prompt=self.form.prompt)
        except RunbookError as problem:
            self._parameters.update(panels.bundle(refused(self._class, problem)))
            return
        self.form.lock()
        rows = tuple(row.model_copy(update={"source": "form"}) if row.name in typed else row for row in rows)
        self._parameters.update(panels.bundle(self._procedure.begin(rows), folded=True))
        self._summarise()
        self._refresh()

    def _reset(self) -> None:
        self._procedure = None
        self._parameters.update(panels.note(_NOT_STARTED))
        for cell in self._cells.values():
            cell.area.update(panels.note(_NOT_DONE))
        self._summarise()
        self._refresh()

    # --- the steps --------------------------------------------------------------------------------------------------

    def _press(self, cell: _StepCell) -> None:
        procedure = self._procedure
        if procedure is None:
            return
        cell.running()
        try:
            record = procedure.perform(cell.step.slug)
        except KeyboardInterrupt:
            record = self._broken(procedure, cell.step, RunbookError(Reason.INTERRUPTED, "The kernel was interrupted."))
        except Exception as problem:  # noqa: BLE001  (whatever it is, the person who pressed the button has to see it)
            what = f"{type(problem).__name__}: {problem}"
            record = self._broken(procedure, cell.step, RunbookError(Reason.NOTEBOOK_ERROR, what))
        cell.area.update(panels.bundle(record))
        after = False
        for slug, other in self._cells.items():
            if after and not self._record(other.step):
                other.area.update(panels.note(_NOT_DONE))  # it rested on what this step found before
            after = after or slug == cell.step.slug
        self._summarise()
        self._settle(cell)

    def _broken(self, procedure: Procedure[Any], step: Step, problem: RunbookError) -> StepRecord:
        """The record of a step that ended in a way the procedure does not know."""
        now = procedure.clock.now()
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

    def _settle(self, cell: _StepCell) -> None:
        """Enable what may be pressed now, but not before the clicks that are on their way have been thrown away.

        A double click arrives as two; the second is read when the step is over, and must not run it again.
        """

        def settled() -> None:
            cell.busy = False
            self._refresh()

        try:
            asyncio.get_running_loop().call_later(_SETTLE, settled)
        except RuntimeError:  # no kernel, as in a test
            settled()

    def _refresh(self) -> None:
        for cell in self._cells.values():
            if not cell.busy:
                cell.show(self._procedure, self._record(cell.step))

    def _summarise(self) -> None:
        if self._summary is not None:
            self._summary.update(panels.bundle(self._finish()))

    def _record(self, step: Step) -> StepRecord | None:
        records = self._procedure.records if self._procedure else []
        return next((record for record in records if record.step == step.slug), None)

    def _finish(self) -> FinishRecord:
        if self._procedure is not None:
            return self._procedure.finish()
        steps = tuple((step.slug, step.title, Verdict.UNCHECKED) for step in self._class.steps())
        at = self._class.model().make_clock().now()
        return FinishRecord(procedure=self._class.slug, at=at, verdict=Verdict.UNCHECKED, steps=steps)


class _StepCell:
    """One step's button, what is said beside it, and the place of its result."""

    def __init__(self, step: Step, press: Callable[[_StepCell], None]) -> None:
        self.step = step
        self.busy = False
        self.again = False  # done before, and its cell was run again on purpose
        self._name = f"{step.kind.value.capitalize()}: {step.title}"
        self._colour = "warning" if step.kind is Kind.CHANGE else "info"
        self.button = w.Button(
            button_style=self._colour,
            layout=w.Layout(width="auto", min_width="16rem"),
            disabled=True,
        )
        self.beside = w.HTML(layout=w.Layout(margin="0 0 0 0.8rem"))
        self.button.on_click(lambda _: None if self.button.disabled else press(self))
        show_widget(w.HBox([self.button, self.beside], layout=w.Layout(flex_flow="row wrap", align_items="center")))
        self.area = Area(panels.note(_NOT_DONE))

    def running(self) -> None:
        """It was pressed."""
        self.busy, self.again, self.button.disabled = True, False, True
        self.button.description = f"Running … {self.step.title}"
        self._say("")

    def show(self, procedure: Procedure[Any] | None, record: StepRecord | None) -> None:
        """Let the button say whether its turn has come."""
        earlier = procedure.waits_for(self.step.slug) if procedure else None
        good = record is not None and record.error is None and record.verdict in _DONE
        done = good and not self.again
        self.button.disabled = procedure is None or earlier is not None or done
        self.button.button_style = "" if done else self._colour
        self.button.description = f"✓ Done: {self.step.title}" if done else self._name
        if record is not None and not done:
            self.button.description = f"{'Again' if good else 'Try again'}: {self.step.title}"
        if procedure is None:
            self._say("Press Start in the form first.")
        elif earlier is not None:
            self._say(f"Comes after “{earlier.title}”.")
        elif done:
            self._say("To see its result anew, or to do it again, run this cell again.")
        else:
            self._say(self._plan(procedure))

    def _plan(self, procedure: Procedure[Any]) -> str:
        if self.step.plan is None:
            return "Only looks; changes nothing."
        try:
            plan = f"Would {self.step.plan(procedure)}."
        except RunbookError as problem:
            plan = problem.what
        return f"Dry run, changes nothing. {plan}" if getattr(procedure.parameters, "dry_run", False) else plan

    def _say(self, words: str) -> None:
        self.beside.value = f"<span>{escape(visible(words))}</span>"
