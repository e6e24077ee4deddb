"""A notebook with a person at it: a form, and a button for each step.

A button acts on what it names, or not at all. It is made anew whenever other values are taken, and it belongs to these:
a click that comes later, from another page, or from a form that is no longer the newest, is refused here and not only
in the browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
from markupsafe import escape

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import CredentialParameters, intake
from runbook_lib.procedures.procedure import Procedure, Step
from runbook_lib.result import FinishRecord, Kind, StepRecord, Verdict
from runbook_lib.visible import visible
from runbook_lib.widgets import panels
from runbook_lib.widgets.form import Form
from runbook_lib.widgets.notebook import refused
from runbook_lib.widgets.outputs import Area, show_widget

w: Any = ipywidgets  # it has no types

_SETTLE = 0.5  # seconds
_LONGEST = 44  # characters of a name on a button; its tooltip has the whole
_DONE = frozenset({Verdict.OK, Verdict.NOTHING_TO_DO, Verdict.PLANNED, Verdict.ATTENTION})
_NOT_STARTED = "Nothing has been done yet. Check the form above, then press Start."
_NOT_DONE = "This step has not been done yet."
_EARLIER_FORM = "This button belongs to an earlier form. Run this cell again to get that of the newest form."
_EARLIER_CELL = "This button belongs to an earlier run of this step’s cell. The newest one acts."
_OTHER_VALUES = "Nothing was done: that click was meant for other values."
_EARLIER_RESULT = "What stands here belongs to an earlier form."


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
        self._working = False
        self._retired = False
        self.form = Form(procedure.model, given, on_start=self._start, on_change=self._reset)
        show_widget(self.form.widget)
        self._parameters = Area(panels.note(_NOT_STARTED))

    def step(self, step: Step) -> None:
        """Show a step's button and the place of its result."""
        if step.slug in self._cells:
            self._cells[step.slug].retire(_EARLIER_CELL)
        cell = self._cells[step.slug] = _StepCell(step, self._press)
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
        """Show the summary, which is kept up to date from now on."""
        if self._summary is not None:
            self._summary.mark(_EARLIER_RESULT)
        self._summary = Area(panels.output_bundle(self._finish()))

    def retire(self) -> None:
        """Another form has taken this one's place: nothing of it acts any more."""
        self._retired, self._procedure = True, None
        self.form.retire()
        for cell in self._cells.values():
            cell.retire(_EARLIER_FORM)
        for area in filter(None, (self._parameters, self._summary)):
            area.mark(_EARLIER_RESULT)

    # --- the form ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        values, typed = self.form.values(), self.form.typed
        self.form.take()
        try:
            parameters, rows = intake(self._class.model, values)
            self._procedure = self._class(parameters, prompt=self.form.prompt)
        except RunbookError as problem:
            self._parameters.update(panels.output_bundle(refused(self._class, problem)))
            return
        self.form.lock()
        rows = tuple(row.model_copy(update={"source": "form"}) if row.name in typed else row for row in rows)
        self._parameters.update(panels.output_bundle(self._procedure.begin(rows), folded=True))
        self._bind()
        self._summarise()
        self._refresh()

    def _reset(self) -> None:
        self._procedure = None
        self._parameters.update(panels.note(_NOT_STARTED))
        for cell in self._cells.values():
            cell.area.update(panels.note(_NOT_DONE, waits=True))
        self._bind()
        self._summarise()
        self._refresh()

    def _bind(self) -> None:
        for cell in self._cells.values():
            cell.bind(self._procedure)

    # --- the steps --------------------------------------------------------------------------------------------------

    def _press(self, cell: _StepCell) -> None:
        procedure = self._procedure
        if procedure is None or self._working:
            return
        self._working = True
        cell.running()
        self._refresh()
        try:
            record = procedure.perform(cell.step.slug)
        except KeyboardInterrupt:
            record = self._broken(procedure, cell.step, RunbookError(Reason.INTERRUPTED, "The kernel was interrupted."))
        except Exception as problem:  # noqa: BLE001  (whatever it is, the person who pressed the button has to see it)
            what = f"{type(problem).__name__}: {problem}"
            record = self._broken(procedure, cell.step, RunbookError(Reason.NOTEBOOK_ERROR, what))
        cell.area.update(panels.output_bundle(record))
        for other in self._after(cell.step):
            if not self._record(other.step):
                other.area.update(panels.note(_NOT_DONE, waits=True))  # it rested on what this step found before
        self._summarise()
        self._settle()

    def _after(self, step: Step) -> list[_StepCell]:
        """The cells of the steps that come after one, whatever the order in which they were run."""
        slugs = [one.slug for one in self._class.steps()]
        later = slugs[slugs.index(step.slug) + 1 :]
        return [self._cells[slug] for slug in later if slug in self._cells]

    def _broken(self, procedure: Procedure[Any], step: Step, problem: RunbookError) -> StepRecord:
        """The record of a step that ended in a way the procedure does not know."""
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
        """Enable what may be pressed now, but not before the clicks that are on their way have been thrown away.

        A double click arrives as two; the second is read when the step is over, and must not run it again. Nor must a
        click on another button that was made before this step's result could be seen.
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
            cell.show(self._record(cell.step), redone=redone)

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


class _StepCell:
    """One step's button, what is said beside it, and the place of its result."""

    def __init__(self, step: Step, press: Callable[[_StepCell], None]) -> None:
        self.step = step
        self.again = False  # done before, and its cell was run again on purpose
        self._press = press
        self._procedure: Procedure[Any] | None = None
        self._retired = ""
        self._title = f"{step.kind.value.capitalize()}: {step.title}"
        self._colour = "warning" if step.kind is Kind.CHANGE else "info"
        self.beside = w.HTML(layout=w.Layout(margin="0 0 0 0.8rem"))
        self.button = self._make(None)
        self._row = w.HBox([self.button, self.beside], layout=w.Layout(flex_flow="row wrap", align_items="center"))
        self._row.add_class("dor-row")
        show_widget(self._row)
        self.area = Area(panels.note(_NOT_DONE, waits=True))

    def bind(self, procedure: Procedure[Any] | None) -> None:
        """Take a new button for other values. The old one refuses, on whichever page it is still seen."""
        self._procedure = procedure
        self.again = False
        self.button.disabled = True
        self.button = self._make(procedure)
        self._row.children = (self.button, self.beside)

    def retire(self, why: str) -> None:
        """Never act again, and say why."""
        self._retired, self._procedure = why, None
        self.button.disabled, self.button.button_style = True, ""
        self._say(why)
        self.area.mark(_EARLIER_RESULT)

    def running(self) -> None:
        """It was pressed."""
        self.again = False
        self.button.description = f"Running … {self._deed()}"
        self._say("")

    def show(self, record: StepRecord | None, *, redone: bool) -> None:
        """Let the button say whether its turn has come.

        Args:
            redone: whether later steps were done that rest on this one.
        """
        procedure = self._procedure
        earlier = procedure.waits_for(self.step.slug) if procedure else None
        good = record is not None and record.error is None and record.verdict in _DONE
        done = good and not self.again
        self.button.disabled = procedure is None or earlier is not None or done
        idle = done or (procedure is not None and not procedure.asked(self.step))
        self.button.button_style = "" if idle else self._colour
        self.button.description = f"✓ Done: {self._deed()}" if done else self._name()
        if record is not None and not done:
            self.button.description = f"{'Again' if good else 'Try again'}: {self._deed()}"
        # a page that was loaded since cannot be given the result: the style says so in its place
        (self._row.add_class if record is not None else self._row.remove_class)("dor-ran")
        if procedure is None:
            self._say("Press Start in the form first.")
        elif earlier is not None:
            self._say(f"Comes after “{earlier.title}”.")
        elif done:
            self._say("To see its result anew, or to do it again, run this cell again.")
        else:
            self._say(self._plan(procedure) + (" The steps after it then have to be done again." if redone else ""))

    def _make(self, procedure: Procedure[Any] | None) -> Any:
        button = w.Button(
            button_style=self._colour,
            description=self._name(),
            tooltip=self._title + (f" – {_on(procedure, longest=500)}" if procedure else ""),
            layout=w.Layout(width="auto", min_width="16rem", max_width="100%"),
            disabled=True,
        )
        button.on_click(self._clicked)
        return button

    def _clicked(self, button: Any) -> None:
        """A click arrived. Whether it may act is decided here: a browser may still show what no longer holds."""
        if self._retired:
            self._say(self._retired)
        elif button is not self.button:
            self._say(_OTHER_VALUES)
        elif not button.disabled:
            self._press(self)

    def _name(self) -> str:
        """What stands on a button that was not pressed yet."""
        procedure = self._procedure
        if procedure is not None and not procedure.asked(self.step):
            return "Skip this step"
        return self._title if procedure is None or self.step.kind is Kind.CHECK else self._deed()

    def _deed(self) -> str:
        """What a press does: a change's button names the certificate and the environment."""
        procedure = self._procedure
        if procedure is None or self.step.kind is Kind.CHECK or not procedure.asked(self.step):
            return self.step.title
        deed = self.step.deed.replace("{}", _on(procedure, longest=_LONGEST), 1)
        where = _shortened(_environment(procedure), _LONGEST)
        return f"{'Dry run: ' if _is_dry(procedure) else ''}{deed} on {where}"

    def _plan(self, procedure: Procedure[Any]) -> str:
        if not procedure.asked(self.step):
            return "Not part of the action that was chosen: nothing is done, and the next step’s turn comes."
        if self.step.plan is None:
            return "Only looks; changes nothing."
        try:
            plan = f"Would {self.step.plan(procedure)}."
        except RunbookError as problem:
            plan = problem.what
        return f"Dry run, changes nothing. {plan}" if _is_dry(procedure) else plan

    def _say(self, words: str) -> None:
        self.beside.value = f"<span>{escape(visible(words))}</span>"


def _is_dry(procedure: Procedure[Any]) -> bool:
    return bool(getattr(procedure.parameters, "dry_run", False))


def _on(procedure: Procedure[Any], *, longest: int) -> str:
    """The certificate that a procedure is about."""
    parameters = procedure.parameters
    name = parameters.name if isinstance(parameters, CredentialParameters) else procedure.notebook
    return f"“{_shortened(name, longest)}”"


def _environment(procedure: Procedure[Any]) -> str:
    """The short name of the DigiCert ONE that is meant, or its host; as it was given where it cannot be told."""
    try:
        return procedure.session.environment.name
    except RunbookError:  # the first step that needs it fails, and tells why
        return str(procedure.parameters.environment)


def _shortened(text: str, longest: int) -> str:
    """A text for one line: made visible, and without its middle where it is long, since ends differ most."""
    text = visible(text)
    return text if len(text) <= longest else f"{text[: longest - 17]}…{text[-16:]}"
