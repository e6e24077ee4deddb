"""`Runbook`, which a notebook calls: `step` for each step and `finish` at the end.

The parameter `mode` says whether a person or a scheduler runs the notebook; it is never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from runbook_lib.clock import SystemClock
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import Parameters, intake
from runbook_lib.procedures.procedure import Procedure, Step
from runbook_lib.result import ParameterRow, ParametersRecord
from runbook_lib.widgets import panels
from runbook_lib.widgets.data_frames import Tables
from runbook_lib.widgets.outputs import show

if TYPE_CHECKING:
    import pandas as pd

_FIRST_CELLS = "Run the first cells again, down to the form; then run this cell."
_PLAIN = (str, int, float, bool, type(None), list, dict)
_IPYTHON = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})


class _Way(Protocol):
    """How steps run: by buttons, or each when its cell runs."""

    @property
    def procedure(self) -> Procedure[Any] | None: ...

    def retire(self) -> None: ...

    def step(self, step: Step) -> None: ...

    def finish(self) -> None: ...


class Runbook:
    """A procedure in a notebook. Shows its form, or headlessly the table of its parameters.

    Args:
        procedure: the procedure to run.
        namespace: the notebook's `globals()`. Its plain variables (text, numbers, lists) are the parameters. A variable
            that is not a parameter is refused headlessly and ignored interactively.

    Raises:
        RunbookError: UNKNOWN_PARAMETER, SECRET_AS_VALUE or BAD_PARAMETER, after it was shown and recorded; headlessly
            also if the environment lacks something.
    """

    def __init__(self, procedure: type[Procedure[Any]], namespace: Mapping[str, Any]) -> None:
        self._steps = {step.slug: step for step in procedure.steps()}
        model = procedure.model
        given = plain_variables(namespace)
        interactive = given.get("mode", model.model_fields["mode"].default) == "interactive"
        if interactive:
            given = {name: value for name, value in given.items() if name in model.model_fields}
        _Newest.replace(None)  # even if this one is refused: the one before had other parameters
        show(panels.style(live=interactive))
        try:
            parameters, rows = intake(model, given)
            self._way: _Way = _with_buttons(procedure, given) if interactive else _AtOnce(procedure, parameters, rows)
        except RunbookError as problem:
            show(panels.output_bundle(refused(procedure, problem)))
            raise
        self._interactive = interactive
        _Newest.replace(self)

    def step(self, method: Any) -> None:
        """Show a step: its button, or headlessly its result.

        Args:
            method: the procedure's method, for example `Issue.request_certificate`.

        Raises:
            RunbookError: STEP_OUT_OF_ORDER for a step of another procedure; headlessly also the error of the step,
                after it was shown and recorded.
        """
        step: Step = method.step
        known = self._steps.get(step.slug)
        if known is None or known.title != step.title:
            raise RunbookError(
                Reason.STEP_OUT_OF_ORDER,
                f"“{step.title}” belongs to another notebook than this kernel's newest form.",
                remedy=_FIRST_CELLS,
            )
        self._way.step(known)

    def finish(self) -> None:
        """Show a summary of all steps, and what to do next."""
        self._way.finish()

    @property
    def tables(self) -> Tables:
        """The tables of the steps that have run, as pandas DataFrames by their names."""
        return Tables(self._way.procedure)

    def explore(self, name: str) -> pd.DataFrame | None:
        """Show a table to sort, filter, search and save.

        Returns:
            the table; None in a headless run, which shows nothing, and until its step has run.
        """
        if not self._interactive:
            return None
        from runbook_lib.widgets.explore import explore  # a headless run needs neither a grid nor pandas

        return explore(self._way.procedure, name)


class _Newest:
    """The runbook whose buttons work. There is one in a process: the buttons of earlier ones are retired."""

    runbook: Runbook | None = None

    @classmethod
    def replace(cls, runbook: Runbook | None) -> None:
        if cls.runbook is not None:
            cls.runbook._way.retire()
        cls.runbook = runbook


def newest() -> Runbook:
    """The kernel's runbook. Every cell imports it, so that a cell in a new kernel can say what is missing.

    Raises:
        RunbookError: STEP_OUT_OF_ORDER if the kernel has no form, or its last one was refused.
    """
    if _Newest.runbook is None:
        raise RunbookError(
            Reason.STEP_OUT_OF_ORDER,
            "This kernel has no form: the kernel is new or was restarted, or its form was refused.",
            remedy=_FIRST_CELLS,
        )
    return _Newest.runbook


def plain_variables(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a notebook that can be parameters: plain values, without IPython's own names."""
    return {
        name: value
        for name, value in namespace.items()
        if isinstance(value, _PLAIN) and not name.startswith("_") and name not in _IPYTHON
    }


def refused(procedure: type[Procedure[Any]], problem: RunbookError) -> ParametersRecord:
    """The record of refused parameters. It repeats none of them: one may be a secret."""
    # the parameter `clock` is among the refused ones, so its clock cannot be used
    return ParametersRecord(procedure=procedure.slug, at=SystemClock().now(), rows=(), error=problem.as_dict())


def _with_buttons(procedure: type[Procedure[Any]], given: Mapping[str, Any]) -> _Way:
    # a headless run needs no widgets, so it does not import them
    from runbook_lib.widgets.buttons import Buttons

    return Buttons(procedure, given)


class _AtOnce:
    """Headless: each step runs when its cell runs; a failed step ends the notebook."""

    def __init__(self, procedure: type[Procedure[Any]], parameters: Parameters, rows: tuple[ParameterRow, ...]) -> None:
        self.procedure = procedure(parameters)
        show(panels.output_bundle(self.procedure.begin(rows)))

    def retire(self) -> None:
        """Do nothing: there are no buttons."""

    def step(self, step: Step) -> None:
        record = self.procedure.perform(step.slug)
        show(panels.output_bundle(record))
        if record.error is not None:
            raise RunbookError.from_dict(record.error)

    def finish(self) -> None:
        show(panels.output_bundle(self.procedure.finish()))
