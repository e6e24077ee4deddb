"""A change that is clicked in JupyterLab is evidence: its bag is there, and verifies without us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from runbook_lib.archive import chain
from tests.browser.conftest import Desk, Lab
from tests.conftest import Sandbox
from tests.procedures.conftest import issue

pytestmark = pytest.mark.browser

Open = Callable[[str], Desk]
NAME = "Browser evidence"
STEPS = (
    ("Check", "Prove the current state"),
    ("Change", "Disable the certificate"),
    ("Check", "Prove that access is gone"),
    ("Change", "Enable the certificate"),
    ("Check", "Prove that access is back"),
)


def test_a_clicked_disable_and_enable_are_archived_and_listed(
    desk: Open, lab: Lab, lab_sandbox: Sandbox, tmp_path: Path
):
    issue(lab_sandbox, NAME)
    notebook = desk("03_access")
    notebook.run_all()
    notebook.fill(**{"Name": NAME, "Allow outage of": NAME, "Ticket": "CHG-7"})
    notebook.button("Start").click()
    for kind, title in STEPS:
        notebook.do(title, kind)
    archived = notebook.page.get_by_label("Archived", exact=True)
    archived.wait_for(timeout=60_000)
    archive = lab.folder / "archive"
    (bag,) = [bag for bag in chain.bags(archive) if bag.name.endswith("-access")]
    expect(archived).to_contain_text(f"Archived as {bag.name} (done).")
    notebook.picture("03_access-archived")
    with notebook.page.expect_download() as download:
        archived.get_by_role("link").click()
    assert download.value.path().read_bytes() == (bag / "data/report.html").read_bytes()

    checked = subprocess.run(["sh", "verify.sh"], cwd=archive, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    runbook = str(Path(sys.executable).with_name("runbook"))
    command = [runbook, "run", "archive", "--archive", str(archive), "-p", "mode", "headless"]
    audit = subprocess.run(command, cwd=tmp_path, env=os.environ | lab_sandbox.env, capture_output=True, check=True)
    (file,) = Path(audit.stdout.decode().strip()).glob("data/tables/changes-made.csv")
    told = json.loads((bag / "data/run.json").read_text())
    for title in ("Disable the certificate", "Enable the certificate"):
        (line,) = [line for line in file.read_text().splitlines() if title in line]
        assert f"{told['who']['user']} on {told['who']['host']}" in line
        assert NAME in line
        assert "CHG-7" in line
        assert line.endswith("interactive")
