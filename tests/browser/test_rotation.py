"""Notebook 05 over the days of a rotation, and 01 after its kernel was killed, in a real JupyterLab by clicking."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from runbook_lib.clock import iso
from tests.browser.conftest import Desk, records
from tests.browser.test_walk import STEPS_OF_01, assert_kept, walk
from tests.conftest import Sandbox
from tests.procedures.conftest import issue

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[[str], Desk]
STEPS_OF_05 = (
    ("Check", "Where the rotation stands"),
    ("Change", "Issue the new certificate"),
    ("Check", "Test the new certificate"),
    ("Change", "Put the new certificate into use"),
    ("Check", "Verify the certificate in use"),
    ("Change", "Disable the old certificate"),
    ("Check", "Prove that the old certificate is refused"),
    ("Check", "Watch during the grace period"),
    ("Change", "Delete the old key"),
    ("Change", "Roll back to the old certificate"),
    ("Check", "What comes next, and when"),
)


class Days:
    """A certificate, and the notebook that rotates it, on a sandbox whose clock is moved."""

    def __init__(self, sandbox: Sandbox, desk: Desk, name: str) -> None:
        self.sandbox, self.desk, self.name = sandbox, desk, name
        sandbox.admin("PUT", "/clock", {"offset_seconds": 0})
        self.credential = issue(sandbox, name).credential
        self.now: datetime = self.in_use().meta.not_after - timedelta(days=59)

    def in_use(self) -> Any:
        current = self.credential.current()
        assert current is not None
        return current

    def later(self, days: int = 0, action: str = "advance") -> None:
        """Move the clock, write the same moment into the notebook, and click through it."""
        self.now += timedelta(days=days)
        self.sandbox.admin("PUT", "/clock", {"now": iso(self.now)})
        self.desk.rewrite(clock=iso(self.now), name=self.name)
        self.desk.run_all()
        self.desk.page.get_by_label("Action", exact=True).select_option(action)
        self.desk.button("Start").click()
        walk(self.desk, STEPS_OF_05)

    def way(self) -> dict[str, str]:
        """The steps in the last result, each with its state."""
        path: Locator = self.desk.page.get_by_label("Result: What comes next, and when").locator(".dor-path li")
        steps = path.locator(".dor-step").all_text_contents()
        return dict(zip(steps, path.locator(".dor-state").all_text_contents(), strict=True))

    def enabled(self) -> dict[str, bool]:
        listed = self.sandbox.admin("GET", "/certificates")
        return {one["name"]: one["enabled"] for one in listed if one["name"].startswith(self.name)}

    def says(self, words: str) -> None:
        expect(self.desk.page.get_by_label("Summary", exact=True)).to_contain_text(f"Rotation: {words}")


def test_05_a_whole_rotation_is_clicked_through_with_a_lost_answer_on_the_way(desk: Open, lab_sandbox: Sandbox):
    days = Days(lab_sandbox, desk("05_rotate"), "Clicked")
    lost = {"fault": "drop_after", "method": "POST", "path": "*/client-auth-certificate", "nth": 1}
    lab_sandbox.admin("PUT", "/faults", {"rules": [lost], "seed": 1})
    days.later()
    days.says("progressed")
    assert lab_sandbox.admin("GET", "/faults")["rules"][0]["fired"] == 1
    assert days.enabled() == {"Clicked": True, "Clicked 0002": False, "Clicked 0003": True}
    assert days.way()["Disable the old certificate"] == "next"
    days.desk.picture("05_rotate-1-new-in-service")

    days.later(days=1)
    days.says("progressed")
    assert days.enabled() == {"Clicked": False, "Clicked 0002": False, "Clicked 0003": True}
    assert days.way()["Delete the old key"] == "next"
    days.desk.picture("05_rotate-2-in-grace")

    assert (days.credential.folder / "0001" / "identity.p12").exists()

    days.later(days=7)
    days.says("finished")
    assert not (days.credential.folder / "0001").exists()
    assert set(list(days.way().values())[:-1]) == {"done"}
    days.desk.picture("05_rotate-3-finished")
    saved = days.desk.save()
    assert_kept(saved, lab_sandbox, "The key of 0001 is deleted", "Start the next rotation")
    assert records(saved)[-1]["progress"] == "finished"


@pytest.mark.soak
def test_05_a_rotation_is_rolled_back_after_the_old_certificate_was_disabled(desk: Open, lab_sandbox: Sandbox):
    days = Days(lab_sandbox, desk("05_rotate"), "Regretted")
    days.later()
    days.later(days=1)
    assert days.enabled() == {"Regretted": False, "Regretted 0002": True}
    assert days.in_use().number == 2
    days.later(days=2, action="roll back")
    assert days.enabled() == {"Regretted": True, "Regretted 0002": False}
    assert days.in_use().number == 1
    way = days.way()
    assert way["Roll back to the old certificate"] == "done"
    assert way["Start again"] == "next"
    assert "Delete the old key" not in way
    days.desk.picture("05_rotate-4-rolled-back")
    assert_kept(days.desk.save(), lab_sandbox, "Back on 0001", "Start again")


@pytest.mark.soak
def test_01_a_kernel_killed_in_the_middle_of_the_request_is_resumed_and_told(desk: Open, lab_sandbox: Sandbox):
    name = "Interrupted"
    lab_sandbox.admin("PUT", "/clock", {"offset_seconds": 0})
    slow = {"fault": "delay_after", "method": "POST", "path": "*/client-auth-certificate", "nth": 1, "seconds": 20}
    lab_sandbox.admin("PUT", "/faults", {"rules": [slow], "seed": 1})
    one = desk("01_issue")
    one.run_all()
    one.fill(**{"Name": name, "Common name (CN)": name})
    one.button("Start").click()
    walk(one, STEPS_OF_01[:1])
    one.step(STEPS_OF_01[1][1], "Change").click()
    for _ in range(100):  # the certificate is issued, and the response is delayed
        if [cert for cert in lab_sandbox.admin("GET", "/certificates") if cert["name"] == name]:
            break
        time.sleep(0.1)
    one.kill_kernel()
    lab_sandbox.admin("DELETE", "/faults")

    one.run_all()
    one.fill(**{"Name": name, "Common name (CN)": name})
    one.button("Start").click()
    resumed = one.do(STEPS_OF_01[0][1], "Change")
    expect(resumed).to_contain_text(re.compile("Resumed the issuance started on .*, which had reached “posted”"))
    walk(one, STEPS_OF_01[1:])
    one.picture("01_issue-resumed")
    assert_kept(one.save(), lab_sandbox, "Resumed", f"{name} 0002")
    listed = lab_sandbox.admin("GET", "/certificates")
    assert {one["name"]: one["enabled"] for one in listed if one["name"].startswith(name)} == {
        name: False,
        f"{name} 0002": True,
    }
    store = Path(lab_sandbox.env["DIGICERT_ONE_STORE"]) / "sandbox" / name
    assert (store / "current").readlink().name == "0002"
