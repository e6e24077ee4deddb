"""What a notebook calls: `Runbook`, with `step` for each step and `finish` at the end.

Whether a person or a scheduler is there is told by the parameter `mode`, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from runbook_lib.clock import SystemClock
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import Parameters, intake
from runbook_lib.procedures.procedure import Procedure, Step
from runbook_lib.result import ParameterRow, ParametersRecord
from runbook_lib.widgets import panels
from runbook_lib.widgets.outputs import show

_FIRST_CELLS = "Run the first cells again, down to the one that shows the form; then this one."
_PLAIN = (str, int, float, bool, type(None), list, dict)
_IPYTHON = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})


class _Way(Protocol):
    """How steps are run: by buttons, or at once."""

    def retire(self) -> None: ...

    def step(self, step: Step) -> None: ...

    def finish(self) -> None: ...


class Runbook:
    """A procedure in a notebook: shows its form, or headlessly the table of its parameters.

    Args:
        procedure: which one.
        namespace: the notebook's `globals()`. Its plain variables (text, numbers, lists) are the parameters; headlessly
            one that no notebook knows is refused, interactively it is somebody's own and is left alone.

    Raises:
        RunbookError: UNKNOWN_PARAMETER, SECRET_AS_VALUE or BAD_PARAMETER, after it was shown and recorded; headlessly
            also what the environment lacks.
    """

    def __init__(self, procedure: type[Procedure[Any]], namespace: Mapping[str, Any]) -> None:
        self._steps = {step.slug: step for step in procedure.steps()}
        model = procedure.model
        given = plain_variables(namespace)
        interactive = given.get("mode", model.model_fields["mode"].default) == "interactive"
        if interactive:
            given = {name: value for name, value in given.items() if name in model.model_fields}
        _Newest.replace(None)  # also where this one is refused: the one before had other parameters
        show(panels.style(live=interactive))
        try:
            parameters, rows = intake(model, given)
            self._way: _Way = _with_buttons(procedure, given) if interactive else _AtOnce(procedure, parameters, rows)
        except RunbookError as problem:
            show(panels.output_bundle(refused(procedure, problem)))
            raise
        _Newest.replace(self)

    def step(self, method: Any) -> None:
        """Show a step: its button, or headlessly what it did.

        Args:
            method: the procedure's method, for example `Issue.request_certificate`.

        Raises:
            RunbookError: STEP_OUT_OF_ORDER for a step of another procedure; headlessly if the step failed, after it was
                shown and recorded.
        """
        step: Step = method.step
        known = self._steps.get(step.slug)
        if known is None or known.title != step.title:
            raise RunbookError(
                Reason.STEP_OUT_OF_ORDER,
                f"“{step.title}” belongs to another notebook than the newest form of this kernel.",
                remedy=_FIRST_CELLS,
            )
        self._way.step(known)

    def finish(self) -> None:
        """Show what happened in all steps, and what to do next."""
        self._way.finish()


class _Newest:
    """The runbook whose buttons act. There is one in a process: those of every earlier one are retired."""

    runbook: Runbook | None = None

    @classmethod
    def replace(cls, runbook: Runbook | None) -> None:
        if cls.runbook is not None:
            cls.runbook._way.retire()
        cls.runbook = runbook


def newest() -> Runbook:
    """The kernel's runbook. A cell imports it, so that it can say what is missing in a kernel that has none.

    Raises:
        RunbookError: STEP_OUT_OF_ORDER where no form has been shown yet, or the last one was refused.
    """
    if _Newest.runbook is None:
        raise RunbookError(
            Reason.STEP_OUT_OF_ORDER,
            "This kernel has no form: it is new or was restarted, or the form’s cell was not run or was refused.",
            remedy=_FIRST_CELLS,
        )
    return _Newest.runbook


def plain_variables(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a notebook that can be parameters: plain values under names of the notebook's own."""
    return {
        name: value
        for name, value in namespace.items()
        if isinstance(value, _PLAIN) and not name.startswith("_") and name not in _IPYTHON
    }


def refused(procedure: type[Procedure[Any]], problem: RunbookError) -> ParametersRecord:
    """The record of parameters that were not accepted. It repeats none of them: one may be a secret."""
    # which clock was asked for is one of the parameters that were not accepted
    return ParametersRecord(procedure=procedure.slug, at=SystemClock().now(), rows=(), error=problem.as_dict())


def _with_buttons(procedure: type[Procedure[Any]], given: Mapping[str, Any]) -> _Way:
    # a headless run needs no widget, so it does not import any
    from runbook_lib.widgets.buttons import Buttons

    return Buttons(procedure, given)


class _AtOnce:
    """Headless: each step runs when its cell runs, and a failed one ends the notebook."""

    def __init__(self, procedure: type[Procedure[Any]], parameters: Parameters, rows: tuple[ParameterRow, ...]) -> None:
        self._procedure = procedure(parameters)
        show(panels.output_bundle(self._procedure.begin(rows)))

    def retire(self) -> None:
        """Nothing of it is left that somebody could press."""

    def step(self, step: Step) -> None:
        record = self._procedure.perform(step.slug)
        show(panels.output_bundle(record))
        if record.error is not None:
            raise RunbookError.from_dict(record.error)

    def finish(self) -> None:
        show(panels.output_bundle(self._procedure.finish()))
