"""A rotation over days: each run takes the steps that are due, and programs are never interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso, parse_utc
from runbook_lib.lifecycle.journal import State
from runbook_lib.lifecycle.rotation import Stage, replay
from runbook_lib.procedures.access import Access
from runbook_lib.procedures.inventory import Inventory
from runbook_lib.procedures.rotate import Rotate
from runbook_lib.procedures.verify import Verify
from runbook_lib.result import Verdict
from tests.conftest import Sandbox
from tests.procedures.conftest import issue, prepare, run

NAME = "Rotated"


class Days:
    """A sandbox whose clock is moved, and a rotation run on it a day at a time."""

    def __init__(self, sandbox: Sandbox, name: str = NAME) -> None:
        self.sandbox = sandbox
        self.name = name
        current = issue(sandbox, name).credential.current()
        assert current is not None
        self.end = current.meta.not_after
        self.now = current.meta.created

    def at(self, days_before_end: float) -> Days:
        self.now = self.end - timedelta(days=days_before_end)
        self.sandbox.admin("PUT", "/clock", {"now": iso(self.now)})
        return self

    def later(self, **delta: float) -> Days:
        self.now += timedelta(**delta)
        self.sandbox.admin("PUT", "/clock", {"now": iso(self.now)})
        return self

    def rotate(self, **given: Any) -> Rotate:
        procedure = prepare(Rotate, self.sandbox, name=self.name, confirm=self.name, clock=iso(self.now), **given)
        procedure.session.pause = lambda _: None
        run(procedure)
        return procedure

    def works(self, number: int) -> bool:
        procedure = prepare(Verify, self.sandbox, name=self.name, clock=iso(self.now))
        generation = next(one for one in procedure.credential.generations() if one.number == number)
        procedure = prepare(
            Verify, self.sandbox, name=self.name, clock=iso(self.now), p12_file=str(generation.folder / "identity.p12")
        )
        run(procedure)
        return procedure.finish().verdict is Verdict.OK

    def enabled(self) -> dict[str, bool]:
        return {
            one["name"]: one["enabled"]
            for one in self.sandbox.admin("GET", "/certificates")
            if one["name"].startswith(self.name)
        }


@pytest.fixture
def days(fresh_sandbox: Callable[..., Sandbox]) -> Days:
    return Days(fresh_sandbox())


def stage(procedure: Rotate) -> Stage | None:
    rotation = replay(procedure._journal.entries())
    return rotation.stage if rotation else None


def failed(procedure: Rotate) -> str:
    error = procedure.records[-1].error
    assert error is not None, procedure.records[-1]
    assert error["remedy"]
    return str(error["reason"])


def test_a_whole_rotation_takes_each_step_on_its_day(days: Days) -> None:
    assert days.at(61).rotate().progress == "nothing due"
    first = days.at(59).rotate()
    assert (first.progress, stage(first)) == ("progressed", Stage.IN_SERVICE)
    assert days.enabled() == {"Rotated": True, "Rotated 0002": True}
    assert days.works(1)
    assert days.works(2)
    current = first.credential.current()
    assert current is not None
    assert current.number == 2
    waiting = days.later(hours=20).rotate()
    assert (waiting.progress, waiting.finish().verdict) == ("waiting", Verdict.NOTHING_TO_DO)
    second = days.later(hours=5).rotate()
    assert (second.progress, stage(second)) == ("progressed", Stage.OLD_REFUSED)
    assert days.enabled() == {"Rotated": False, "Rotated 0002": True}
    inventory = prepare(Inventory, days.sandbox, clock=iso(days.now))
    run(inventory)
    parts = {row.local.where: row.local.rotation for row in inventory._rows if row.local and row.local.name == NAME}
    until = iso(days.now + timedelta(days=7))
    assert parts == {
        f"{NAME}/0001": f"in grace, roll-back possible until {until}",
        f"{NAME}/0002 (in use)": "new, old refused",
    }
    for _ in range(6):
        assert days.later(days=1).rotate().progress == "waiting"
    assert (second.credential.folder / "0001" / "identity.p12").exists()
    last = days.later(days=1).rotate()
    assert (last.progress, stage(last)) == ("finished", Stage.RETIRED)
    assert not (last.credential.folder / "0001").exists()
    assert sorted(path.name for path in (last.credential.folder / ".retired-0001").iterdir()) == [
        "cert.pem",
        "chain.pem",
        "meta.json",
    ]
    assert days.later(days=1).rotate().progress == "nothing due"
    assert days.works(2)


def test_the_next_rotation_takes_the_next_name(days: Days) -> None:
    at_once = {"overlap_days": 0, "grace_days": 0}
    assert days.at(59).rotate(**at_once).progress == "finished"
    assert days.rotate(**at_once).progress == "nothing due"
    again = days.rotate(**at_once, rotate_now=True)  # another key on the same day, although the end date is the same
    assert again.progress == "finished"
    assert list(days.enabled()) == ["Rotated", "Rotated 0002", "Rotated 0003"]


BEFORE_RETIREMENT = {
    Stage.ISSUED: "issue-beside",
    Stage.TESTED: "test-new",
    Stage.DEPLOYED: "deploy",
    Stage.IN_SERVICE: "verify-in-service",
    Stage.OLD_DISABLED: "disable-old",
    Stage.OLD_REFUSED: "prove-refused",
}


@pytest.mark.parametrize("after", BEFORE_RETIREMENT)
def test_from_every_stage_before_retirement_there_is_a_way_back(days: Days, after: Stage) -> None:
    days.at(50)
    procedure = prepare(Rotate, days.sandbox, name=NAME, confirm=NAME, clock=iso(days.now), overlap_days=0, hook="true")
    for step in procedure.steps():
        assert procedure.perform(step.slug).error is None
        if step.slug == BEFORE_RETIREMENT[after]:
            break
    back = days.rotate(action="roll back")
    assert back.records[-1].error is None, back.records[-1].error
    assert stage(back) is Stage.ROLLED_BACK
    current = back.credential.current()
    assert current is not None
    assert current.number == 1
    assert days.works(1)
    assert days.enabled() == {"Rotated": True, "Rotated 0002": False}
    held = days.later(days=1).rotate()  # it does not start again by itself
    assert (held.progress, held.records[0].verdict) == ("nothing due", Verdict.ATTENTION)
    again = days.later(days=1).rotate(rotate_now=True)
    assert stage(again) is Stage.IN_SERVICE
    assert days.enabled() == {"Rotated": True, "Rotated 0002": False, "Rotated 0003": True}


def test_a_roll_back_that_was_cut_off_after_its_hook_is_still_a_roll_back(days: Days) -> None:
    days.at(50).rotate(hook="true")
    back = days.later(days=1).rotate(action="roll back", hook="true")
    entries = back._journal.entries()
    assert entries[-2].state is State.HOOKED
    cut = replay(entries[:-1])
    whole = replay(entries)
    assert cut is not None
    assert whole is not None
    assert (cut.stage, whole.stage) == (Stage.ROLLING_BACK, Stage.ROLLED_BACK)
    assert whole.at[Stage.HOOKED] == whole.at[Stage.DEPLOYED]


def test_after_retirement_there_is_none(days: Days) -> None:
    days.at(50).rotate(overlap_days=0, grace_days=0)
    assert failed(days.rotate(action="roll back")) == Reason.STEP_OUT_OF_ORDER


@pytest.mark.parametrize(
    ("hook", "how"),
    [
        ("false", "exit code 1"),
        ("sleep 60", "stopped after 1 s"),
        ("/nowhere/hook", "could not be started"),
    ],
)
def test_a_hook_that_fails_is_remembered_and_the_old_certificate_stays(days: Days, hook: str, how: str) -> None:
    procedure = days.at(50).rotate(hook=hook, hook_seconds=1)
    assert failed(procedure) == Reason.HOOK_FAILED
    error = procedure.records[-1].error
    assert error is not None
    assert how in error["what"]
    assert failed(days.later(days=2).rotate(hook=hook, hook_seconds=1)) == Reason.HOOK_FAILED
    assert all(days.enabled().values())
    assert stage(days.later(days=1).rotate(hook="true")) is Stage.IN_SERVICE


def test_a_hook_gets_the_path_and_no_secret_and_what_it_leaks_is_not_kept(days: Days, tmp_path: Path) -> None:
    script = tmp_path / "hook.sh"
    script.write_text(
        'echo "for $RUNBOOK_NAME: $RUNBOOK_P12"; test -f "$RUNBOOK_P12"; echo "key=[$DIGICERT_ONE_API_KEY]"\n'
        f"echo {days.sandbox.api_key}; echo {days.sandbox.env['DIGICERT_ONE_P12_PASSWORD']}\n"
        "printf -- '-----BEGIN PRIVATE KEY-----\\nMIIB\\n-----END PRIVATE KEY-----\\n'\n"
    )
    procedure = days.at(50).rotate(hook=f"sh {script}")
    text = "".join(record.model_dump_json() for record in procedure.records)
    assert "for Rotated:" in text
    assert "key=[]" in text
    for secret in (days.sandbox.api_key, days.sandbox.env["DIGICERT_ONE_P12_PASSWORD"], "MIIB"):
        assert secret not in text
        assert secret not in procedure.credential.journal_path.read_text()


# --- what others did meanwhile ----------------------------------------------------------------------------------------


def toggle(days: Days, name: str, enabled: bool) -> None:
    procedure = prepare(Access, days.sandbox, name=days.name)
    with procedure.session.api() as api:
        one = next(one for one in api.certificates() if one.name == name)
        api.set_enabled(one.id or "", enabled)


def test_the_new_one_disabled_by_somebody_else_stops_the_rotation(days: Days) -> None:
    days.at(50).rotate()
    toggle(days, "Rotated 0002", False)
    assert failed(days.later(days=2).rotate()) == Reason.CERTIFICATE_DISABLED
    assert days.enabled()["Rotated"]
    back = days.rotate(action="roll back")
    assert stage(back) is Stage.ROLLED_BACK


def test_the_old_one_disabled_by_somebody_else_is_told_and_enabled_again_is_a_contradiction(days: Days) -> None:
    days.at(50).rotate()
    toggle(days, "Rotated", False)
    procedure = days.later(days=2).rotate()
    assert stage(procedure) is Stage.OLD_REFUSED
    assert procedure.finish().verdict is Verdict.ATTENTION
    toggle(days, "Rotated", True)
    assert failed(days.later(days=9).rotate()) == Reason.STATE_CONTRADICTION
    assert (procedure.credential.folder / "0001" / "identity.p12").exists()


def test_a_clock_that_went_back_is_refused(days: Days) -> None:
    days.at(50).rotate()
    assert failed(days.later(days=-1).rotate()) == Reason.CLOCK_WENT_BACK


def test_a_store_from_an_old_backup_is_recognised(days: Days, tmp_path: Path) -> None:
    folder = Path(days.sandbox.env["DIGICERT_ONE_STORE"])
    shutil.copytree(folder, tmp_path / "backup", symlinks=True)
    days.at(50).rotate()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder, symlinks=True)
    assert failed(days.later(days=1).rotate()) == Reason.STATE_CONTRADICTION
    assert days.enabled() == {"Rotated": True, "Rotated 0002": True}


def test_current_moved_by_hand_is_a_contradiction(days: Days) -> None:
    procedure = days.at(50).rotate()
    link = procedure.credential.folder / "current"
    link.unlink()
    link.symlink_to("0001")
    assert failed(days.later(days=2).rotate()) == Reason.STATE_CONTRADICTION


def test_a_service_user_that_ends_first_makes_a_rotation_pointless(fresh_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = fresh_sandbox()
    user = {"DIGICERT_ONE_API_KEY": sandbox.users()["ends_soon"]["api_key"]}
    current = issue(sandbox, "Ends soon", user).credential.current()
    assert current is not None
    now = iso(parse_utc(iso(current.meta.not_after)) - timedelta(days=5))
    sandbox.admin("PUT", "/clock", {"now": now})
    procedure = prepare(Rotate, sandbox, user, name="Ends soon", confirm="Ends soon", clock=now)
    run(procedure)
    assert failed(procedure) == Reason.ROTATION_POINTLESS
    assert stage(procedure) is None


def test_nothing_moves_without_the_confirmation_or_in_a_dry_run(days: Days) -> None:
    days.at(50)
    procedure = prepare(Rotate, days.sandbox, name=NAME, clock=iso(days.now))
    run(procedure)
    assert failed(procedure) == Reason.CONFIRMATION_MISSING
    procedure = prepare(Rotate, days.sandbox, name=NAME, clock=iso(days.now), dry_run=True)
    run(procedure)
    assert procedure.finish().verdict is Verdict.PLANNED
    assert days.enabled() == {"Rotated": True}
