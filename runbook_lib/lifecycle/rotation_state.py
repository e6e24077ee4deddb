"""The state of a credential's rotation at one moment, from its journal, its store and DigiCert ONE."""

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
    """What the first step of a rotation finds and the later steps use.

    Args:
        current: the generation in use.
        rotation: the credential's last rotation; None if there never was one.
        user, listed: the service user, and the certificates that it sees.
        due_from: from when on `current` is due.
        due: whether a run may advance the rotation.
    """

    current: Generation
    rotation: Rotation | None
    user: User
    listed: Listing
    due_from: datetime
    due: bool

    def refuse_contradictions(self, session: Session, credential: Credential) -> None:
        """Raise if journal, store and DigiCert ONE contradict each other.

        Raises:
            RunbookError: STATE_CONTRADICTION; CERTIFICATE_DISABLED if somebody disabled the new certificate;
                LIST_NOT_WHOLE.
        """
        rotation = self.rotation
        entries = Journal(credential.journal_path, session.clock).entries()
        posted = {entry.data.get("name") for entry in entries if entry.state is State.POSTED}
        serials = {generation.facts().serial for generation in credential.generations()}
        ours = re.compile(rf"{re.escape(certificate_name(credential.name, 2)[:-5])} \d{{4}}")
        if self.listed.problem is not None:
            raise self.listed.problem  # an unlisted certificate could be the sign of an old backup
        for entry in self.listed:
            if ours.fullmatch(entry.name) and entry.name not in posted and entry.serial not in serials:
                raise RunbookError(
                    Reason.STATE_CONTRADICTION,
                    f"DigiCert ONE lists “{entry.name}”, which the journal of this store never requested. Was the "
                    "store restored from an old backup, or is there a second store?",
                )
        if rotation is None or rotation.finished:
            return
        expected = {rotation.new} if rotation.reached(Stage.DEPLOYED) else {rotation.old}
        if rotation.stage is Stage.TESTED:
            expected = {rotation.old, rotation.new}  # the switch may be done but not yet journalled
        if rotation.stage is not Stage.ROLLING_BACK and self.current.number not in expected:
            raise RunbookError(
                Reason.STATE_CONTRADICTION,
                f"`current` points to {self.current.folder.name}, but the journal says “{rotation.stage}” for the "
                f"rotation from {rotation.old:04d} to {rotation.new or 0:04d}.",
            )

        def enabled(number: int) -> bool:
            return listed_as(session, credential.generation(number)).enabled

        retired = credential.is_retired(rotation.old)  # true before it is journalled, if the run ended in between
        if rotation.reached(Stage.OLD_DISABLED) and not retired and enabled(rotation.old):
            raise RunbookError(
                Reason.STATE_CONTRADICTION,
                f"The old certificate {rotation.old:04d} was disabled on {iso(rotation.at[Stage.OLD_DISABLED])}, but "
                "somebody enabled it again.",
                remedy="If programs still need it, choose the action “roll back”. Otherwise disable it in 03_access "
                "and run 05 again.",
            )
        if rotation.reached(Stage.ISSUED) and rotation.new and not enabled(rotation.new):
            raise RunbookError(
                Reason.CERTIFICATE_DISABLED,
                f"Somebody disabled the new certificate {rotation.new:04d}.",
                remedy="Enable it in DigiCert ONE and run 05 again, or choose the action “roll back”.",
            )


def find_state(session: Session, name: str, *, before: int, at_once: bool) -> RotationState:
    """Read the journal and the store, and ask DigiCert ONE. The caller holds the credential's lock.

    Args:
        before: how many days before its effective end a generation is due.
        at_once: whether to start a rotation that is not due.

    Raises:
        RunbookError: CLOCK_WENT_BACK, NO_CREDENTIAL, WRONG_ENVIRONMENT; DigiCert ONE's refusal.
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
    """When a generation stops working, and what ends it."""
    ends = {"the certificate": generation.meta.not_after} | ends_of(user)
    what = min(ends, key=lambda name: ends[name])
    return ends[what], what


def due_since(generation: Generation, user: User, days: int) -> datetime:
    """From when on a generation is due: `days` or a third of its lifetime before its end, whichever is shorter."""
    end, _ = effective_end(generation, user)
    lifetime = end - generation.facts().not_before
    return end - min(timedelta(days=days), lifetime / 3)
