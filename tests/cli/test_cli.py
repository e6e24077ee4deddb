"""The command line: what scripts rely on, and what a person sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runbook_lib.catalogue import Exit
from tests.conftest import Sandbox
from tests.procedures.conftest import issue

RUNBOOK = Path(sys.executable).with_name("runbook")


def runbook(*words: str | Path, environ: dict[str, str] | None = None, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RUNBOOK, *words], cwd=cwd, env=os.environ | (environ or {}), capture_output=True, text=True, check=False
    )


def test_a_run_ends_with_the_path_of_its_bag_and_its_parameters_in_it(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("symptom: duplicate\r\n")
    words: list[str | Path] = [
        "run",
        "troubleshoot",
        "-f",
        "own.yaml",
        "-p",
        "symptom",
        "403",
        "--archive",
        tmp_path / "a b",
    ]
    done = runbook(*words, environ={"DIGICERT_ONE_FAULT_SEED": "7", "PWD": str(tmp_path)}, cwd=tmp_path)
    assert done.returncode == Exit.DONE, done.stderr
    bag = Path(done.stdout.splitlines()[-1])
    record = json.loads((bag / "data" / "run.json").read_text())
    assert record["parameters"] == {"mode": "headless", "symptom": 403}
    assert f"Archive: {tmp_path / 'a b'}" in done.stderr  # which the shell's PWD is a part of
    assert (record["status"], record["fault_seed"]) == ("done", "7")
    assert "the sandbox injects faults, seed 7" in (bag / "data" / "report.html").read_text()


def test_certificates_that_need_action_have_an_exit_code_of_their_own(sandbox: Sandbox, tmp_path: Path) -> None:
    user = sandbox.env | {"DIGICERT_ONE_API_KEY": sandbox.admin("POST", "/users")["api_key"]}
    user["DIGICERT_ONE_STORE"] = str(tmp_path / "store")
    words = ["run", "inventory", "-p", "environment", "sandbox", "--archive", "archive"]
    healthy = runbook(*words, "--fail-on", "due", environ=user, cwd=tmp_path)
    assert healthy.returncode == Exit.DONE, healthy.stderr
    issue(sandbox, "An orphan soon", user)
    (tmp_path / "store" / "sandbox" / "An orphan soon").rename(tmp_path / "gone")
    assert runbook(*words, environ=user, cwd=tmp_path).returncode == Exit.DONE
    assert runbook(*words, "--fail-on", "due", environ=user, cwd=tmp_path).returncode == Exit.DUE


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "nothing"], "unknown_notebook"),
        (["run", "doctor", "-f", "missing.yaml"], "cannot be read"),
        (["run", "doctor", "-p", "name"], "value is missing"),
        (["run", "doctor", "--fail-on", "moon"], "must be due"),
        (["doctor", "-p", "colour", "red"], "unknown_parameter"),
        (["doctor", "-p", "api_key", "swordfish"], "secret_as_value"),
        (["run"], "runbook run: NOTEBOOK is missing"),
        (["run", "doctor", "--cell-timeout", "0"], "cell-timeout"),
    ],
)
def test_wrong_words_are_refused_with_a_remedy_and_without_a_traceback(
    words: list[str], says: str, tmp_path: Path
) -> None:
    done = runbook(*words, cwd=tmp_path)
    assert done.returncode == Exit.USAGE
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "swordfish" not in done.stderr


def test_the_doctor_tells_each_check_and_what_to_do(sandbox: Sandbox, tmp_path: Path) -> None:
    well = runbook("doctor", environ=sandbox.env, cwd=tmp_path)
    assert (well.returncode, well.stdout.count("✓ ")) >= (Exit.DONE, 5)
    ill = runbook("doctor", environ=sandbox.env | {"DIGICERT_ONE_API_KEY": "wrong"}, cwd=tmp_path)
    assert ill.returncode == Exit.CHECK_FAILED
    assert "What to do" in ill.stdout
    assert "wrong" not in ill.stdout


def test_the_sandbox_starts_and_stops(tmp_path: Path) -> None:
    state = tmp_path / "it's here"
    started = runbook("sandbox", "start", "--state", state, cwd=tmp_path)
    assert started.returncode == Exit.DONE, started.stderr
    line = started.stdout.splitlines()[-1]
    sourced = subprocess.run(
        ["sh", "-c", f'{line}\n"$1" doctor', "sh", RUNBOOK], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert sourced.returncode == Exit.DONE, sourced.stdout
    assert "already running" in runbook("sandbox", "start", "--state", state, cwd=tmp_path).stdout
    assert runbook("sandbox", "stop", "--state", state, cwd=tmp_path).returncode == Exit.DONE
    assert runbook("sandbox", "stop", "--state", state, cwd=tmp_path).returncode == Exit.DONE


def test_what_is_missing_from_an_archive_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    nothing = runbook("archive", "gaps", "archive", cwd=tmp_path)
    assert (nothing.returncode, "No such file" in nothing.stderr) == (Exit.CHECK_FAILED, True)
    (tmp_path / "archive").mkdir()
    undeclared = runbook("archive", "gaps", "archive", cwd=tmp_path)
    assert undeclared.returncode == Exit.CHECK_FAILED
    assert "runbook archive expect" in undeclared.stderr
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    (tmp_path / "expected.yaml").write_text(f"expected: [{{job: troubleshoot, from: {today}}}]")
    declared = runbook("archive", "expect", "expected.yaml", "--archive", "archive", cwd=tmp_path)
    assert declared.returncode == Exit.DONE, declared.stderr
    assert f"troubleshoot: every day from {today}T00:00:00Z; no run of this job yet" in declared.stdout
    assert Path(declared.stdout.splitlines()[-1]).name.endswith("-expectation")
    early = runbook("archive", "gaps", "archive", cwd=tmp_path)
    assert early.returncode == Exit.DONE, early.stdout  # the day is not over
    assert "COMPLETE: no period starting from" in early.stdout
    assert "1 period still open" in early.stdout
    (tmp_path / "expected.yaml").write_text("expected: [{job: troubleshoot, from: 2026-01-01}]")
    runbook("archive", "expect", "expected.yaml", "--archive", "other", cwd=tmp_path)
    missing = runbook("archive", "gaps", "other", "--from", "2026-02-27", "--to", "2026-02-28", cwd=tmp_path)
    assert missing.returncode == Exit.CHECK_FAILED
    span = "2026-02-27T00:00:00Z to 2026-02-28T00:00:00Z"
    assert f"MISSING  {span}  troubleshoot: No run." in missing.stdout
    assert "NOT COMPLETE: expected runs present in 0 of 2 periods starting from" in missing.stdout
    before = runbook("archive", "gaps", "other", "--to", "2025-12-31", cwd=tmp_path)
    assert (before.returncode, "No runs were expected" in before.stderr) == (Exit.CHECK_FAILED, True)
    swapped = runbook("archive", "gaps", "other", "--from", "2026-02-28", "--to", "2026-02-27", cwd=tmp_path)
    assert swapped.returncode == Exit.USAGE
    assert runbook("archive", "gaps", "other", "--from", "today", cwd=tmp_path).returncode == Exit.USAGE
    assert runbook("archive", "expect", "none.yaml", cwd=tmp_path).returncode == Exit.USAGE


@pytest.mark.parametrize("nobody", ["| true", ">&-"])
def test_a_run_whose_last_line_nobody_reads_ended_as_it_ended(nobody: str, tmp_path: Path) -> None:
    command = f'({RUNBOOK} run troubleshoot --archive archive; echo "ended with $?" >&2) {nobody}'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert "ended with 0" in done.stderr, done.stderr


def test_a_terminal_without_our_signs_is_told_in_those_it_has(tmp_path: Path) -> None:
    done = runbook("doctor", environ={"PYTHONIOENCODING": "ascii"}, cwd=tmp_path)
    assert done.returncode == Exit.CHECK_FAILED
    assert "Traceback" not in done.stderr
    assert "What to do" in done.stdout
