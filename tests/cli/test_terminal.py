"""What the commands say: a secret that this process knows is in no line of it."""

from __future__ import annotations

import json
import logging

import pytest

from runbook_lib import looks, secrets
from runbook_lib.cli import logs, terminal
from runbook_lib.cli.batch_progress import watching
from runbook_lib.errors import Reason, RunbookError, frames_of, unexpected

PASSWORD = 'Zk4"pq7&<mX/9w,2'


def _know(value: str = PASSWORD) -> None:
    secrets.resolve("env:PASSWORD", environ={"PASSWORD": value})


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return "".join(capsys.readouterr())


def test_an_error_s_text_that_holds_a_password_is_told_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    error = RunbookError(Reason.BAD_PARAMETER, f"{PASSWORD!r} was refused: {json.dumps(PASSWORD)}, {PASSWORD}")
    terminal.show_error(error)
    assert PASSWORD in _said(capsys)  # nobody knows that it is one
    _know()
    terminal.show_error(error)
    said = _said(capsys)
    assert "'[withheld]' was refused" in said
    assert PASSWORD[:3] not in said


def test_a_traceback_a_log_and_a_batch_s_line_are_told_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    _know()
    try:
        raise KeyError(PASSWORD)
    except KeyError as error:
        terminal.err(frames_of(error))
        terminal.show_error(unexpected(error))
    logs.begin(verbose=False, log_format=None)
    logging.getLogger("urllib3").warning("retrying %s", PASSWORD)
    with watching(1) as watch:
        watch.lost("a0", f"KeyError: {PASSWORD}")
    said = _said(capsys)
    assert said.count("[withheld]") == 2
    assert PASSWORD[:3] not in said


def test_the_longer_of_two_secrets_is_withheld_whole(capsys: pytest.CaptureFixture[str]) -> None:
    _know("password1")
    _know("password1-and-more")
    terminal.out("password1-and-more, password1")
    assert _said(capsys) == "[withheld], [withheld]\n"


def test_what_is_short_or_typed_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    _know("on")
    secrets.resolve("prompt:", prompt=lambda what: PASSWORD)
    assert looks.withheld(f"on {PASSWORD}") == f"on {PASSWORD}"
