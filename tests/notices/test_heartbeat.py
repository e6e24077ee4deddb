"""A heartbeat says that a run starts and how it ended; a service that is down changes no run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.catalogue import Exit
from runbook_lib.notices.heartbeat import ping
from tests.conftest import Sandbox
from tests.notices.receivers import Hook


@pytest.mark.parametrize(
    ("code", "end"),
    [(None, "start"), (Exit.DONE, "0"), (Exit.WAITING, "0"), (Exit.CHECK_FAILED, "30"), (Exit.UNEXPECTED, "1")],
)
def test_a_ping_ends_with_start_or_the_exit_code(hook: Hook, code: Exit | None, end: str):
    assert ping("env:PING", code, {"PING": f"http://127.0.0.1:{hook.port}/uuid/\n"}) == ""
    assert hook.paths == [f"/uuid/{end}"]


def test_what_goes_wrong_is_said_without_the_address(hook: Hook):
    hook.status = 404
    environ = {"PING": f"http://127.0.0.1:{hook.port}/uuid-of-a-check"}
    assert ping("env:PING", Exit.DONE, environ) == "The heartbeat of env:PING was refused: HTTP 404."
    assert "ConnectionError" in ping("env:PING", Exit.DONE, {"PING": "http://127.0.0.1:9/uuid-of-a-check"})
    assert "not set" in ping("env:PING", Exit.DONE, {})


def run(sandbox: Sandbox, tmp_path: Path, job: str, ping_url: str, *more: str) -> int:
    file = tmp_path / "notices.yaml"
    file.write_text("heartbeat: {inventory: 'env:PING', verify: 'env:PING'}\n")
    command = [sys.executable, "-m", "runbook_lib.cli", "run", job, "--archive", str(tmp_path / "archive")]
    environ = os.environ | sandbox.env | {"PING": ping_url, "HOME": str(tmp_path)}
    return subprocess.run([*command, "--notices", str(file), *more], env=environ, check=False, timeout=120).returncode


def test_a_run_pings_before_and_after_with_its_exit_code(sandbox: Sandbox, tmp_path: Path, hook: Hook):
    url = f"http://127.0.0.1:{hook.port}/ping"
    assert run(sandbox, tmp_path, "inventory", url) == 0
    assert hook.paths == ["/ping/start", "/ping/0"]
    hook.paths.clear()
    code = run(sandbox, tmp_path, "verify", url, "-p", "name", "nothing of this name")
    assert code != 0
    assert hook.paths == ["/ping/start", f"/ping/{code}"]


def test_a_service_that_is_down_changes_no_run(sandbox: Sandbox, tmp_path: Path):
    assert run(sandbox, tmp_path, "inventory", "http://127.0.0.1:9/ping") == 0
