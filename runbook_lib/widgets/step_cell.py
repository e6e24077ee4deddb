"""One step in the notebook: its button, the note next to it, and the area for its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from runbook_lib.errors import RunbookError
from runbook_lib.procedures.parameters import CredentialParameters
from runbook_lib.procedures.procedure import Procedure, Step
from runbook_lib.result import Kind, StepRecord, Verdict
from runbook_lib.visible import visible
from runbook_lib.widgets import panels
from runbook_lib.widgets.outputs import Area, show_widget
from runbook_lib.words import words_html

w: Any = ipywidgets  # it has no types

NOT_DONE = "This step has not run yet."
EARLIER_RESULT = "This result belongs to an earlier form."

_LONGEST = 44  # characters of a name on a button; its tooltip has the full name
_DONE = frozenset({Verdict.OK, Verdict.NOTHING_TO_DO, Verdict.PLANNED, Verdict.ATTENTION})
_OTHER_VALUES = "Nothing was done: that click was for other values."


class StepCell:
    """One step's button, the note next to it, and the area for its result."""

    def __init__(self, step: Step, press: Callable[[StepCell], None], refresh: Callable[[], None], source: str) -> None:
        self.step = step
        self.source = source  # of the notebook's cell
        self.again = False  # true if the step has run, and its cell was run again on purpose
        self._press = press
        self._procedure: Procedure[Any] | None = None
        self._retired = ""
        self._title = f"{step.kind.value.capitalize()}: {step.title}"
        self._colour = "warning" if step.kind is Kind.CHANGE else "info"
        self.note = w.HTML(layout=w.Layout(margin="0 0 0 0.8rem"))
        self.button = self._make(None)
        self.agree = w.Checkbox(description="Change without evidence", indent=False)
        self.agree.layout.display = "none"
        self.agree.observe(lambda _: refresh(), "value")
        self._row = w.HBox(
            [self.button, self.agree, self.note], layout=w.Layout(flex_flow="row wrap", align_items="center")
        )
        self._row.add_class("dor-row")
        show_widget(self._row)
        self.area = Area(panels.note(NOT_DONE, waits=True))

    def bind(self, procedure: Procedure[Any] | None) -> None:
        """Replace the button for new values. The old one refuses clicks from every page that still shows it."""
        self._procedure = procedure
        self.again = False
        self.button.disabled = True
        self.button = self._make(procedure)
        self.agree.value = False
        self._row.children = (self.button, self.agree, self.note)

    def retire(self, why: str) -> None:
        """Disable the button for good, and say why."""
        self._retired, self._procedure = why, None
        self.button.disabled, self.button.button_style = True, ""
        self._say(why)
        self.area.mark(EARLIER_RESULT)

    def running(self) -> None:
        """Show that the step is running."""
        self.again = False
        self.button.description = f"Running … {self._deed()}"
        self._say("")

    @property
    def changes(self) -> bool:
        """Whether a press changes something."""
        procedure = self._procedure
        return self.step.kind is Kind.CHANGE and bool(
            procedure and procedure.asked(self.step) and not _is_dry(procedure)
        )

    def show(self, record: StepRecord | None, *, redone: bool, problem: RunbookError | None) -> None:
        """Enable or disable the button, and say why.

        Args:
            redone: whether later steps have run, which rely on this one.
            problem: why a change could not be archived; None if it can.
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
        unrecorded = problem is not None and self.changes and earlier is None and not done
        self.agree.layout.display = None if unrecorded else "none"
        if problem is not None and unrecorded:
            self.button.disabled = not self.agree.value
            self.button.description += f" – cannot be archived: {problem.title}"
            self._say(f"{problem.what} {problem.remedy}")

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
