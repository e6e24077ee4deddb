"""What every step of a rotation asks: where it stands, whether that can be true, and whether a certificate works."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import cached_property

from pydantic import ValidationError

from runbook_lib.clock import iso
from runbook_lib.credentials.csr import Subject
from runbook_lib.credentials.store import Generation
from runbook_lib.digicert.client import Outcome
from runbook_lib.digicert.listing import Listing
from runbook_lib.digicert.models import ClientAuthCertificate, User
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.lifecycle.issuance import Issuance
from runbook_lib.lifecycle.journal import Journal, State
from runbook_lib.lifecycle.proof import certificate_facts, check_environment, diagnose, find, knock
from runbook_lib.lifecycle.request import Wanted, certificate_name, ends_of
from runbook_lib.lifecycle.rotation import WORDS, Rotation, Stage, replay
from runbook_lib.procedures.parameters import RotateParameters
from runbook_lib.procedures.procedure import Procedure
from runbook_lib.result import Bar, Table

CLOCK_SLACK = timedelta(minutes=5)
BACK = "Roll back to the old certificate"


class RotationAtHand(Procedure[RotateParameters]):
    """A credential and its rotation, as the journal, the store and DigiCert ONE show them now."""

    _due: bool
    _due_from: datetime
    _user: User
    _listed: Listing

    # --- what cannot be true ------------------------------------------------------------------------------------------

    def _refuse_wrong_clock(self) -> None:
        last = self._journal.last()
        if last is not None and self.session.clock.now() < last.at - CLOCK_SLACK:
            raise RunbookError(
                Reason.CLOCK_WENT_BACK,
                f"It is {iso(self.session.clock.now())}, and the journal's last entry is of {iso(last.at)}.",
            )

    def _refuse_contradictions(self, current: Generation, rotation: Rotation | None) -> None:
        posted = {one.data.get("name") for one in self._journal.entries() if one.state is State.POSTED}
        held = {certificate_facts(one).serial for one in self.credential.generations()}
        ours = re.compile(rf"{re.escape(certificate_name(self.parameters.name, 2)[:-5])} \d{{4}}")
        if self._listed.problem is not None:
            raise self._listed.problem  # what is not listed is what speaks of an old backup
        for one in self._listed:
            if ours.fullmatch(one.name) and one.name not in posted and one.serial not in held:
                raise RunbookError(
                    Reason.STATE_CONTRADICTION,
                    f"DigiCert ONE lists “{one.name}”, which this store's journal never asked for: was the store put "
                    "back from an old backup, or is there a second store?",
                )
        if rotation is None or rotation.finished:
            return
        expected = {rotation.new} if rotation.reached(Stage.DEPLOYED) else {rotation.old}
        if rotation.stage is Stage.TESTED:
            expected = {rotation.old, rotation.new}  # the switch may have been made and not yet written down
        if rotation.stage is not Stage.ROLLING_BACK and current.number not in expected:
            raise RunbookError(
                Reason.STATE_CONTRADICTION,
                f"`current` points to {current.folder.name}, and the journal stands at “{rotation.stage}” from "
                f"{rotation.old:04d} to {rotation.new or 0:04d}.",
            )
        retired = self.credential.is_retired(rotation.old)  # and then the run ended before it could say so
        if rotation.reached(Stage.OLD_DISABLED) and not retired and self._entry(rotation.old).enabled:
            raise RunbookError(
                Reason.STATE_CONTRADICTION,
                f"The old certificate {rotation.old:04d} was disabled on {iso(rotation.at[Stage.OLD_DISABLED])}, and "
                "somebody has enabled it since.",
                remedy="If programs still need it: action “roll back”. Else disable it in 03_access, and run 05 again.",
            )
        if rotation.reached(Stage.ISSUED) and rotation.new and not self._entry(rotation.new).enabled:
            raise RunbookError(
                Reason.CERTIFICATE_DISABLED,
                f"Somebody has disabled the new certificate {rotation.new:04d}.",
                remedy="Enable it in DigiCert ONE and run 05 again, or choose the action “roll back”.",
            )

    def _refuse_pointless(self, current: Generation) -> None:
        end, _ = self._effective_end(current)
        new_end = self._issuance.end_date(self._user)
        if new_end <= end + timedelta(days=1):
            raise RunbookError(
                Reason.ROTATION_POINTLESS, f"A new certificate would end on {iso(new_end)}, this one on {iso(end)}."
            )

    # --- where it stands ------------------------------------------------------------------------------------------

    @property
    def _advancing(self) -> bool:
        return self.parameters.action == "advance"

    @property
    def _journal(self) -> Journal:
        return Journal(self.credential.journal_path, self.session.clock)

    @property
    def _rotation(self) -> Rotation | None:
        return replay(self._journal.entries())

    def _on_path(self) -> Rotation | None:
        """The rotation that this run may take further; None where it rolls back, or there is none."""
        rotation = self._rotation
        return rotation if self._advancing and rotation is not None and self._due else None

    @cached_property
    def _issuance(self) -> Issuance:
        current = self._current()
        meta = current.meta
        try:
            subject = Subject.of(current.certificate().subject)
        except ValidationError as error:
            fields = ", ".join(str(item["loc"][0]) for item in error.errors())
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"The subject of {current.folder.name} cannot be asked for again: {fields}.",
                remedy="Issue a certificate under another name with notebook 01.",
            ) from None
        wanted = Wanted(
            name=self.parameters.name,
            subject=subject,
            key_kind=meta.key_kind,
            profile=meta.p12_profile,
            end_date=self.parameters.expiration_date,
        )
        return Issuance(self.session, wanted)

    def _current(self) -> Generation:
        current = self.credential.current()
        if current is None:
            raise RunbookError(
                Reason.NO_CREDENTIAL, f"“{self.parameters.name}” is not in use in {self.session.store.root}."
            )
        check_environment(current, self.session.environment)
        return current

    def _entry(self, number: int) -> ClientAuthCertificate:
        """A generation as DigiCert ONE lists it now; looked for as often as a list may lag."""
        generation = self.credential.generation(number)
        with self.session.api() as api:
            listed = self.session.poll(lambda: find(api.certificates(), certificate_facts(generation)))
        if listed is None or listed.id is None:
            raise RunbookError(
                Reason.STATE_CONTRADICTION,
                f"{self.session.environment.api_url} no longer lists “{generation.meta.name}”.",
            )
        return listed

    def _effective_end(self, generation: Generation) -> tuple[datetime, str]:
        ends = {"the certificate": generation.meta.not_after} | ends_of(self._user)
        what = min(ends, key=lambda one: ends[one])
        return ends[what], what

    def _due_since(self, generation: Generation) -> datetime:
        """From when on a generation is to be replaced."""
        end, _ = self._effective_end(generation)
        lifetime = end - certificate_facts(generation).not_before
        return end - min(timedelta(days=self.parameters.rotate_before_days), lifetime / 3)

    def _let_in(self, generation: Generation) -> None:
        """Raise, with the reason, unless mTLS works with this generation as its owner."""
        identity = generation.open(self.session.secret("p12_password"))
        probe = knock(self.session, identity, until=Outcome.ACCEPTED)
        if probe.outcome is not Outcome.ACCEPTED or probe.user is None:
            raise diagnose(self.session, probe, certificate_facts(generation), len(identity.chain))
        if generation.meta.user_id not in (None, probe.user.id):
            raise RunbookError(
                Reason.UNEXPECTED_ANSWER, f"Issued to {generation.meta.user_id}, and mTLS says we are {probe.user.id}."
            )

    def _refused(self, generation: Generation) -> str:
        """What was seen when this generation was refused. Raises where it was not."""
        probe = knock(self.session, generation.open(self.session.secret("p12_password")), until=Outcome.REFUSED)
        if probe.outcome is Outcome.ACCEPTED:
            raise RunbookError(Reason.STILL_ACCEPTED, f"“{generation.meta.name}” is disabled, and is let in.")
        if probe.outcome is not Outcome.REFUSED:
            raise probe.error or RunbookError(Reason.UNREACHABLE, probe.seen)
        return probe.seen

    # --- how it is shown ------------------------------------------------------------------------------------------

    def _others(self) -> Table:
        rows = []
        for credential in self.session.store.credentials(self.session.environment.name):
            rotation = replay(Journal(credential.journal_path, self.session.clock).entries())
            rows.append(
                (
                    credential.name,
                    rotation.stage.value if rotation else "none yet",
                    f"{rotation.old:04d}" if rotation else "",
                    f"{rotation.new:04d}" if rotation and rotation.new else "",
                    iso(rotation.at[rotation.stage]) if rotation else "",
                )
            )
        columns = ("name", "rotation", "old", "new", "since")
        return Table(name="rotations", title="Rotations in this store", columns=columns, rows=tuple(rows))

    def _path(self, rotation: Rotation | None, title: str) -> Table:
        """The way of a rotation: what was done and when, what is next, and the earliest moment of what comes later."""
        following, when = self._next_step(rotation)
        back = rotation is not None and rotation.stage in (Stage.ROLLING_BACK, Stage.ROLLED_BACK)
        rows = []
        for one, words in WORDS.items():
            if rotation is not None and (rotation.reached(one) or (back and one in rotation.at)):
                rows.append((words, "done", iso(rotation.at[one])))
            elif words == following:
                rows.append((words, "next", when))
            elif not back:
                rows.append((words, "later", self._not_before(rotation, one)))
        if rotation is not None and rotation.stage is Stage.ROLLED_BACK:
            rows.append((BACK, "done", iso(rotation.at[Stage.ROLLED_BACK])))
        if following not in [words for words, _, _ in rows]:
            rows.append((following, "next", when))
        return Table(name="path", title=title, columns=("step", "state", "when"), rows=tuple(rows))

    def _not_before(self, rotation: Rotation | None, stage: Stage) -> str:
        """When a step that is not next can come at the earliest; empty for one that waits only for the one before."""
        overlap, grace = self.parameters.overlap_days, self.parameters.grace_days
        in_service = rotation.disable_from(overlap) if rotation else None
        if stage is Stage.OLD_DISABLED:
            return _after(overlap)
        if stage is Stage.RETIRED and in_service is None:
            return _after(grace)
        if stage is Stage.RETIRED and in_service is not None:
            return f"not before {iso(max(in_service, self.session.clock.now()) + timedelta(days=grace))}"
        return ""

    def _next_step(self, rotation: Rotation | None) -> tuple[str, str]:
        if rotation is None:
            return WORDS[Stage.BEGUN], "now" if self._due else f"from {iso(self._due_from)}"
        if rotation.stage is Stage.ROLLED_BACK:
            return "Begin again", "with `rotate_now`"
        if rotation.finished:
            return "Begin the next rotation", f"from {iso(self._due_from)}"
        if rotation.stage is Stage.ROLLING_BACK:
            return BACK, "now"
        path = list(WORDS)
        following = path[path.index(rotation.stage) + 1]
        waits = {
            Stage.OLD_DISABLED: rotation.disable_from(self.parameters.overlap_days),
            Stage.RETIRED: rotation.retire_from(self.parameters.grace_days),
        }.get(following)
        return WORDS[following], f"from {iso(waits)}" if waits else "now"

    def _bars(self, rotation: Rotation | None) -> tuple[Bar, ...]:
        bars = []
        for one in self.credential.generations():
            meta = one.meta
            state = "old"
            if one == self.credential.current():
                state = "in use"
            elif rotation is not None and rotation.new == one.number:
                state = "given up" if rotation.stage is Stage.ROLLED_BACK else "new"
            bars.append(
                Bar(label=f"{one.folder.name} {meta.name}", start=meta.not_before, end=meta.not_after, state=state)
            )
        return tuple(bars)


def _after(days: int) -> str:
    return "at once" if days == 0 else f"{days} day{'' if days == 1 else 's'} after that"
