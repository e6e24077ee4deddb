"""Notebook 06 as an auditor reads it: what it proves, lists and finds missing, and what it must not call whole."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.archive import bag, chain, expectation, reader
from runbook_lib.archive.verify import verify_archive
from runbook_lib.audit.changes import CHANGES_MADE
from runbook_lib.audit.procedure import Audit
from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import FixedClock, SystemClock, iso
from runbook_lib.errors import RunbookError
from runbook_lib.notebooks import find_notebook
from runbook_lib.procedures.parameters import intake
from runbook_lib.result import StepRecord, Verdict
from runbook_lib.runner import RunOutcome, Status, run_notebook
from tests.archive import bags, many
from tests.archive.bags import AT
from tests.archive.many import FIRST, Told, inventory, row

CLOCK = FixedClock(AT + timedelta(days=30))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def audited(archive: Path, **given: Any) -> dict[str, StepRecord]:
    """Every step's record by its slug."""
    parameters, _ = intake(Audit.model, {"mode": "headless", "archive": str(archive), **given})
    audit = Audit(parameters, environ={}, clock=CLOCK)
    return {step.slug: audit.perform(step.slug) for step in Audit.steps()}


def rows(record: StepRecord, table: str) -> list[dict[str, str]]:
    assert record.result
    found = next(one for one in record.result.tables if one.name == table)
    return [dict(zip(found.columns, cells, strict=True)) for cells in found.rows]


def headline(record: StepRecord) -> str:
    assert record.result, record.error
    return record.result.headline


def test_a_whole_and_signed_archive_is_told_as_unchanged(archive: Path):
    bags.sign(archive)
    place = bags.put(archive, at=AT + timedelta(hours=1)).folder
    told = audited(archive)["verify-archive"]
    assert told.verdict is Verdict.OK
    assert headline(told) == "Unchanged since it was sealed."
    report = place / "data" / "report.html"
    report.write_bytes(report.read_bytes() + b" ")
    records = audited(archive)
    assert records["verify-archive"].verdict is Verdict.FAILED
    assert any("report.html" in one["finding"] for one in rows(records["verify-archive"], "findings"))
    assert records["what-ran"].error is None  # the rest is told all the same


def test_an_archive_without_a_signer_and_an_end_nobody_can_vouch_for_are_said(archive: Path):
    bags.put(archive)
    told = audited(archive)["verify-archive"]
    assert told.verdict is Verdict.ATTENTION
    assert told.result
    assert [one[0] for one in told.result.details] == ["ok", "ok", "attention", "unchecked", "unchecked"]


def test_a_cut_off_end_is_found_by_the_head_that_was_kept(archive: Path):
    bags.put(archive)
    last = bags.put(archive, at=AT + timedelta(days=1)).folder
    head = chain.find_head(archive).digest
    assert audited(archive, known_head=head)["verify-archive"].verdict is Verdict.ATTENTION  # nobody signs
    for name in sorted(last.rglob("*"), reverse=True):
        name.unlink() if name.is_file() else name.rmdir()
    last.rmdir()
    (archive / chain.HEAD).unlink()
    assert audited(archive)["verify-archive"].verdict is Verdict.ATTENTION
    assert audited(archive, known_head=head)["verify-archive"].verdict is Verdict.FAILED


def test_who_changed_what_is_told_from_issue_access_and_rotation(archive: Path):
    name = (("name", "CI Signer"),)
    user = {"seen": {"service_users": [{"id": "u-1", "name": "Builder"}]}}
    runs = [
        Told("issue", FIRST, parameters=name, changes=(("Request it", "ok", "Issued."),), more=user),
        Told("verify", FIRST + timedelta(hours=1), parameters=name),
        Told("rotate", FIRST + timedelta(hours=2), changes=(("Issue beside", "nothing to do", "Not due."),)),
        Told("access", FIRST + timedelta(hours=3), "failed", "failed", changes=(("Disable it", "failed", "HTTP 500"),),
             more={"defaults": {"name": "Demo"}}),
        Told("rotate", FIRST + timedelta(hours=4), "killed", "failed", parameters=name),
        Told("verify", FIRST + timedelta(hours=5), "killed", "failed", parameters=name),
    ]  # fmt: skip
    many.write(archive, runs)
    told = audited(archive)["who-changed-what"]
    assert told.verdict is Verdict.ATTENTION
    assert headline(told) == "2 changes, 1 failed. 1 run was cut off; its changes are unknown."
    found = rows(told, "changes-made")
    assert [(one["certificate"], one["change"], one["verdict"]) for one in found] == [
        ("CI Signer", "Request it", "ok"),
        ("Demo", "Disable it", "failed"),
        ("CI Signer", "not known", "killed"),
    ]
    assert found[0] | {"at": ""} == {
        "at": "",
        "who": "runbooks on build-7",
        "service user": "Builder",
        "certificate": "CI Signer",
        "change": "Request it",
        "verdict": "ok",
        "what was seen": "Issued.",
        "run": "20231101T061700Z-issue",
        "ticket": "",
        "approved by": "",
        "mode": "headless",
    }


def test_a_clicked_change_with_an_unknown_outcome_is_listed(archive: Path):
    at = iso(AT + timedelta(minutes=1))
    pressed = {"at": at, "title": "Disable it", "kind": "change", "verdict": None}
    skipped = {**pressed, "title": "Enable it", "asked": False}
    more = {"mode": "interactive", "clicks": [pressed, skipped]}
    many.write(archive, [Told("access", AT, "interrupted", "failed", parameters=(("name", "Demo"),), more=more)])
    told = audited(archive)["who-changed-what"]
    assert told.verdict is Verdict.ATTENTION
    assert headline(told) == "No known changes. 1 run was cut off; its changes are unknown."
    (found,) = rows(told, "changes-made")
    assert (found["at"], found["change"], found["verdict"], found["mode"]) == (
        at,
        "Disable it",
        "unknown",
        "interactive",
    )


def change(hours: int, ticket: str, host: str = "one.digicert.com") -> Told:
    more = {"ticket": ticket, "approved_by": "Ada", "target": {"environment": "", "api_url": f"https://{host}"}}
    return Told("issue", AT + timedelta(hours=hours), changes=(("Request it", "ok", "Issued."),), more=more)


def test_a_change_without_the_ticket_that_the_policy_required_then_is_a_finding(archive: Path, tmp_path: Path):
    many.write(archive, [change(0, "")])
    before = audited(archive)["who-changed-what"]
    assert before.verdict is Verdict.OK
    assert before.result
    assert before.result.facts == {"Without a ticket": "1 of 1 change"}
    file = tmp_path / "expected.yaml"
    file.write_text("expected: []\nrequire_ticket: [production]\n")
    declared = expectation.declare(archive, file, at=AT + timedelta(hours=1), environ={})[0].folder
    many.write(archive, [change(2, "CHG-1"), change(3, "", "demo.one.digicert.com")])
    after = audited(archive)["who-changed-what"]
    assert after.verdict is Verdict.OK
    assert [(one["ticket"], one["approved by"]) for one in rows(after, "changes-made")] == [
        ("", "Ada"),
        ("CHG-1", "Ada"),
        ("", "Ada"),
    ]
    many.write(archive, [change(4, "")])
    breached = audited(archive)["who-changed-what"]
    assert breached.verdict is Verdict.ATTENTION
    assert headline(breached) == "4 changes, none failed. 1 change without the ticket that the policy requires."
    assert [one["run"] for one in rows(breached, "changes-without-ticket")] == ["20261123T181500Z-issue"]
    (declared / "data" / "expectation.json").write_text("{")
    unknown = audited(archive)["who-changed-what"]
    assert unknown.result
    assert unknown.verdict is Verdict.ATTENTION
    assert [detail[:2] for detail in unknown.result.details] == [(Verdict.UNCHECKED, "Ticket policy")]


def test_the_changes_of_a_batch_are_told_account_by_account(archive: Path):
    def record(name: str) -> bytes:
        made = (("Issue beside", "ok", "Issued."),)
        return json.dumps(Told("rotate", AT, parameters=(("name", name),), changes=made).record()).encode()

    accounts = (
        "account,status,verdict,report\r\none,done,ok,accounts/one/report.html\r\n"
        "two,done,ok,accounts/two%20b/report.html\r\nthree,missing,,\r\nfour,done,ok,../../elsewhere/report.html\r\n"
        "five,done,ok,accounts/five/report.html\r\n"
    )
    files = {
        "run.json": json.dumps(Told("nightly", AT).record()).encode(),
        "tables/accounts.csv": accounts.encode(),
        "accounts/one/run.json": record("One"),
        "accounts/two_b/run.json": record("Two"),
    }
    place = bags.put(archive, files, job="nightly").folder
    (place / "data" / "accounts" / "two_b").rename(place / "data" / "accounts" / "two b")
    found = rows(audited(archive)["who-changed-what"], "changes-made")
    assert [(one["certificate"], one["change"]) for one in found] == [
        ("", "not known"),
        ("One", "Issue beside"),
        ("Two", "Issue beside"),
    ]
    assert found[1]["run"] == f"{place.name}/data/accounts/one"


def test_a_run_that_failed_and_a_bag_that_cannot_be_read_are_listed(archive: Path):
    many.write(archive, [Told("verify", FIRST), Told("verify", FIRST + timedelta(hours=1), "timed out", None)])
    bags.put(archive, {"run.json": b"{"}, job="verify", at=FIRST + timedelta(hours=2))
    told = audited(archive)["what-ran"]
    assert headline(told) == "On 1 Nov 2023: 3 runs, 2 not done."
    assert [one["status"] for one in rows(told, "not-done")] == ["timed out", "unreadable"]
    changed = audited(archive)["who-changed-what"]
    assert rows(changed, "changes-made")[0]["verdict"] == "unreadable"
    assert headline(changed) == "No known changes. 1 record cannot be read; its changes are unknown."


def test_only_the_period_is_told(archive: Path):
    many.write(archive, [Told("verify", FIRST + timedelta(days=day)) for day in range(5)])
    assert headline(audited(archive)["what-ran"]).startswith("From 1 Nov 2023 to 5 Nov 2023: 5 runs")
    records = audited(archive, period_from="2023-11-02", period_to="2023-11-03")
    assert headline(records["what-ran"]) == "From 2 Nov 2023 to 3 Nov 2023: 2 runs, all done."
    empty = audited(archive, period_from="2024-01-01")
    assert [one.verdict for one in empty.values()][1:] == ["attention", "ok", "attention", "nothing to do"]
    assert audited(archive, period_from="2023-11-03", period_to="2023-11-02")["what-ran"].verdict is Verdict.FAILED
    with pytest.raises(RunbookError, match="written YYYY-MM-DD"):
        audited(archive, period_from="November")


def test_days_without_a_run_are_told_and_without_a_declaration_nothing_is_called_missing(archive: Path):
    many.write(archive, [Told("verify", FIRST + timedelta(days=day)) for day in (0, 1, 4)])
    told = audited(archive)["what-is-missing"]
    assert told.verdict is Verdict.ATTENTION
    assert headline(told) == "No expectations declared, so gaps cannot be detected. Days without runs are listed."
    assert rows(told, "quiet-days") == [{"from": "2023-11-03", "to": "2023-11-04"}]


def test_what_was_declared_and_is_not_there_is_missing(archive: Path, tmp_path: Path):
    many.write(archive, [Told("verify", FIRST + timedelta(days=day)) for day in (0, 1, 3)])
    file = tmp_path / "expected.yaml"
    file.write_text("expected:\n  - {job: verify, every: day, from: 2023-11-01, until: 2023-11-05}\n")
    expectation.declare(archive, file, at=FIRST + timedelta(days=4), environ={})
    told = audited(archive)["what-is-missing"]
    assert headline(told) == "1 of 4 expected periods has gaps."
    assert [(one["period from"], one["state"], one["job"]) for one in rows(told, "missing")] == [
        ("2023-11-03T00:00:00Z", "missing", "verify")
    ]
    whole = audited(archive, period_to="2023-11-02")["what-is-missing"]
    assert whole.verdict is Verdict.OK
    assert headline(whole) == "Complete: 2 expected periods, no gaps."


def test_the_first_and_the_last_inventory_are_compared_or_those_that_are_named(archive: Path):
    runs = [
        Told("inventory", FIRST + timedelta(days=day), tables=(inventory(*found),))
        for day, found in enumerate(([row("A", id="1")], [row("A", id="1"), row("B", id="2")], [row("B", id="2")]))
    ]
    many.write(archive, runs)
    told = audited(archive)["what-is-different"]
    assert [(one["change"], one["name"]) for one in rows(told, "different")] == [("vanished", "A"), ("appeared", "B")]
    named = audited(archive, compare_from="2023-11-01", compare_to="2023-11-02")["what-is-different"]
    assert [(one["change"], one["name"]) for one in rows(named, "different")] == [("appeared", "B")]
    wrong = audited(archive, compare_from="2023-12-24")["what-is-different"]
    assert wrong.error
    assert "nearest" in wrong.error["remedy"]


def test_a_table_that_is_longer_than_the_report_shows_is_complete_in_a_file(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    made = tuple((f"Change {number}", "ok", "=1+1") for number in range(501))
    many.write(archive, [Told("issue", FIRST, changes=made)])
    result = audited(archive)["who-changed-what"].result
    assert result
    (shown,), (whole,) = result.tables, result.beside
    assert (shown.name, len(shown.rows), whole.rows) == ("changes-made-first", 500, 501)
    frame = CHANGES_MADE.frame(tmp_path / "tables" / "changes-made.csv")
    assert list(frame["change"]) == [change for change, _, _ in made]
    assert set(frame["what was seen"]) == {"'=1+1"}


def test_an_archive_can_be_audited_while_a_run_of_it_is_under_way(archive: Path):
    bags.put(archive)
    with bag.staging(archive, bags.started("archive")):
        assert audited(archive)["verify-archive"].verdict is Verdict.ATTENTION  # unsigned; no finding


def test_without_an_archive_the_remedy_names_the_parameter(tmp_path: Path):
    told = audited(tmp_path / "nowhere")["verify-archive"]
    assert told.error
    assert told.error["reason"] == Reason.UNREADABLE_FILE
    assert "`archive`" in told.error["remedy"]


def test_the_archive_is_the_one_that_the_environment_names(archive: Path, monkeypatch: pytest.MonkeyPatch):
    bags.put(archive)
    parameters, table = intake(Audit.model, {})
    assert Audit(parameters, environ={"DIGICERT_ONE_ARCHIVE": str(archive)}).archive == archive
    archive.rename(archive.with_name("archive.moved"))
    (archive.parent / "archive").mkdir()
    monkeypatch.chdir(archive.parent)
    assert Audit(parameters, environ={}).archive == Path(os.getcwd()) / "archive"  # noqa: PTH109
    assert Audit(parameters, environ={}).begin(table).target is None


@pytest.mark.slow
def test_a_run_of_the_notebook_is_in_the_archive_that_it_read_and_fails_where_that_was_changed(archive: Path):
    bags.sign(archive)
    place = bags.put(archive, at=AT + timedelta(hours=1)).folder

    def run() -> RunOutcome:
        given = {"mode": "headless"}
        environ = {**os.environ, **bags.ENVIRON}
        path, job = find_notebook("archive")
        return run_notebook(path, given, job=job, archive=archive, clock=SystemClock(), environ=environ)

    good = run()
    assert good.status is Status.DONE
    assert verify_archive(archive).findings == ()
    assert "Unchanged since it was sealed." in (good.bag / "data" / "report.html").read_text(encoding="utf-8")
    report = place / "data" / "report.html"
    report.write_bytes(report.read_bytes() + b" ")
    bad = run()
    assert (bad.status, bad.exit) == (Status.FAILED, Exit.CHECK_FAILED)
    told = reader.entry(archive, bad.bag)
    assert "This archive is not as it was sealed: 1 finding." in told.seen
    assert told.seen in (archive / "index.html").read_text(encoding="utf-8")
