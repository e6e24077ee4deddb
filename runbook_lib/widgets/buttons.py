"""The interactive notebook: a form, and a button for each step.

A button acts on what it names, or not at all. Every new set of values gets new buttons. A click on an old button, from
another page or from an earlier form is refused here, in the kernel, and not only in the browser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import CredentialParameters, intake
from runbook_lib.procedures.procedure import Procedure, Step
from runbook_lib.result import FinishRecord, Kind, StepRecord, Verdict
from runbook_lib.visible import visible
from runbook_lib.widgets import panels
from runbook_lib.widgets.form import Form
from runbook_lib.widgets.notebook import refused
from runbook_lib.widgets.outputs import Area, show_widget
from runbook_lib.words import words_html

w: Any = ipywidgets  # it has no types

_SETTLE = 0.5  # seconds
_LONGEST = 44  # characters of a name on a button; its tooltip has the full name
_DONE = frozenset({Verdict.OK, Verdict.NOTHING_TO_DO, Verdict.PLANNED, Verdict.ATTENTION})
_NOT_STARTED = "Not started. Check the form above, then press Start."
_NOT_DONE = "This step has not run yet."
_EARLIER_FORM = "This button belongs to an earlier form. Run this cell again to get a button of the newest form."
_EARLIER_CELL = "This button belongs to an earlier run of this cell. Use the newest button."
_OTHER_VALUES = "Nothing was done: that click was for other values."
_EARLIER_RESULT = "This result belongs to an earlier form."


class Buttons:
    """The form and the step buttons of one notebook.

    Args:
        procedure: the notebook's procedure.
        given: the values from the parameters cell.
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

    @property
    def procedure(self) -> Procedure[Any] | None:
        """The procedure that the buttons run; None before Start."""
        return self._procedure

    def step(self, step: Step) -> None:
        """Show a step's button and the area for its result."""
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
        """Show the summary; it is kept up to date from now on."""
        if self._summary is not None:
            self._summary.mark(_EARLIER_RESULT)
        self._summary = Area(panels.output_bundle(self._finish()))

    def retire(self) -> None:
        """Disable everything for good: a newer form replaces this one."""
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
        except Exception as problem:  # noqa: BLE001  (the person who pressed the button must see any error)
            what = f"{type(problem).__name__}: {problem}"
            record = self._broken(procedure, cell.step, RunbookError(Reason.NOTEBOOK_ERROR, what))
        cell.area.update(panels.output_bundle(record))
        for other in self._after(cell.step):
            if not self._record(other.step):
                other.area.update(panels.note(_NOT_DONE, waits=True))  # it relied on this step's earlier result
        self._summarise()
        self._settle()

    def _after(self, step: Step) -> list[_StepCell]:
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
    """One step's button, the note next to it, and the area for its result."""

    def __init__(self, step: Step, press: Callable[[_StepCell], None]) -> None:
        self.step = step
        self.again = False  # true if the step has run, and its cell was run again on purpose
        self._press = press
        self._procedure: Procedure[Any] | None = None
        self._retired = ""
        self._title = f"{step.kind.value.capitalize()}: {step.title}"
        self._colour = "warning" if step.kind is Kind.CHANGE else "info"
        self.note = w.HTML(layout=w.Layout(margin="0 0 0 0.8rem"))
        self.button = self._make(None)
        self._row = w.HBox([self.button, self.note], layout=w.Layout(flex_flow="row wrap", align_items="center"))
        self._row.add_class("dor-row")
        show_widget(self._row)
        self.area = Area(panels.note(_NOT_DONE, waits=True))

    def bind(self, procedure: Procedure[Any] | None) -> None:
        """Replace the button for new values. The old one refuses clicks from every page that still shows it."""
        self._procedure = procedure
        self.again = False
        self.button.disabled = True
        self.button = self._make(procedure)
        self._row.children = (self.button, self.note)

    def retire(self, why: str) -> None:
        """Disable the button for good, and say why."""
        self._retired, self._procedure = why, None
        self.button.disabled, self.button.button_style = True, ""
        self._say(why)
        self.area.mark(_EARLIER_RESULT)

    def running(self) -> None:
        """Show that the step is running."""
        self.again = False
        self.button.description = f"Running … {self._deed()}"
        self._say("")

    def show(self, record: StepRecord | None, *, redone: bool) -> None:
        """Enable or disable the button, and say why.

        Args:
            redone: whether later steps have run, which rely on this one.
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
        # a page that was loaded since cannot get the result: the style shows a sentence in its place
        (self._row.add_class if record is not None else self._row.remove_class)("dor-ran")
        if procedure is None:
            self._say("Press Start in the form first.")
        elif earlier is not None:
            self._say(f"Run “{earlier.title}” first.")
        elif done:
            self._say("To repeat this step, or to see its result again, run this cell again.")
        else:
            self._say(self._plan(procedure) + (" Then repeat the steps after it." if redone else ""))

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
        """Handle a click. The kernel decides whether it may act: a browser may show an outdated button."""
        if self._retired:
            self._say(self._retired)
        elif button is not self.button:
            self._say(_OTHER_VALUES)
        elif not button.disabled:
            self._press(self)

    def _name(self) -> str:
        """The text on a button that was not pressed yet."""
        procedure = self._procedure
        if procedure is not None and not procedure.asked(self.step):
            return "Skip this step"
        return self._title if procedure is None or self.step.kind is Kind.CHECK else self._deed()

    def _deed(self) -> str:
        """What a press does. The button of a change names the certificate and the environment."""
        procedure = self._procedure
        if procedure is None or self.step.kind is Kind.CHECK or not procedure.asked(self.step):
            return self.step.title
        deed = self.step.deed.replace("{}", _on(procedure, longest=_LONGEST), 1)
        where = _shortened(_environment(procedure), _LONGEST)
        return f"{'Dry run: ' if _is_dry(procedure) else ''}{deed} on {where}"

    def _plan(self, procedure: Procedure[Any]) -> str:
        if not procedure.asked(self.step):
            return "Not part of the chosen action: does nothing, so that the next step can run."
        if self.step.plan is None:
            return "Only looks; changes nothing."
        try:
            plan = f"Would {self.step.plan(procedure)}."
        except RunbookError as problem:
            plan = problem.what
        return f"Dry run, changes nothing. {plan}" if _is_dry(procedure) else plan

    def _say(self, words: str) -> None:
        self.note.value = f"<span>{words_html(words, None)}</span>"


def _is_dry(procedure: Procedure[Any]) -> bool:
    return bool(getattr(procedure.parameters, "dry_run", False))


def _on(procedure: Procedure[Any], *, longest: int) -> str:
    """The name of the certificate, or of the notebook if it is not about one."""
    parameters = procedure.parameters
    name = parameters.name if isinstance(parameters, CredentialParameters) else procedure.notebook
    return f"“{_shortened(name, longest)}”"


def _environment(procedure: Procedure[Any]) -> str:
    """The short name of the DigiCert ONE, or its host; the parameter's value if that is wrong."""
    try:
        return procedure.session.environment.name
    except RunbookError:  # the first step that needs it reports why
        return str(procedure.parameters.environment)


def _shortened(text: str, longest: int) -> str:
    """A text for one line: made visible, and cut in the middle if it is long, since ends differ most."""
    text = visible(text)
    return text if len(text) <= longest else f"{text[: longest - 17]}…{text[-16:]}"
