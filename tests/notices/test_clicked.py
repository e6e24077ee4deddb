"""What a person clicks is reported as what a scheduler runs: a real kernel, its keeper, and the archive's policy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runbook_lib.notices.after_run import use
from tests.clicking import opened
from tests.conftest import Sandbox
from tests.notices.receivers import Mailbox
from tests.procedures.conftest import issue

pytestmark = pytest.mark.slow

SECONDS = 30


def test_a_certificate_that_a_person_disables_is_a_mail(sandbox: Sandbox, mailbox: Mailbox, tmp_path: Path):
    archive, file, mail = tmp_path / "archive", tmp_path / "notices.yaml", tmp_path / "mail"
    mail.touch(0o600)
    mail.write_text(f"mailto://127.0.0.1:{mailbox.port}/?from=a@example.com&to=b@example.com&mode=insecure")
    file.write_text(f"recipients: {{pki: ['file:{mail}']}}\nsend: [{{to: [pki]}}]\n")
    use(archive, file)
    environ = sandbox.env | {"DIGICERT_ONE_STORE": str(tmp_path / "store"), "DIGICERT_ONE_ARCHIVE": str(archive)}
    name = "Clicked away"
    issue(sandbox, name, environ)
    with opened("03_access", tmp_path / "desk", environ) as hand:
        hand.run_all()
        hand.start(name=name, allow_outage_of=name, action="disable")
        hand.press("prove-access", "disable", "prove-refused")
        hand.archive()
    until = time.monotonic() + SECONDS
    while not mailbox.mails and time.monotonic() < until:
        time.sleep(0.1)
    assert mailbox.subjects == [f"Disabled: {name} is disabled"]
