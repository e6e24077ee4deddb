"""A secret in a URL of apprise, an SMTP password or a webhook's header is in nothing that a run writes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.catalogue import Exit
from runbook_lib.errors import RunbookError, frames_of
from runbook_lib.notices.sender import Way
from tests.conftest import Sandbox
from tests.notices.receivers import free_port, mail_server, web_hook

PASSWORD, TOKEN, HEADER, PING = "Kx7-smtp-Canary-93q", "t0ken-Canary-41z", "header-Canary-77v", "ping-Canary-58w"
CANARIES = (PASSWORD, TOKEN, HEADER, PING)


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("down", [False, True], ids=["accepted", "down"])
def test_no_secret_of_a_way_is_in_log_report_metric_calendar_or_state(sandbox: Sandbox, tmp_path: Path, down: bool):
    archive, file = tmp_path / "archive", tmp_path / "notices.yaml"
    file.write_text(
        "recipients: {pki: ['env:MAIL'], on-call: ['env:HOOK']}\n"
        "send: [{to: [pki]}, {to: [on-call]}]\n"
        f"metrics: {tmp_path / 'metrics'}\ncalendar: {tmp_path / 'c.ics'}\nheartbeat: {{inventory: 'env:PING'}}\n"
    )
    with mail_server("postman", PASSWORD) as box, web_hook() as hook:
        mail, web = (free_port(), free_port()) if down else (box.port, hook.port)
        environ = {
            "MAIL": f"mailto://postman:{PASSWORD}@127.0.0.1:{mail}/?from=a@example.com&to=b@example.com&mode=insecure",
            "HOOK": f"json://127.0.0.1:{web}/{TOKEN}?+x-auth={HEADER}",
            "PING": f"http://127.0.0.1:{web}/{PING}",
        }
        command = [sys.executable, "-m", "runbook_lib.cli", "-v", "--log-format", "text", "run", "inventory"]
        done = subprocess.run(
            [*command, "--archive", str(archive), "--notices", str(file), "-p", "due_days", "0"],  # refused
            env=os.environ | sandbox.env | environ | {"HOME": str(tmp_path)},
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == Exit.USAGE, done.stderr.decode()
        if not down:
            assert box.mails
            assert TOKEN in hook.paths[-2]
            assert HEADER in hook.headers[-2].values()
            assert [path for path in hook.paths if PING in path] == [f"/{PING}/start", f"/{PING}/2"]
        else:
            assert b"did not accept it" in done.stderr
    everything = done.stdout + done.stderr + written(archive) + written(tmp_path / "metrics")
    everything += (tmp_path / "c.ics").read_bytes()
    for canary in CANARIES:
        assert canary.encode() not in everything, canary


def test_a_traceback_and_a_log_at_the_lowest_level_hold_none(caplog: pytest.LogCaptureFixture, monkeypatch):
    url = f"json://user:{PASSWORD}@127.0.0.1:{free_port()}/{TOKEN}?+x-auth={HEADER}"
    way = Way("env:HOOK", {"HOOK": url})
    with caplog.at_level(logging.DEBUG):
        from runbook_lib.clock import SystemClock
        from runbook_lib.notices.messages import trial

        said = way.send(trial("env:HOOK", "ops", SystemClock().now()))
        monkeypatch.setattr(way._sender, "notify", lambda **_: (_ for _ in ()).throw(ValueError(url)))
        said += way.send(trial("env:HOOK", "ops", SystemClock().now()))
    with pytest.raises(RunbookError) as refused:
        Way("env:HOOK", {"HOOK": f"nothing://{TOKEN}/{PASSWORD}"})
    said += str(refused.value) + frames_of(refused.value)
    for canary in (PASSWORD, TOKEN, HEADER):
        assert canary not in caplog.text + said + repr(way)
