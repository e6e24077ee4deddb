"""The state of a rotation, replayed from the journal alone, so that every later run knows it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from runbook_lib.lifecycle.journal import JournalEntry, State


class Stage(StrEnum):
    """The stages of a rotation, in order; the last two belong to a roll-back."""

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
    Stage.BEGUN: "Start",
    Stage.ISSUED: "Issue the new certificate",
    Stage.TESTED: "Test the new certificate",
    Stage.DEPLOYED: "Point `current` to the new certificate",
    Stage.HOOKED: "Run the deploy hook",
    Stage.IN_SERVICE: "Verify the certificate in use",
    Stage.OLD_DISABLED: "Disable the old certificate",
    Stage.OLD_REFUSED: "Prove that the old certificate is refused",
    Stage.RETIRED: "Delete the old key",
}
"""The stages of a rotation without a roll-back, as a reader sees them."""

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
        old, new: generations; `new` is None until its issuance starts.
        stage: the last stage that was reached.
        at: when each stage was reached.
        hook_problem: how the deploy hook last failed; empty once it succeeds.
        grace_until: the end of the grace period, as the run that proved the refusal set it; empty before that.
    """

    old: int
    new: int | None
    stage: Stage
    at: dict[Stage, datetime]
    hook_problem: str = ""
    grace_until: str = ""

    def reached(self, stage: Stage) -> bool:
        """Whether the rotation reached a stage. False for every stage once a roll-back has started."""
        return self.stage in _PATH and _PATH.index(self.stage) >= _PATH.index(stage)

    @property
    def finished(self) -> bool:
        return self.stage in (Stage.RETIRED, Stage.ROLLED_BACK)

    def disable_from(self, overlap_days: int) -> datetime | None:
        """When the old certificate may be disabled; None before the new one is in service."""
        since = self.at.get(Stage.IN_SERVICE)
        return since + timedelta(days=overlap_days) if since else None

    def retire_from(self, grace_days: int) -> datetime | None:
        """When the old key may be deleted; a roll-back is possible until then. None before the old one is refused."""
        since = self.at.get(Stage.OLD_REFUSED)
        return since + timedelta(days=grace_days) if since else None


def replay(entries: list[JournalEntry]) -> Rotation | None:
    """The last rotation of a credential, or None if there never was one."""
    rotation: Rotation | None = None
    for entry in entries:
        if entry.state is State.ROTATION_BEGUN:
            rotation = Rotation(entry.generation, None, Stage.BEGUN, {Stage.BEGUN: entry.at})
        elif rotation is None or rotation.finished:
            continue
        elif entry.state is State.PLANNED:
            rotation = replace(rotation, new=entry.generation)
        elif rotation.stage is Stage.ROLLING_BACK and entry.state is not State.ROLLED_BACK:
            continue  # the steps of a roll-back, its hook included, are no progress
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
    """A generation's part in its credential's last rotation; empty if it has none."""
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
    """The command to run next for a credential."""
    quoted = shlex.quote(name)
    return f"05_rotate: runbook run rotate -p name {quoted} -p confirm {quoted}"
