"""Shows a rotation: its steps, what comes next and when, and the certificates on a timeline."""

from __future__ import annotations

from datetime import datetime, timedelta

from runbook_lib.clock import iso
from runbook_lib.credentials.store import Credential
from runbook_lib.lifecycle.journal import Journal
from runbook_lib.lifecycle.rotation import WORDS, Rotation, Stage, replay
from runbook_lib.lifecycle.rotation_state import RotationState
from runbook_lib.lifecycle.session import Session
from runbook_lib.procedures.parameters import RotateParameters
from runbook_lib.result import Bar, Table
from runbook_lib.schema import INTEGER, MOMENT, TEXT, Schema
from runbook_lib.words import quantity

ROTATIONS = Schema("rotations", {"name": TEXT, "rotation": TEXT, "old": INTEGER, "new": INTEGER, "since": MOMENT})
PATH = Schema("path", {"step": TEXT, "state": ("done", "next", "later"), "when": TEXT})
TABLES = (ROTATIONS, PATH)

BACK = "Roll back to the old certificate"


def rotations(session: Session) -> Table:
    """Every credential of the store with its last rotation."""
    rows = []
    for credential in session.store.credentials(session.environment.name):
        rotation = replay(Journal(credential.journal_path, session.clock).entries())
        rows.append(
            (
                credential.name,
                rotation.stage.value if rotation else "none yet",
                f"{rotation.old:04d}" if rotation else "",
                f"{rotation.new:04d}" if rotation and rotation.new else "",
                iso(rotation.at[rotation.stage]) if rotation else "",
            )
        )
    return ROTATIONS.table("Rotations in this store", rows)


def way(state: RotationState, parameters: RotateParameters, now: datetime, *, title: str) -> Table:
    """The steps of a rotation: when each was done, what is next, and when the later ones can come at the earliest."""
    rotation = state.rotation
    following, when = next_step(state, parameters)
    back = rotation is not None and rotation.stage in (Stage.ROLLING_BACK, Stage.ROLLED_BACK)
    rows = []
    for stage, words in WORDS.items():
        if rotation is not None and (rotation.reached(stage) or (back and stage in rotation.at)):
            rows.append((words, "done", iso(rotation.at[stage])))
        elif words == following:
            rows.append((words, "next", when))
        elif not back:
            rows.append((words, "later", _not_before(rotation, stage, parameters, now)))
    if rotation is not None and rotation.stage is Stage.ROLLED_BACK:
        rows.append((BACK, "done", iso(rotation.at[Stage.ROLLED_BACK])))
    if following not in [words for words, _, _ in rows]:
        rows.append((following, "next", when))
    return PATH.table(title, rows)


def _not_before(rotation: Rotation | None, stage: Stage, parameters: RotateParameters, now: datetime) -> str:
    """The earliest time of a step that is not next; empty if it waits only for the step before."""
    in_service = rotation.disable_from(parameters.overlap_days) if rotation else None
    if stage is Stage.OLD_DISABLED:
        return _after(parameters.overlap_days)
    if stage is Stage.RETIRED and in_service is None:
        return _after(parameters.grace_days)
    if stage is Stage.RETIRED and in_service is not None:
        return f"not before {iso(max(in_service, now) + timedelta(days=parameters.grace_days))}"
    return ""


def _after(days: int) -> str:
    return "immediately" if days == 0 else f"{quantity(days, 'day')} after that"


def next_step(state: RotationState, parameters: RotateParameters) -> tuple[str, str]:
    """What comes next, and when."""
    rotation = state.rotation
    if rotation is None:
        return WORDS[Stage.BEGUN], "now" if state.due else f"from {iso(state.due_from)}"
    if rotation.stage is Stage.ROLLED_BACK:
        return "Start again", "with `rotate_now`"
    if rotation.finished:
        return "Start the next rotation", f"from {iso(state.due_from)}"
    if rotation.stage is Stage.ROLLING_BACK:
        return BACK, "now"
    stages = list(WORDS)
    following = stages[stages.index(rotation.stage) + 1]
    waits = {
        Stage.OLD_DISABLED: rotation.disable_from(parameters.overlap_days),
        Stage.RETIRED: rotation.retire_from(parameters.grace_days),
    }.get(following)
    return WORDS[following], f"from {iso(waits)}" if waits else "now"


def bars(credential: Credential, rotation: Rotation | None) -> tuple[Bar, ...]:
    """The generations of a credential as bars of a timeline."""
    current, shown = credential.current(), []
    for generation in credential.generations():
        meta = generation.meta
        state = "old"
        if generation == current:
            state = "in use"
        elif rotation is not None and rotation.new == generation.number:
            state = "given up" if rotation.stage is Stage.ROLLED_BACK else "new"
        label = f"{generation.folder.name} {meta.name}"
        shown.append(Bar(label=label, start=meta.not_before, end=meta.not_after, state=state))
    return tuple(shown)
