"""Rotates a certificate without downtime: the tutorial's eight steps, each taken when it is due, over several runs.

Safe to run every day. The journal holds the state of the rotation; each run takes the steps that are due and stops.
Both certificates work until the overlap after the proof in service is over. The old key is kept for the grace period,
and until it is deleted, one action rolls back.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cached_property

from runbook_lib.clock import iso
from runbook_lib.credentials import keys
from runbook_lib.credentials.generation import Generation
from runbook_lib.digicert.client import Client
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.lifecycle.hook import call_hook
from runbook_lib.lifecycle.issuance import Issuance
from runbook_lib.lifecycle.journal import Journal, State
from runbook_lib.lifecycle.proof import listed_as, prove, prove_refused, run_controls
from runbook_lib.lifecycle.request import IssuanceRequest
from runbook_lib.lifecycle.rotation import Rotation, Stage, replay
from runbook_lib.lifecycle.rotation_state import RotationState, due_since, effective_end, find_state
from runbook_lib.procedures.parameters import RotateParameters
from runbook_lib.procedures.procedure import Procedure, change, check
from runbook_lib.procedures.rotation_tables import TABLES, bars, next_step, rotations, way
from runbook_lib.result import Result, Timeline, Verdict
from runbook_lib.words import quantity


def _nothing(why: str) -> Result:
    return Result(verdict=Verdict.NOTHING_TO_DO, headline=why)


class Rotate(Procedure[RotateParameters]):
    """Notebook 05."""

    slug = "rotate"
    notebook = "05_rotate"
    model = RotateParameters
    tables = TABLES
    _state: RotationState | None = None

    @property
    def state(self) -> RotationState:
        """What the first step found. Raises RunbookError (STEP_OUT_OF_ORDER) before that step."""
        if self._state is None:
            raise RunbookError(Reason.STEP_OUT_OF_ORDER, "Run “Where the rotation stands” first.")
        return self._state

    @property
    def _advancing(self) -> bool:
        return self.parameters.action == "advance"

    @property
    def _journal(self) -> Journal:
        return Journal(self.credential.journal_path, self.session.clock)

    @property
    def _rotation(self) -> Rotation | None:
        """The rotation as the journal has it now: earlier steps or another run may have advanced it."""
        return replay(self._journal.entries())

    def _on_path(self) -> Rotation | None:
        """The rotation that this run may advance; None if there is none, or if it rolls back."""
        rotation = self._rotation
        return rotation if self._advancing and rotation is not None and self.state.due else None

    @property
    def _current(self) -> Generation:
        return self.session.in_use(self.parameters.name)

    @cached_property
    def _issuance(self) -> Issuance:
        return Issuance(self.session, IssuanceRequest.successor(self._current, self.parameters.expiration_date))

    # --- plan -----------------------------------------------------------------------------------------------------

    @check("Where the rotation stands", tutorial="Rotation workflow")
    def where_it_stands(self) -> Result:
        given, now = self.parameters, self.session.clock.now()
        with self.credential.lock():
            state = find_state(self.session, given.name, before=given.rotate_before_days, at_once=given.rotate_now)
            if self._advancing:
                state.refuse_contradictions(self.session, self.credential)
        self._state, rotation = state, state.rotation
        end, ends_by = effective_end(state.current, state.user)
        headline = (
            f"{state.current.folder.name} is in use and ends on {iso(end)}; it is due from {iso(state.due_from)}."
        )
        held = rotation is not None and rotation.stage is Stage.ROLLED_BACK and now >= state.due_from
        if rotation is not None and not rotation.finished:
            headline = f"In progress since {iso(rotation.at[Stage.BEGUN])}; reached: {rotation.stage}."
        elif held:
            headline = f"Due, but rolled back before. To start again, set `rotate_now`. {headline}"
        return Result(
            verdict=Verdict.ATTENTION if held else Verdict.OK if state.due else Verdict.NOTHING_TO_DO,
            headline=headline,
            facts={"Effective end": f"{iso(end)} ({ends_by})", "As of": f"{iso(now)} ({self.session.clock.source})"},
            tables=(way(state, given, now, title="Progress before this run"), rotations(self.session)),
        )

    # --- issue and test -------------------------------------------------------------------------------------------

    @change(
        "Issue the new certificate",
        deed="Issue the successor of {}",
        only=lambda self: self._advancing,
        tutorial="Rotation workflow 1",
        plan=lambda self: (
            f"ask {self.session.environment.api_url} for the successor of “{self.parameters.name}”, if it is due"
        ),
        asks=lambda self: self._ask_to_issue(),
    )
    def issue_beside(self) -> Result:
        if not self.state.due:
            return _nothing(f"Not due before {iso(self.state.due_from)}.")
        with self.credential.lock(), self.session.api() as api:
            rotation = self._rotation
            if rotation is None or rotation.finished:
                if rotation != self.state.rotation:
                    return _nothing("Another run finished a rotation after this run's first step.")
                current = self._current
                self._issuance.write_down_the_switch(current)  # else the old issuance would be taken for the new one
                self._journal.append(State.ROTATION_BEGUN, current.number, due_from=iso(self.state.due_from))
            elif rotation.reached(Stage.ISSUED):
                return _nothing(f"Issued on {iso(rotation.at[Stage.ISSUED])}.")
            if self._issuance.resume() is None:
                self._issuance.seal_key()
            issued = self._issuance.request(api)
            self._issuance.check()
            generation = self._issuance.bundle()
        return Result(
            verdict=Verdict.OK,
            headline=f"“{issued.name}” is issued and stored as {generation.folder.name}, next to the old one.",
            facts={"Certificate id": issued.id or "", "Ends": iso(generation.meta.not_after)},
        )

    def _ask_to_issue(self) -> None:
        """Refuse a new certificate before the rotation starts, where that is possible."""
        if not self.state.due:
            return
        keys.check_password(self.session.secret("p12_password"))
        rotation = self._rotation
        if rotation is None or rotation.finished:
            new_end = self._issuance.end_date(self.state.user)
            end, _ = effective_end(self._current, self.state.user)
            # `rotate_now` may be set to get another key, not a later end date
            if new_end <= end + timedelta(days=1) and not self.parameters.rotate_now:
                raise RunbookError(
                    Reason.ROTATION_POINTLESS, f"A new certificate would end on {iso(new_end)}, this one on {iso(end)}."
                )
        elif rotation.stage is Stage.ROLLING_BACK:
            raise RunbookError(
                Reason.STEP_OUT_OF_ORDER,
                "A roll-back has started and is not finished.",
                remedy="Run again with the action “roll back”.",
            )
        elif not rotation.reached(Stage.ISSUED):
            self._issuance.under_way()

    @check("Test the new certificate", tutorial="Rotation workflow 2")
    def test_new(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            if rotation is None or not rotation.reached(Stage.ISSUED):
                return _nothing("There is no new certificate.")
            if rotation.reached(Stage.TESTED):
                return _nothing(f"Tested on {iso(rotation.at[Stage.TESTED])}.")
            generation = self.credential.generation(rotation.new)
            prove(self.session, generation)
            controls = run_controls(self.session)
            controls.require()
            self._journal.append(State.VERIFIED, generation.number)
        return Result(
            verdict=controls.verdict,
            headline="The new certificate is accepted; no program uses it yet.",
            details=((Verdict.OK, "With the new certificate", "accepted, HTTP 200"), *controls.details),
        )

    # --- deploy ---------------------------------------------------------------------------------------------------

    @change(
        "Put the new certificate into use",
        deed="Put the successor of {} into use",
        only=lambda self: self._advancing,
        tutorial="Rotation workflow 3 and 4",
        plan=lambda self: (
            "point `current` to the new certificate"
            + (f", then run the hook: {self.parameters.hook}" if self.parameters.hook else "")
        ),
    )
    def deploy(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            if rotation is None or not rotation.reached(Stage.TESTED):
                return _nothing("There is no tested new certificate.")
            if rotation.reached(Stage.HOOKED):
                return _nothing(f"Done on {iso(rotation.at[Stage.HOOKED])}.")
            generation = self.credential.generation(rotation.new)
            if self._current != generation:
                self.credential.make_current(generation)
            if not rotation.reached(Stage.DEPLOYED):
                self._journal.append(State.CURRENT, generation.number)
            said = self._call_hook(generation)
        return Result(
            verdict=Verdict.OK,
            headline="`current` points to the new certificate" + ("." if not said else ", and the hook has run."),
            facts={"Path for programs": str(self.credential.p12)} | said,
        )

    def _call_hook(self, generation: Generation) -> dict[str, str]:
        command, seconds = self.parameters.hook, self.parameters.hook_seconds
        return call_hook(self.session, self.credential, generation, command, seconds=seconds)

    @check("Verify the certificate in use", tutorial="Rotation workflow 5")
    def verify_in_service(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            if rotation is None or not rotation.reached(Stage.HOOKED):
                return _nothing("The new certificate is not in use yet.")
            prove(self.session, self._current)
            if not rotation.reached(Stage.IN_SERVICE):
                self._journal.append(State.IN_SERVICE, self._current.number)
        return Result(verdict=Verdict.OK, headline="The certificate now in use is accepted.")

    # --- the old certificate --------------------------------------------------------------------------------------

    @change(
        "Disable the old certificate",
        deed="Disable the old certificate of {}",
        only=lambda self: self._advancing,
        tutorial="Rotation workflow 6",
        plan=lambda self: (
            f"disable the old certificate if the overlap ({quantity(self.parameters.overlap_days, 'day')}) is over"
        ),
    )
    def disable_old(self) -> Result:
        with self.credential.lock(), self.session.api() as api:
            rotation = self._on_path()
            start = rotation.disable_from(self.parameters.overlap_days) if rotation else None
            if rotation is None or start is None:
                return _nothing("The new certificate is not in service yet.")
            if rotation.reached(Stage.OLD_DISABLED):
                return _nothing(f"Disabled on {iso(rotation.at[Stage.OLD_DISABLED])}.")
            if self.session.clock.now() < start:
                return _nothing(f"Waiting: both certificates stay enabled until {iso(start)}.")
            prove(self.session, self._current)  # never disable the old certificate if the new one does not work
            old = listed_as(self.session, self.credential.generation(rotation.old))
            if old.enabled:
                self._issuance.withdraw(api, old.id or "", old.name)
            by = "this run" if old.enabled else "somebody else"
            self._journal.append(State.OLD_DISABLED, rotation.new or 0, id=old.id or "", by=by)
        return Result(
            verdict=Verdict.OK if old.enabled else Verdict.ATTENTION,
            headline=f"“{old.name}” is disabled; the list confirms it."
            if old.enabled
            else f"Somebody else had already disabled “{old.name}”.",
        )

    @check("Prove that the old certificate is refused")
    def prove_refused(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            if rotation is None or not rotation.reached(Stage.OLD_DISABLED):
                return _nothing("The old certificate is not disabled yet.")
            if rotation.reached(Stage.OLD_REFUSED):
                return _nothing(f"Proven on {iso(rotation.at[Stage.OLD_REFUSED])}.")
            seen = prove_refused(self.session, self.credential.generation(rotation.old))
            until = iso(self.session.clock.now() + timedelta(days=self.parameters.grace_days))
            self._journal.append(State.OLD_REFUSED, rotation.new or 0, grace_until=until)
        return Result(verdict=Verdict.OK, headline="The old certificate is refused.", facts={"Seen": seen})

    @check("Watch during the grace period", tutorial="Rotation workflow 7")
    def watch(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            until = rotation.retire_from(self.parameters.grace_days) if rotation else None
            if rotation is None or until is None or rotation.finished:
                return _nothing("There is no old certificate in its grace period.")
            if self.credential.is_retired(rotation.old):
                return _nothing("The old key is already deleted.")
            prove(self.session, self._current)
            seen = prove_refused(self.session, self.credential.generation(rotation.old))
        return Result(
            verdict=Verdict.OK,
            headline=f"The new certificate is accepted, the old one refused. You can roll back until {iso(until)}.",
            facts={
                "Old certificate": seen,
                "Not visible here": "programs that still use the old certificate; look for 403 in their logs",
            },
        )

    @change(
        "Delete the old key",
        deed="Delete the old key of {}",
        only=lambda self: self._advancing,
        tutorial="Rotation workflow 8",
        plan=lambda self: (
            f"delete the old P12 if the grace period ({quantity(self.parameters.grace_days, 'day')}) is over"
        ),
    )
    def retire(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            start = rotation.retire_from(self.parameters.grace_days) if rotation else None
            if rotation is None or start is None:
                return _nothing("There is no old certificate in its grace period.")
            if rotation.finished:
                return _nothing(f"Deleted on {iso(rotation.at[Stage.RETIRED])}.")
            if self.session.clock.now() < start and not self.credential.is_retired(rotation.old):
                return _nothing(f"Waiting: the old key is kept until {iso(start)}.")
            prove(self.session, self._current)
            self.credential.retire(Generation(self.credential.folder / f"{rotation.old:04d}"))
            self._journal.append(State.RETIRED, rotation.new or 0)
        return Result(verdict=Verdict.OK, headline=f"The key of {rotation.old:04d} is deleted, its certificate kept.")

    # --- roll-back ------------------------------------------------------------------------------------------------

    @change(
        "Roll back to the old certificate",
        deed="Roll back {}",
        only=lambda self: not self._advancing,
        plan=lambda self: "enable the old certificate, prove it, point `current` to it, and disable the new one",
        asks=lambda self: self._under_way(),
    )
    def roll_back(self) -> Result:
        with self.credential.lock(), self.session.api() as api:
            rotation = self._under_way()
            number = rotation.new or rotation.old
            old = self.credential.generation(rotation.old)
            if rotation.stage is not Stage.ROLLING_BACK:
                self._journal.append(State.ROLLING_BACK, number, came_from=rotation.stage.value)
            listed = listed_as(self.session, old)
            if not listed.enabled:
                api.set_enabled(listed.id or "", True)
            prove(self.session, old)
            said: dict[str, str] = {}
            if self._current != old:
                self.credential.make_current(old)
                said = self._call_hook_back(old)
            prove(self.session, self._current)
            self._give_up_new(api, rotation)
            self._journal.append(State.ROLLED_BACK, number)
        return Result(
            verdict=Verdict.OK,
            headline=f"Back on {old.folder.name}: accepted, in use.{' The new one is disabled.' * bool(rotation.new)}",
            facts=said,
            next=("Find out what went wrong, then start again with `rotate_now: true`.",),
        )

    def _under_way(self) -> Rotation:
        rotation = self._rotation
        if rotation is None or rotation.finished:
            raise RunbookError(
                Reason.STEP_OUT_OF_ORDER,
                "There is no rotation to roll back"
                + (f": the last one was {rotation.stage} on {iso(rotation.at[rotation.stage])}." if rotation else "."),
                remedy="Issue a new certificate. A deleted key cannot be restored.",
            )
        return rotation

    def _call_hook_back(self, old: Generation) -> dict[str, str]:
        """Run the hook after a roll-back. A failure is reported but stops nothing: the old certificate works."""
        try:
            return self._call_hook(old)
        except RunbookError as error:
            return {"Hook": f"FAILED: {error.what}"}

    def _give_up_new(self, api: Client, rotation: Rotation) -> None:
        if self._issuance.unfinished() is not None:
            self._issuance.give_up(api, because="rolled back")
        elif rotation.new in {generation.number for generation in self.credential.generations()}:
            new = listed_as(self.session, self.credential.generation(rotation.new))
            self._issuance.withdraw(api, new.id or "", new.name)

    # --- what next ------------------------------------------------------------------------------------------------

    @check("What comes next, and when")
    def what_comes_next(self) -> Result:
        rotation = self._rotation
        moved = rotation != self.state.rotation
        if rotation is None or rotation.finished:
            self.progress = "finished" if moved else "nothing due"
        else:
            self.progress = "progressed" if moved else "waiting"
        current = self._current  # a later generation may be in use now
        due_from = due_since(current, self.state.user, self.parameters.rotate_before_days)
        state = replace(self.state, current=current, rotation=rotation, due_from=due_from)
        now = self.session.clock.now()
        words, when = next_step(state, self.parameters)
        return Result(
            verdict=Verdict.OK,
            headline=f"{self.progress.capitalize()}. Next: {words}, {when}.",
            tables=(way(state, self.parameters, now, title="Progress after this run"),),
            timeline=Timeline(title="Validity", bars=bars(self.credential, rotation), now=now),
            next=(f"{when[0].upper()}{when[1:]}: {words} (run 05_rotate again).",),
        )
