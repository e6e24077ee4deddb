"""From a sealed bag to the mailbox and the webhook: once for each change of state, whatever happens in between."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from runbook_lib.archive.verify import verify_archive
from runbook_lib.notices import after_run, messages
from runbook_lib.notices.after_run import inform
from tests.archive import bags
from tests.notices import runs
from tests.notices.conftest import Desk
from tests.notices.receivers import Hook, Mailbox
from tests.notices.runs import DAY, NOW, row

DUE = row("CI", "due", ends=NOW + 50 * DAY, why="fewer than 60 days left")


def test_a_certificate_that_becomes_due_is_one_mail_and_not_one_a_night(desk: Desk, mailbox: Mailbox, hook: Hook):
    desk.run(row("CI"))
    assert mailbox.mails == []
    found = desk.run(DUE)
    assert (found.sent, found.problems) == (1, [])
    for _ in range(3):
        desk.run(DUE)
    assert mailbox.subjects == ["Due: CI is due for renewal"]
    assert hook.bodies == []
    text = mailbox.mails[0].get_body(("plain",))
    assert text is not None
    said = " ".join(text.get_content().split())
    for part in ("12 Jan 2027 (in 50 days)", "production", "fewer than 60 days left", "runbook run rotate -p name CI"):
        assert part in said
    assert "report.html" in said.replace(" ", "")


def test_each_state_up_to_disabled_is_one_message(desk: Desk, mailbox: Mailbox):
    for state in ("healthy", "due", "due", "urgent", "unchecked", "urgent", "expired", "expired"):
        desk.run(row("CI", state))
    desk.run(row("CI", "expired", enabled="no"))
    desk.run(row("CI", "expired", enabled="no"))
    assert [subject.partition(":")[0] for subject in mailbox.subjects] == ["Due", "Urgent", "Expired", "Disabled"]


def test_failures_go_to_other_recipients_than_dates(desk: Desk, mailbox: Mailbox, hook: Hook):
    desk.run(row("CI"))
    desk.run(error=runs.fault(), job="rotate", parameters={"name": "CI"})
    desk.run(job="rotate", parameters={"name": "CI"})
    assert mailbox.mails == []
    assert hook.titles == ["Failed: rotate of “CI” failed", "Recovered: rotate of “CI” is done again"]
    assert "The hook ended with exit code 3." in hook.texts[0]


def test_an_outage_is_one_message_and_its_end_another(desk: Desk, mailbox: Mailbox, hook: Hook):
    desk.run(DUE)
    silent = row("(DigiCert ONE)", "unchecked", ends=NOW)
    for _ in range(2):
        desk.run(silent, error=runs.outage())
        desk.run(error=runs.outage(), job="rotate", parameters={"name": "CI"})
    desk.run(DUE)
    assert hook.titles == [
        "Unreachable: DigiCert ONE (production) does not respond properly",
        "Recovered: DigiCert ONE (production) answers again",
    ]
    assert len(mailbox.mails) == 1  # what an outage hid is no change


def test_a_rotation_and_what_it_disabled_are_said_once_whoever_sees_them(desk: Desk, mailbox: Mailbox):
    desk.run(row("CI"))
    put = runs.step("deploy", "`current` points to the new certificate.", kind="change")
    desk.run(job="rotate", parameters={"name": "CI"}, steps=[put])
    off = runs.step("disable-old", "“CI” is disabled; the list confirms it.", kind="change")
    desk.run(job="rotate", parameters={"name": "CI"}, steps=[off])
    desk.run(row("CI", "disabled", enabled="no"))
    assert [subject.partition(":")[0] for subject in mailbox.subjects] == ["Rotated", "Disabled"]


def test_a_drill_that_disables_and_enables_again_is_no_message(desk: Desk, mailbox: Mailbox):
    steps = [runs.step(slug, "“CI” is …", kind="change") for slug in ("disable", "enable")]
    desk.run(job="access", parameters={"name": "CI"}, steps=steps)
    assert mailbox.mails == []


def test_a_digest_joins_the_changes_of_a_run(desk: Desk, mailbox: Mailbox):
    desk.set(send=[{"to": ["pki"], "digest": True}, {"to": ["on-call"], "states": ["failed"]}])
    desk.run(DUE, row("Web", "urgent"))
    assert mailbox.subjects == ["2 changes: 1 due, 1 urgent"]


def test_very_many_changes_are_one_message_of_bounded_size(desk: Desk, mailbox: Mailbox):
    desk.run(*(row(f"c{number}", "due") for number in range(2_000)))
    assert mailbox.subjects == ["2,000 changes: 2,000 due"]
    assert len(mailbox.mails[0].as_bytes()) < 200_000
    text = mailbox.mails[0].get_body(("plain",))
    assert text is not None
    assert f"{2_000 - messages.SHOWN:,} more are in the report." in text.get_content()


def test_a_server_that_is_down_delays_a_message_and_changes_no_run(desk: Desk, mailbox: Mailbox):
    mailbox.refuses = True
    found = desk.run(DUE)
    assert (found.sent, found.waiting) == (0, 1)
    assert "env:MAIL" in found.problems[0]
    assert "1 not sent yet" in str(found)
    mailbox.refuses = False
    found = desk.run(DUE)
    assert (found.sent, found.waiting, found.problems) == (1, 0, [])
    assert len(mailbox.mails) == 1


def test_the_other_way_of_a_recipient_is_not_repeated_when_one_is_down(desk: Desk, mailbox: Mailbox, hook: Hook):
    desk.set(recipients={"pki": ["env:MAIL", "env:HOOK"]}, send=[{"to": ["pki"]}])
    hook.status = 500
    desk.run(DUE)
    hook.status = 200
    desk.run(DUE)
    assert (len(mailbox.mails), len(hook.bodies)) == (1, 1)


def test_a_run_that_was_killed_before_its_notices_is_caught_up_by_the_next(desk: Desk, mailbox: Mailbox, hook: Hook):
    desk.run(row("CI"))
    runs.put(desk.archive, DUE)  # nobody was informed
    runs.put(desk.archive, error=runs.fault(), job="verify")
    desk.run(DUE)
    assert len(mailbox.mails) == 1
    assert hook.titles == ["Failed: verify failed"]


def test_history_is_no_news(desk: Desk, mailbox: Mailbox, hook: Hook):
    runs.put(desk.archive, error=runs.fault(), job="verify")
    runs.put(desk.archive, row("Old", "expired"))
    desk.run(row("CI"), row("Other", "expired", store="no"), row("Gone", "disabled", enabled="no", store="no"))
    assert (mailbox.mails, hook.bodies) == ([], [])


def test_a_certificate_that_is_no_longer_listed_and_comes_back_is_no_news(desk: Desk, mailbox: Mailbox):
    desk.run(DUE, row("Web"))
    desk.run(row("Web"))
    desk.run(DUE, row("Web"))
    assert len(mailbox.mails) == 1


def test_a_recipient_who_was_removed_gets_nothing_more(desk: Desk, mailbox: Mailbox):
    mailbox.refuses = True
    desk.run(DUE)
    mailbox.refuses = False
    desk.set(recipients={"on-call": ["env:HOOK"]}, send=[{"to": ["on-call"], "states": ["failed"]}])
    found = desk.run(DUE)
    assert mailbox.mails == []
    assert "no longer in the notices file" in found.problems[0]


def test_a_batch_informs_about_each_account(desk: Desk, mailbox: Mailbox, hook: Hook):
    accounts = b"account,status,report\r\na,done,accounts/a/report.html\r\nb,failed,accounts/b/report.html\r\n"
    from runbook_lib import tables
    from runbook_lib.errors import Reason, RunbookError
    from runbook_lib.inventories.schemas import INVENTORY

    listed = ["tables/inventory.csv"]
    more = {
        "tables/accounts.csv": accounts,
        "accounts/a/run.json": json.dumps(runs.record(account="a", files=listed)).encode(),
        "accounts/a/tables/inventory.csv": tables.csv_bytes([INVENTORY.columns, DUE]),
        "accounts/b/run.json": json.dumps(runs.record(account="b", error=runs.fault())).encode(),
    }
    error = RunbookError(Reason.ACCOUNTS_FAILED, "Of 2 accounts: 1 failed.")
    desk.run(job="batch-fleet", error=error, more=more)
    assert mailbox.subjects == ["Due: CI is due for renewal"]
    assert hook.titles == ["Failed: inventory for b failed"]


def test_the_archive_still_verifies_and_its_policy_is_enough(desk: Desk, mailbox: Mailbox, tmp_path: Path):
    file = tmp_path / "notices.yaml"
    file.write_text("recipients: {pki: ['env:MAIL']}\nsend: [{to: [pki]}]\n")
    after_run.use(desk.archive, file)
    bag = runs.put(desk.archive, DUE)
    assert inform(bag, environ=desk.environ).sent == 1
    assert verify_archive(desk.archive).findings == ()
    after_run.use(desk.archive, None)
    assert inform(runs.put(desk.archive, row("CI", "urgent")), environ=desk.environ).sent == 0
    assert len(mailbox.mails) == 1


def test_what_cannot_be_read_is_reported_and_raises_nothing(desk: Desk, hook: Hook):
    desk.run(row("CI"))
    bad = runs.put(desk.archive, more={"tables/inventory.csv": b'name,state\r\n"'})
    assert "cannot be read" in desk.inform(bad).problems[0]
    (desk.archive / ".notices" / "state.sqlite3").write_bytes(b"no database" * 500)
    assert "DatabaseError" in desk.run(DUE).problems[0]
    assert inform(desk.archive / "2026" / "11" / "23" / "none", desk.notices).problems


def test_entries_of_the_archive_are_no_news(desk: Desk, mailbox: Mailbox, hook: Hook):
    desk.run(row("CI"))
    bags.sign(desk.archive, NOW + timedelta(hours=1))
    desk.run(row("CI"))
    assert (mailbox.mails, hook.bodies) == ([], [])
