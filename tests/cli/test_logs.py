"""What `-v` and `--log-format` log, and that no secret is in it."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from runbook_lib import secrets
from runbook_lib.catalogue import Exit
from runbook_lib.cli import logs, terminal
from tests.cli.test_cli import runbook
from tests.conftest import Sandbox

CANARY = "canary-4Zk9-in-the-coal-mine"


def test_each_request_is_logged_without_the_key_it_carries(sandbox: Sandbox, tmp_path: Path) -> None:
    quiet = runbook("doctor", environ=sandbox.env, cwd=tmp_path)
    assert (quiet.returncode, quiet.stderr) == (Exit.DONE, "")
    done = runbook("-v", "doctor", environ=sandbox.env, cwd=tmp_path)
    assert done.stdout.count("✓ ") == quiet.stdout.count("✓ ")
    assert "DEBUG runbook_lib.digicert.client: GET https://localhost:" in done.stderr
    assert "user/me: HTTP 200 after" in done.stderr
    assert sandbox.env["DIGICERT_ONE_API_KEY"] not in done.stdout + done.stderr


def test_with_json_each_line_on_standard_error_is_an_event(sandbox: Sandbox, tmp_path: Path) -> None:
    environ = sandbox.env | {"DIGICERT_ONE_API_KEY": CANARY}
    words = ("run", "inventory", "-p", "environment", "sandbox", "--archive", "archive")
    done = runbook("-v", "--log-format", "json", *words, environ=environ, cwd=tmp_path)
    assert done.returncode == Exit.CHECK_FAILED
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert {tuple(event) for event in events} == {("time", "level", "logger", "message")}
    bag = done.stdout.splitlines()[-1]
    sealed = [event["message"] for event in events if event["logger"] == "runbook_lib.archive.bag"]
    assert [message.endswith(f" is sealed in {bag}") for message in sealed] == [True]
    told = {event["level"]: event["message"] for event in events if event["logger"] == "runbook"}
    # the sandbox is every test's: how many others left a certificate in it is not known here
    assert re.fullmatch(r"inventory: failed, (1 certificate needs|[\d,]+ certificates need) action", told["info"])
    assert "[not_proven]" in told["error"]
    refused = runbook("--log-format", "json", "-v", "doctor", f"--api-key={CANARY}", environ=environ, cwd=tmp_path)
    assert refused.returncode == Exit.USAGE
    assert "there is no option --api-key" in json.loads(refused.stderr)["message"]
    assert CANARY not in done.stdout + done.stderr + refused.stdout + refused.stderr


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_secret_is_neither_in_a_message_nor_in_an_exception(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets.resolve("env:CANARY", environ={"CANARY": CANARY})
    logs.begin(verbose=False, log_format=log_format)
    log = logging.getLogger("runbook_lib.example")
    try:
        raise KeyError("nobody knows that this is secret")
    except KeyError:
        log.exception("It was %r", {"key": CANARY})
    log.info('"quoted" %s', CANARY)
    log.debug("a detail that nobody asked for")
    logging.getLogger("urllib3").info("chatter of a library")
    terminal.err("told")
    logs.begin(verbose=False, log_format=None)
    log.info("not asked for")
    logging.getLogger("urllib3").warning("as it is %s", CANARY)
    *lines, last = capsys.readouterr().err.splitlines()
    assert last == "as it is [withheld]"
    said = "\n".join(lines)
    assert "It was {'key': '[withheld]'}" in said
    assert "test_logs.py" in said
    assert not [word for word in (CANARY, "nobody", "library", "not asked") if word in said]
    if log_format == "json":
        assert [json.loads(line)["message"] for line in lines][1:] == ['"quoted" [withheld]', "told"]
