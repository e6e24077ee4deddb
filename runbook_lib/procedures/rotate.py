"""Rotation without downtime: the tutorial's eight steps, each taken when it is due, over as many runs as it needs.

Safe to run every day. Where a rotation stands is in the journal; each run takes the steps that are due and stops. Both
certificates work until the new one was proven in service for the overlap; the old key is kept for the grace period, and
until then a roll-back is one action.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from runbook_lib.clock import iso
from runbook_lib.credentials import keys
from runbook_lib.credentials.store import IDENTITY, Generation
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.lifecycle.hook import run_hook
from runbook_lib.lifecycle.journal import State
from runbook_lib.lifecycle.proof import run_controls
from runbook_lib.lifecycle.rotation import Rotation, Stage
from runbook_lib.procedures.parameters import RotateParameters
from runbook_lib.procedures.procedure import change, check
from runbook_lib.procedures.rotation_at_hand import RotationAtHand
from runbook_lib.result import Result, Timeline, Verdict


def _nothing(why: str) -> Result:
    return Result(verdict=Verdict.NOTHING_TO_DO, headline=why)


class Rotate(RotationAtHand):
    """Notebook 05."""

    slug: ClassVar[str] = "rotate"
    notebook: ClassVar[str] = "05_rotate"
    model = RotateParameters

    _before: Rotation | None

    # --- plan -----------------------------------------------------------------------------------------------------

    @check("Where the rotation stands", tutorial="Rotation workflow")
    def where_it_stands(self) -> Result:
        with self.credential.lock():
            self._refuse_wrong_clock()
            current = self._current()
            rotation = self._rotation
            with self.session.api() as api:
                self._user, self._listed = api.me(), api.certificates()
            if self._advancing:
                self._refuse_contradictions(current, rotation)
        self._before = rotation
        end, ends_by = self._effective_end(current)
        self._due_from = self._due_since(current)
        rolled_back = rotation is not None and rotation.stage is Stage.ROLLED_BACK
        under_way = rotation is not None and not rotation.finished
        due = self.session.clock.now() >= self._due_from
        self._due = under_way or self.parameters.rotate_now or (due and not rolled_back)
        headline = f"In use is {current.folder.name}, which ends on {iso(end)}; it is due from {iso(self._due_from)}."
        if under_way and rotation is not None:
            headline = f"Under way since {iso(rotation.at[Stage.BEGUN])}; reached: {rotation.stage}."
        elif rolled_back and due:
            headline = f"Due, and rolled back before: it begins again only with `rotate_now`. {headline}"
        return Result(
            verdict=Verdict.ATTENTION if rolled_back and due else Verdict.OK if self._due else Verdict.NOTHING_TO_DO,
            headline=headline,
            facts={
                "Effective end": f"{iso(end)}, by {ends_by}",
                "As of": f"{iso(self.session.clock.now())} ({self.session.clock.source})",
            },
            tables=(self._path(rotation, "The way, as this run found it"), self._others()),
        )

    # --- issue and test -------------------------------------------------------------------------------------------

    @change(
        "Issue a new certificate beside the old one",
        deed="Issue the successor of {}",
        only=lambda self: self._advancing,
        tutorial="Rotation workflow 1",
        plan=lambda self: (
            f"ask {self.session.environment.api_url} for the successor of “{self.parameters.name}”, if it is due"
        ),
        asks=lambda self: self._ask_to_issue(),
    )
    def issue_beside(self) -> Result:
        if not self._due:
            return _nothing(f"Not due before {iso(self._due_from)}.")
        with self.credential.lock(), self.session.api() as api:
            rotation = self._rotation
            if rotation is None or rotation.finished:
                if rotation != self._before:
                    return _nothing("Another run has finished a rotation since this one looked.")
                current = self._current()
                self._issuance.write_down_the_switch(current)  # else the old issuance would pass for the new one
                self._journal.append(State.ROTATION_BEGUN, current.number, due_from=iso(self._due_from))
            elif rotation.reached(Stage.ISSUED):
                return _nothing(f"Issued on {iso(rotation.at[Stage.ISSUED])}.")
            if self._issuance.resume() is None:
                self._issuance.seal_key()
            issued = self._issuance.request(api)
            self._issuance.check()
            generation = self._issuance.bundle()
        return Result(
            verdict=Verdict.OK,
            headline=f"“{issued.name}” is issued and lies beside the old one, as {generation.folder.name}.",
            facts={"Certificate id": issued.id or "", "Ends": iso(generation.meta.not_after)},
        )

    def _ask_to_issue(self) -> None:
        """What refuses a new certificate before the rotation is begun."""
        if not self._due:
            return
        keys.check_password(self.session.secret("p12_password"))
        rotation = self._rotation
        if rotation is None or rotation.finished:
            if not self.parameters.rotate_now:  # who says “now” may want another key, not another end date
                self._refuse_pointless(self._current())
            self._issuance.end_date(self._user)
        elif rotation.stage is Stage.ROLLING_BACK:
            raise RunbookError(
                Reason.STEP_OUT_OF_ORDER,
                "A roll-back was begun and is not finished.",
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
            self._let_in(generation)
            controls = run_controls(self.session)
            controls.require()
            self._journal.append(State.VERIFIED, generation.number)
        return Result(
            verdict=controls.verdict,
            headline="The new certificate is let in; nothing uses it yet.",
            details=((Verdict.OK, "With the new certificate", "let in, HTTP 200"), *controls.details),
        )

    # --- deploy ---------------------------------------------------------------------------------------------------

    @change(
        "Put the new certificate into use",
        deed="Put the successor of {} into use",
        only=lambda self: self._advancing,
        tutorial="Rotation workflow 3 and 4",
        plan=lambda self: (
            "point `current` at the new certificate"
            + (f" and run the hook: {self.parameters.hook}" if self.parameters.hook else "")
        ),
    )
    def deploy(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            if rotation is None or not rotation.reached(Stage.TESTED):
                return _nothing("There is no new certificate that was tested.")
            if rotation.reached(Stage.HOOKED):
                return _nothing(f"Done on {iso(rotation.at[Stage.HOOKED])}.")
            generation = self.credential.generation(rotation.new)
            if self._current() != generation:
                self.credential.make_current(generation)
            if not rotation.reached(Stage.DEPLOYED):
                self._journal.append(State.CURRENT, generation.number)
            said = self._call_hook(generation)
        return Result(
            verdict=Verdict.OK,
            headline="`current` is the new certificate" + ("." if not said else ", and the hook has run."),
            facts={"Path for programs": str(self.credential.folder / "current" / IDENTITY)} | said,
        )

    def _call_hook(self, generation: Generation) -> dict[str, str]:
        if not self.parameters.hook:
            self._journal.append(State.HOOKED, generation.number, how="no hook was given")
            return {}
        references = [self.parameters.api_key, self.parameters.p12_password]
        outcome = run_hook(
            self.parameters.hook,
            environ={
                **self.session.environ,
                "RUNBOOK_NAME": self.parameters.name,
                "RUNBOOK_GENERATION": generation.folder.name,
                "RUNBOOK_P12": str(self.credential.folder / "current" / IDENTITY),
            },
            seconds=self.parameters.hook_seconds,
            secrets=[self.session.secret("api_key"), self.session.secret("p12_password")],
            withheld=[one.removeprefix("env:") for one in references if one.startswith("env:")],
        )
        if not outcome.ok:
            self._journal.append(State.HOOK_FAILED, generation.number, how=outcome.how)
            raise RunbookError(Reason.HOOK_FAILED, f"The hook {outcome.how}. It said: {outcome.said or 'nothing'}")
        self._journal.append(State.HOOKED, generation.number, how=outcome.how)
        return {"Hook": outcome.how, "It said": outcome.said or "nothing"}

    @check("Verify it as the programs would", tutorial="Rotation workflow 5")
    def verify_in_service(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            if rotation is None or not rotation.reached(Stage.HOOKED):
                return _nothing("The new certificate is not in use yet.")
            self._let_in(self._current())
            if rotation.reached(Stage.IN_SERVICE):
                return Result(verdict=Verdict.OK, headline="What `current` holds is let in.")
            self._journal.append(State.IN_SERVICE, self._current().number)
        return Result(verdict=Verdict.OK, headline="What `current` holds, opened anew, is let in.")

    # --- the old one ----------------------------------------------------------------------------------------------

    @change(
        "Disable the old certificate",
        deed="Disable the old certificate of {}",
        only=lambda self: self._advancing,
        tutorial="Rotation workflow 6",
        plan=lambda self: (
            f"disable the old certificate once the overlap of {self.parameters.overlap_days} days is over"
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
                return _nothing(f"Waits: both stay enabled until {iso(start)}.")
            self._let_in(self._current())  # never take the old one away from under a new one that does not work
            old = self._entry(rotation.old)
            if old.enabled:
                self._issuance.withdraw(api, old.id or "", old.name)
            self._journal.append(
                State.OLD_DISABLED,
                rotation.new or 0,
                id=old.id or "",
                by="this run" if old.enabled else "somebody else",
            )
        return Result(
            verdict=Verdict.OK if old.enabled else Verdict.ATTENTION,
            headline=f"“{old.name}” is disabled; the list says so."
            if old.enabled
            else f"“{old.name}” had been disabled by somebody else.",
        )

    @check("Prove that the old certificate is refused")
    def prove_refused(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            if rotation is None or not rotation.reached(Stage.OLD_DISABLED):
                return _nothing("The old certificate still works, and so it should.")
            if rotation.reached(Stage.OLD_REFUSED):
                return _nothing(f"Proven on {iso(rotation.at[Stage.OLD_REFUSED])}.")
            seen = self._refused(self.credential.generation(rotation.old))
            until = self.session.clock.now() + timedelta(days=self.parameters.grace_days)
            self._journal.append(State.OLD_REFUSED, rotation.new or 0, grace_until=iso(until))
        return Result(verdict=Verdict.OK, headline="The old certificate is refused.", facts={"Seen": seen})

    @check("Watch during the grace period", tutorial="Rotation workflow 7")
    def watch(self) -> Result:
        with self.credential.lock():
            rotation = self._on_path()
            until = rotation.retire_from(self.parameters.grace_days) if rotation else None
            if rotation is None or until is None or rotation.finished:
                return _nothing("There is no old certificate in its grace period.")
            if self.credential.is_retired(rotation.old):
                return _nothing("The old key is gone already.")
            self._let_in(self._current())
            seen = self._refused(self.credential.generation(rotation.old))
        return Result(
            verdict=Verdict.OK,
            headline=f"The new one is let in, the old one refused; a roll-back is possible until {iso(until)}.",
            facts={
                "Old certificate": seen,
                "Not seen from here": "programs that still try the old one: look for 403 in their own logs",
            },
        )

    @change(
        "Delete the old key",
        deed="Delete the old key of {}",
        only=lambda self: self._advancing,
        tutorial="Rotation workflow 8",
        plan=lambda self: f"delete the old P12 once its grace of {self.parameters.grace_days} days is over",
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
                return _nothing(f"Waits: the old key is kept until {iso(start)}.")
            self._let_in(self._current())
            self.credential.retire(Generation(self.credential.folder / f"{rotation.old:04d}"))
            self._journal.append(State.RETIRED, rotation.new or 0)
        return Result(verdict=Verdict.OK, headline=f"The key of {rotation.old:04d} is gone; its certificate is kept.")

    # --- back -----------------------------------------------------------------------------------------------------

    @change(
        "Roll back to the old certificate",
        deed="Roll back {}",
        only=lambda self: not self._advancing,
        plan=lambda self: "enable the old certificate, prove it, point `current` at it, and disable the new one",
        asks=lambda self: self._under_way(),
    )
    def roll_back(self) -> Result:
        with self.credential.lock(), self.session.api() as api:
            rotation = self._under_way()
            number = rotation.new or rotation.old
            old = self.credential.generation(rotation.old)
            if rotation.stage is not Stage.ROLLING_BACK:
                self._journal.append(State.ROLLING_BACK, number, came_from=rotation.stage.value)
            entry = self._entry(rotation.old)
            if not entry.enabled:
                api.set_enabled(entry.id or "", True)
            self._let_in(old)
            if self._current() != old:
                self.credential.make_current(old)
                said = self._call_hook_back(old)
            else:
                said = {}
            self._let_in(self._current())
            self._give_up_new(rotation)
            self._journal.append(State.ROLLED_BACK, number)
        return Result(
            verdict=Verdict.OK,
            headline=f"Back on {old.folder.name}: enabled, let in, and in use. The new one is disabled.",
            facts=said,
            next=("Find out what went wrong, then begin again with `rotate_now: true`.",),
        )

    def _under_way(self) -> Rotation:
        rotation = self._rotation
        if rotation is None or rotation.finished:
            raise RunbookError(
                Reason.STEP_OUT_OF_ORDER,
                "There is no rotation to roll back"
                + (f": the last one was {rotation.stage} on {iso(rotation.at[rotation.stage])}." if rotation else "."),
                remedy="A retired key is gone for good: issue a new certificate.",
            )
        return rotation

    def _call_hook_back(self, old: Generation) -> dict[str, str]:
        """The hook after going back. Its failure is told, and does not stop the way back: the old one works."""
        try:
            return self._call_hook(old)
        except RunbookError as error:
            return {"Hook": f"FAILED: {error.what}"}

    def _give_up_new(self, rotation: Rotation) -> None:
        with self.session.api() as api:
            if self._issuance.unfinished() is not None:
                self._issuance.give_up(api, because="rolled back")
            elif rotation.new in {one.number for one in self.credential.generations()}:
                new = self._entry(rotation.new or 0)
                self._issuance.withdraw(api, new.id or "", new.name)

    # --- what next ------------------------------------------------------------------------------------------------

    @check("What comes next, and when")
    def what_comes_next(self) -> Result:
        rotation = self._rotation
        moved = rotation != self._before
        if rotation is not None and not rotation.finished:
            self.progress = "progressed" if moved else "waiting"
        else:
            self.progress = "finished" if moved else "nothing due"
        self._due_from = self._due_since(self._current())  # another one may be in use now
        when = self._next_step(rotation)
        return Result(
            verdict=Verdict.OK,
            headline=f"{self.progress.capitalize()}. Next: {when[0]}, {when[1]}.",
            tables=(self._path(rotation, "The way from here"),),
            timeline=Timeline(title="Validity", bars=self._bars(rotation), now=self.session.clock.now()),
            next=(f"{when[1][0].upper()}{when[1][1:]}: {when[0]} (run 05_rotate again).",),
        )
