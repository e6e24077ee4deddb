"""The evidence of what is clicked: handed to the keeper before it has an effect, and archived by it.

If nothing can be archived, a change is refused before it happens, unless the person agrees to go on without evidence.
That is recorded too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from runbook_lib import disk, tables
from runbook_lib.clock import iso
from runbook_lib.errors import RunbookError
from runbook_lib.procedures.procedure import Procedure, Step
from runbook_lib.result import Kind
from runbook_lib.secrets import Secret
from runbook_lib.session_messages import Begin, Close, Did, Message, Pressed, Ran, Reply, Secrets, StepOf
from runbook_lib.widgets import panels
from runbook_lib.widgets.keeper import KeeperProcess
from runbook_lib.widgets.outputs import Area, show_widget
from runbook_lib.widgets.panels import Bundle
from runbook_lib.widgets.ran import ran_cells

w: Any = ipywidgets  # it has no types

WITHOUT = "changes-without-evidence.jsonl"
"""In the store: a line for each change that a person made without evidence."""


class Refused(RunbookError):
    """The archive's policy does not allow what was started."""


class Evidence:
    """The evidence of one form's values.

    Args:
        procedure: what was started.
        values: the form's values; secrets as references.
        secrets: what was typed into the form, by its reference.
        cell: the source of the cell with the form.
        shown: the outputs of that cell.

    Attributes:
        problem: why nothing can be archived at the moment; None if all is well.
        bag: the newest bag of these values, and what else there is to say of it; None before that.
        changed: whether the button of a change was pressed since the last bag.

    Raises:
        Refused: the policy does not allow it.
    """

    def __init__(
        self,
        procedure: Procedure[Any],
        values: Mapping[str, Any],
        secrets: Mapping[str, Secret],
        cell: str,
        shown: tuple[Bundle, ...],
    ) -> None:
        self.problem: RunbookError | None = None
        self.bag: Reply | None = None
        self.changed = False
        self._procedure, self._values, self._secrets = procedure, values, secrets
        self._cell, self._shown = cell, shown
        self._keeper: KeeperProcess | None = None
        self._pressed = False
        self._ran = ran_cells()
        self._ran.on_ran = self._tell_ran
        self._begin()

    @property
    def open(self) -> bool:
        """Whether something was pressed that is not sealed yet."""
        return self._keeper is not None and self._pressed

    def pressed(self, step: Step, *, asked: bool, changes: bool, agreed: bool) -> None:
        """Record a press, before the step begins.

        Args:
            asked: whether the chosen action includes the step.
            changes: whether the step changes something.
            agreed: the person agreed to change something without evidence.

        Raises:
            RunbookError: it cannot be recorded, the step changes something, and the person did not agree.
        """
        try:
            self._begin_again()
        except Refused as refused:
            self.problem = refused
            raise
        without = changes and agreed and self.problem is not None
        self._tell(Pressed(step=step.slug, asked=asked, goes_on=agreed or not changes, without_evidence=without))
        if changes and self.problem is not None:
            if not agreed:
                raise self.problem
            self._note_without(step)
        self._pressed = True
        self.changed |= asked and step.kind is Kind.CHANGE

    def did(self, step: Step, cell: str, shown: Bundle, last_cell: str, summary: Bundle) -> None:
        """Record how a step ended."""
        self._tell(Did(step=step.slug, cell=cell, shown=shown, last_cell=last_cell, summary=summary))

    def close(self, why: str, *, asked: bool = False) -> None:
        """End the session. It becomes a bag if a change was pressed, or if the person asked for it.

        Args:
            why: a part of a sentence, for example “the values were changed”.
        """
        if self._keeper is None:
            return
        self._tell_ran()
        reply = self._tell(Close(why=why, asked=asked))
        if reply is not None and reply.bag:
            self.bag = reply
        if self.problem is None or not asked:
            self._keeper.leave()
            self._keeper, self._pressed, self.changed = None, False, False

    # --- the keeper -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        procedure = self._procedure
        values = [item for value in self._values.values() for item in (value if isinstance(value, list) else [value])]
        self.problem = None
        try:
            self._keeper = KeeperProcess(os.environ, [item for item in values if isinstance(item, str)])
        except RunbookError as problem:
            self.problem = problem
            return
        done = [record.step for record in procedure.records if record.error is None]
        begin = Begin(
            job=procedure.slug,
            notebook=procedure.notebook,
            file=os.environ.get("JPY_SESSION_NAME", ""),
            tables=str(tables.tables_folder(os.environ).absolute()),
            parameters=dict(self._values),
            steps=tuple(StepOf(slug=step.slug, title=step.title, kind=step.kind) for step in procedure.steps()),
            cell=self._cell,
            shown=self._shown,
            earlier=tuple(done),
        )
        if self._secrets:
            self._tell(Secrets(secrets={name: secret.reveal() for name, secret in self._secrets.items()}))
        reply = self._tell(begin)
        if reply is not None and reply.refused and self.problem is not None:
            refused, self.problem = self.problem, None
            self._keeper.leave()
            self._keeper = None
            raise Refused(refused.reason, refused.what, remedy=refused.remedy, title=refused.title)
        self._tell_ran(everything=True)

    def _begin_again(self) -> None:
        """Begin another session: the last one is sealed, or its keeper is gone."""
        if self._keeper is None or not self._keeper.alive:
            if self._keeper is not None:
                self._keeper.leave()
            self._begin()

    def _tell(self, message: Message) -> Reply | None:
        """Hand a message to the keeper; note why that failed. None if the keeper is gone."""
        if self._keeper is None:
            return None
        try:
            reply = self._keeper.ask(message)
        except RunbookError as problem:
            self.problem = problem
            return None
        if reply.problem:
            self.problem = RunbookError.from_dict(reply.problem)
        elif not isinstance(message, Ran | Secrets):  # they are not written, so they say nothing of the archive
            self.problem = None
        return reply

    def _tell_ran(self, *, everything: bool = False) -> None:
        if self._keeper is not None:
            for cell in self._ran.new(everything=everything):
                self._tell(cell)

    def _note_without(self, step: Step) -> None:
        """Record next to the credentials that a person changes something without evidence."""
        assert self.problem is not None  # noqa: S101  (so says the caller)
        session = self._procedure.session
        line = {
            "at": iso(session.clock.now()),
            "procedure": self._procedure.slug,
            "step": step.slug,
            "name": str(getattr(self._procedure.parameters, "name", "")),
            "environment": session.environment.name,
            "why": self.problem.title,
        }
        try:
            session.store.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            disk.append(session.store.root / WITHOUT, json.dumps(line, ensure_ascii=False).encode() + b"\n")
        except OSError:
            raise self.problem from None  # not even this can be recorded


class ArchiveRow:
    """Below the summary: the button that archives now, and where the evidence is."""

    def __init__(self, on_press: Callable[[], None]) -> None:
        self._button = w.Button(
            description="Archive", tooltip="Archive what was done so far", disabled=True, layout=w.Layout(width="auto")
        )
        self._button.on_click(lambda _: None if self._button.disabled else on_press())
        show_widget(self._button)
        self._area = Area(panels.note(_NOTHING))

    def archiving(self) -> None:
        """Say that the bag is being made."""
        self._button.disabled = True
        self._area.update(panels.note("Archiving …", waits=True))

    def show(self, evidence: Evidence | None, *, working: bool = False) -> None:
        """Say where the evidence is."""
        self._button.disabled = working or evidence is None or not evidence.open
        if evidence is None:
            return
        if evidence.problem is not None:
            self._area.update(panels.note(f"Cannot be archived at the moment. {evidence.problem.what}", waits=True))
        elif evidence.open:
            self._area.update(panels.note(_OPEN, waits=True))
        elif evidence.bag is not None:
            self._area.update(panels.archived(evidence.bag.bag, evidence.bag.status, evidence.bag.note))
        else:
            self._area.update(panels.note(_NOTHING))


_NOTHING = "Nothing to archive yet."
_OPEN = "Each press is recorded. Archived when the last step is done and something was changed, or now: press Archive."
