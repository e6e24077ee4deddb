"""Where the rotation of a credential stands, as its journal, its store and DigiCert ONE show it at one moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from runbook_lib.clock import iso
from runbook_lib.credentials.generation import Generation
from runbook_lib.credentials.store import Credential
from runbook_lib.digicert.listing import Listing
from runbook_lib.digicert.models import User
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.lifecycle.journal import Journal, State
from runbook_lib.lifecycle.proof import listed_as
from runbook_lib.lifecycle.request import certificate_name, ends_of
from runbook_lib.lifecycle.rotation import Rotation, Stage, replay
from runbook_lib.lifecycle.session import Session


@dataclass(frozen=True)
class RotationState:
    """What the first step of a rotation finds, and the later ones take.

    Args:
        current: the generation in use.
        rotation: the credential's last rotation; None where there never was one.
        user, listed: the service user, and the certificates that it sees.
        due_from: from when on `current` is to be replaced.
        due: whether a run may take the rotation further.
    """

    current: Generation
    rotation: Rotation | None
    user: User
    listed: Listing
    due_from: datetime
    due: bool

    def refuse_contradictions(self, session: Session, credential: Credential) -> None:
        """Raise where journal, store and DigiCert ONE cannot all be right.

        Raises:
            RunbookError: STATE_CONTRADICTION; CERTIFICATE_DISABLED where somebody has disabled the new certificate;
                LIST_NOT_WHOLE.
        """
        rotation = self.rotation
        entries = Journal(credential.journal_path, session.clock).entries()
        posted = {entry.data.get("name") for entry in entries if entry.state is State.POSTED}
        serials = {generation.facts().serial for generation in credential.generations()}
        ours = re.compile(rf"{re.escape(certificate_name(credential.name, 2)[:-5])} \d{{4}}")
        if self.listed.problem is not None:
            raise self.listed.problem  # what is not listed is what speaks of an old backup
        for entry in self.listed:
            if ours.fullmatch(entry.name) and entry.name not in posted and entry.serial not in serials:
                raise RunbookError(
                    Reason.STATE_CONTRADICTION,
                    f"DigiCert ONE lists “{entry.name}”, which this store's journal never asked for: was the "
                    "store put back from an old backup, or is there a second store?",
                )
        if rotation is None or rotation.finished:
            return
        expected = {rotation.new} if rotation.reached(Stage.DEPLOYED) else {rotation.old}
        if rotation.stage is Stage.TESTED:
            expected = {rotation.old, rotation.new}  # the switch may have been made and not yet written down
        if rotation.stage is not Stage.ROLLING_BACK and self.current.number not in expected:
            raise RunbookError(
                Reason.STATE_CONTRADICTION,
                f"`current` points to {self.current.folder.name}, and the journal stands at “{rotation.stage}” from "
                f"{rotation.old:04d} to {rotation.new or 0:04d}.",
            )

        def enabled(number: int) -> bool:
            return listed_as(session, credential.generation(number)).enabled

        retired = credential.is_retired(rotation.old)  # and then the run ended before it could say so
        if rotation.reached(Stage.OLD_DISABLED) and not retired and enabled(rotation.old):
            raise RunbookError(
                Reason.STATE_CONTRADICTION,
                f"The old certificate {rotation.old:04d} was disabled on {iso(rotation.at[Stage.OLD_DISABLED])}, and "
                "somebody has enabled it since.",
                remedy="If programs still need it: action “roll back”. Else disable it in 03_access, and run 05 again.",
            )
        if rotation.reached(Stage.ISSUED) and rotation.new and not enabled(rotation.new):
            raise RunbookError(
                Reason.CERTIFICATE_DISABLED,
                f"Somebody has disabled the new certificate {rotation.new:04d}.",
                remedy="Enable it in DigiCert ONE and run 05 again, or choose the action “roll back”.",
            )


def find_state(session: Session, name: str, *, before: int, at_once: bool) -> RotationState:
    """Read the journal and the store, and ask DigiCert ONE. The caller holds the credential's lock.

    Args:
        before: so many days before its effective end a generation is due.
        at_once: whether a rotation begins although none is due.

    Raises:
        RunbookError: CLOCK_WENT_BACK, NO_CREDENTIAL, WRONG_ENVIRONMENT; what DigiCert ONE refused.
    """
    journal = Journal(session.credential(name).journal_path, session.clock)
    journal.check_clock()
    current, rotation = session.in_use(name), replay(journal.entries())
    with session.api() as api:
        user, listed = api.me(), api.certificates()
    due_from = due_since(current, user, before)
    due = session.clock.now() >= due_from
    if rotation is not None:
        due = not rotation.finished or (due and rotation.stage is not Stage.ROLLED_BACK)
    return RotationState(current, rotation, user, listed, due_from, due or at_once)


def effective_end(generation: Generation, user: User) -> tuple[datetime, str]:
    """When a generation stops working, and by what."""
    ends = {"the certificate": generation.meta.not_after} | ends_of(user)
    what = min(ends, key=lambda name: ends[name])
    return ends[what], what


def due_since(generation: Generation, user: User, days: int) -> datetime:
    """From when on a generation is to be replaced: so many days before its end, or a third of its lifetime."""
    end, _ = effective_end(generation, user)
    lifetime = end - generation.facts().not_before
    return end - min(timedelta(days=days), lifetime / 3)
