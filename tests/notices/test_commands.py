"""`runbook run`, `batch` and `notices`: a message from a real run, and what the next report says when none came."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.catalogue import Exit
from tests.conftest import Sandbox
from tests.notices.receivers import Hook, Mailbox

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(sandbox: Sandbox, tmp_path: Path, mailbox: Mailbox, hook: Hook) -> Run:
    """Runs `runbook` with a notices file: everything by mail and to a webhook."""
    file = tmp_path / "notices.yaml"
    file.write_text("recipients: {pki: ['env:MAIL'], on-call: ['env:HOOK']}\nsend: [{to: [pki, on-call]}]\n")
    environ = os.environ | sandbox.env | {"HOME": str(tmp_path), "DIGICERT_ONE_ARCHIVE": str(tmp_path / "archive")}
    environ["MAIL"] = f"mailto://127.0.0.1:{mailbox.port}/?from=a@example.com&to=b@example.com&mode=insecure"
    environ["HOOK"] = f"json://127.0.0.1:{hook.port}/"

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "runbook_lib.cli", *words]
        return subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)

    return call


def record(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    found: dict[str, str] = json.loads((Path(done.stdout.splitlines()[-1]) / "data" / "run.json").read_text())
    return found


def test_a_run_that_fails_is_a_message_and_a_report_says_that_an_earlier_one_waits(run: Run, mailbox: Mailbox):
    fails = ("run", "inventory", "-p", "due_days", "0", "--notices", "notices.yaml")
    mailbox.refuses = True
    first = run(*fails)
    assert first.returncode == Exit.USAGE
    assert "E-Mail (env:MAIL) did not accept it" in first.stderr
    assert record(first)["notices"] == ""
    mailbox.refuses = False
    second = run("run", "inventory", "--notices", "notices.yaml")
    assert (second.returncode, mailbox.subjects) == (
        Exit.DONE,
        ["Failed: inventory failed", "Recovered: inventory is done again"],
    )
    assert record(second)["notices"].startswith("1 message of earlier runs could not be sent so far.")
    page = (Path(second.stdout.splitlines()[-1]) / "data" / "report.html").read_text()
    assert "1 message of earlier runs could not be sent so far." in page
    third = run("run", "inventory", "--notices", "notices.yaml")
    assert record(third)["notices"] == ""


def test_a_batch_is_reported_as_a_run_is(run: Run, hook: Hook, tmp_path: Path):
    (tmp_path / "fleet.yaml").write_text("accounts: [{account: a, due_days: 0}, {account: b}]\n")
    done = run("batch", "fleet.yaml", "--notices", "notices.yaml", "--metrics", "prom", "--calendar", "c.ics")
    assert done.returncode == Exit.CHECK_FAILED
    assert hook.titles == ["Failed: inventory for a failed"]
    assert (tmp_path / "c.ics").is_file()
    (metrics,) = (tmp_path / "prom").iterdir()
    assert 'runbook="batch-fleet"' in metrics.read_text()


def test_a_faulty_notices_file_is_refused_before_anything_runs(run: Run, tmp_path: Path):
    (tmp_path / "notices.yaml").write_text("send: [{to: [nobody]}]\n")
    done = run("run", "inventory", "--notices", "notices.yaml")
    assert done.returncode == Exit.USAGE
    assert not (tmp_path / "archive").exists()


def test_check_reads_every_reference_and_test_sends_to_everybody(
    run: Run, mailbox: Mailbox, hook: Hook, tmp_path: Path
):
    done = run("notices", "check", "notices.yaml")
    assert (done.returncode, mailbox.mails) == (Exit.DONE, [])
    assert "pki: E-Mail, from env:MAIL" in done.stdout
    assert run("notices", "test", "notices.yaml", "--to", "pki").returncode == Exit.DONE
    assert (mailbox.subjects, hook.titles) == (["Test message for pki"], [])
    hook.status = 500
    done = run("notices", "test", "notices.yaml")
    assert done.returncode == Exit.CHECK_FAILED
    assert "on-call, env:HOOK: JSON (env:HOOK) did not accept it." in done.stdout
    (tmp_path / "notices.yaml").write_text("recipients: {pki: ['env:NOTHING']}\nsend: [{to: [pki]}]\n")
    assert run("notices", "check", "notices.yaml").returncode == Exit.USAGE


def test_an_archive_s_policy_is_enough(run: Run, mailbox: Mailbox):
    assert run("notices", "use", "notices.yaml").returncode == Exit.DONE
    assert run("run", "inventory", "-p", "due_days", "0").returncode == Exit.USAGE
    assert mailbox.subjects == ["Failed: inventory failed"]
    assert run("notices", "use", "--nothing").returncode == Exit.DONE
    assert run("run", "inventory").returncode == Exit.DONE
    assert len(mailbox.mails) == 1
    assert run("notices", "use").returncode == Exit.USAGE
