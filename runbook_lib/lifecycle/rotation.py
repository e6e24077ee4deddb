"""Where a rotation stands: read from the journal alone, so that any later run knows what this one knew."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from runbook_lib.lifecycle.journal import JournalEntry, State


class Stage(StrEnum):
    """How far a rotation has come, in order; the last two are its other ways out."""

    BEGUN = "begun"
    ISSUED = "issued"
    TESTED = "tested"
    DEPLOYED = "deployed"
    HOOKED = "hooked"
    IN_SERVICE = "in service"
    OLD_DISABLED = "old disabled"
    OLD_REFUSED = "old refused"
    RETIRED = "retired"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"


WORDS = {
    Stage.BEGUN: "Begin",
    Stage.ISSUED: "Issue a new certificate beside the old one",
    Stage.TESTED: "Test the new certificate",
    Stage.DEPLOYED: "Point `current` at it",
    Stage.HOOKED: "Tell the programs (deploy hook)",
    Stage.IN_SERVICE: "Verify it as the programs would",
    Stage.OLD_DISABLED: "Disable the old certificate",
    Stage.OLD_REFUSED: "Prove that the old one is refused",
    Stage.RETIRED: "Delete the old key",
}
"""The path of a rotation that goes well, as a reader sees it."""

_STAGE_OF = {
    State.BUNDLED: Stage.ISSUED,
    State.VERIFIED: Stage.TESTED,
    State.CURRENT: Stage.DEPLOYED,
    State.HOOKED: Stage.HOOKED,
    State.IN_SERVICE: Stage.IN_SERVICE,
    State.OLD_DISABLED: Stage.OLD_DISABLED,
    State.OLD_REFUSED: Stage.OLD_REFUSED,
    State.RETIRED: Stage.RETIRED,
    State.ROLLING_BACK: Stage.ROLLING_BACK,
    State.ROLLED_BACK: Stage.ROLLED_BACK,
}
_PATH = list(WORDS)


@dataclass(frozen=True)
class Rotation:
    """One rotation.

    Args:
        old, new: generations; `new` is None until its issuance begins.
        stage: the last stage that was reached.
        at: when each stage was reached.
        hook_problem: what the deploy hook's last failure said, until it succeeds.
        grace_until: until when the run that proved the refusal meant to keep the old key; empty before that.
    """

    old: int
    new: int | None
    stage: Stage
    at: dict[Stage, datetime]
    hook_problem: str = ""
    grace_until: str = ""

    def reached(self, stage: Stage) -> bool:
        """Whether a stage of the path was reached. A roll-back has left the path."""
        return self.stage in _PATH and _PATH.index(self.stage) >= _PATH.index(stage)

    @property
    def finished(self) -> bool:
        return self.stage in (Stage.RETIRED, Stage.ROLLED_BACK)

    def disable_from(self, overlap_days: int) -> datetime | None:
        """When the old certificate may be disabled; None before the new one is in service."""
        since = self.at.get(Stage.IN_SERVICE)
        return since + timedelta(days=overlap_days) if since else None

    def retire_from(self, grace_days: int) -> datetime | None:
        """When the old key may be deleted, and until when a roll-back is possible; None before the old is refused."""
        since = self.at.get(Stage.OLD_REFUSED)
        return since + timedelta(days=grace_days) if since else None


def replay(entries: list[JournalEntry]) -> Rotation | None:
    """The last rotation of a credential, or None where there never was one."""
    rotation: Rotation | None = None
    for entry in entries:
        if entry.state is State.ROTATION_BEGUN:
            rotation = Rotation(entry.generation, None, Stage.BEGUN, {Stage.BEGUN: entry.at})
        elif rotation is None or rotation.finished:
            continue
        elif entry.state is State.PLANNED:
            rotation = replace(rotation, new=entry.generation)
        elif rotation.stage is Stage.ROLLING_BACK and entry.state is not State.ROLLED_BACK:
            continue  # what is done on the way back, its hook among it, is no step forward
        elif entry.state is State.ABANDONED and rotation.new == entry.generation:
            rotation = replace(rotation, new=None, stage=Stage.BEGUN)
        elif entry.state is State.HOOK_FAILED:
            rotation = replace(rotation, hook_problem=entry.data.get("how", ""))
        elif entry.state in _STAGE_OF:
            stage = _STAGE_OF[entry.state]
            rotation = replace(rotation, stage=stage, at=rotation.at | {stage: entry.at})
            if stage is Stage.HOOKED:
                rotation = replace(rotation, hook_problem="")
            if stage is Stage.OLD_REFUSED:
                rotation = replace(rotation, grace_until=entry.data.get("grace_until", ""))
    return rotation


def part_of(rotation: Rotation | None, number: int) -> str:
    """What part a generation plays in its credential's last rotation."""
    if rotation is None or number not in (rotation.old, rotation.new):
        return ""
    if rotation.stage is Stage.ROLLED_BACK:
        return "rolled back to" if number == rotation.old else "given up"
    if rotation.finished:
        return ""
    if number == rotation.new:
        return f"new, {rotation.stage}"
    if rotation.reached(Stage.OLD_REFUSED):
        return f"in grace, roll-back possible until {rotation.grace_until}"
    return (
        f"superseded by {rotation.new:04d}, roll-back possible"
        if rotation.reached(Stage.DEPLOYED)
        else "being replaced"
    )


def rotate_command(name: str) -> str:
    """What to run next for a credential."""
    quoted = shlex.quote(name)
    return f"05_rotate: runbook run rotate -p name {quoted} -p confirm {quoted}"
