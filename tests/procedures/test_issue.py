"""An issuance ends with a certificate in use, or says exactly why not."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.lifecycle.journal import Journal, State
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.parameters import intake
from runbook_lib.procedures.verify import Verify
from runbook_lib.result import Verdict
from tests.conftest import Sandbox
from tests.procedures.conftest import issue, prepare, run


def reason(procedure: Issue) -> str:
    record = run(procedure)
    assert record.error is not None, record
    assert record.error["remedy"]
    return str(record.error["reason"])


def begin(sandbox: Sandbox, name: str, environ: dict[str, str] | None = None, **given: object) -> Issue:
    return prepare(Issue, sandbox, environ, name=name, confirm=name, key_kind="p-256", **given)


def posts(sandbox: Sandbox, name: str) -> list[int]:
    return [
        one["status"]
        for one in sandbox.admin("GET", "/requests")
        if one["method"] == "POST" and one.get("certificate_name") == name
    ]


def states(procedure: Issue) -> list[State]:
    return [one.state for one in Journal(procedure.credential.journal_path, procedure.session.clock).entries()]


# --- the story --------------------------------------------------------------------------------------------------------


def test_a_certificate_is_issued_put_into_use_and_the_second_run_has_nothing_to_do(sandbox: Sandbox) -> None:
    procedure = issue(sandbox, "Issued once")
    assert [record.verdict for record in procedure.records] == [Verdict.OK] * 6
    assert " → ".join(states(procedure)) == (
        "planned → key_sealed → posted → received → linted → bundled → verified → current"
    )
    current = procedure.credential.current()
    assert current is not None
    assert sorted(path.name for path in current.folder.iterdir()) == [
        "cert.pem",
        "chain.pem",
        "identity.p12",
        "meta.json",
    ]
    again = issue(sandbox, "Issued once")
    assert again.finish().verdict is Verdict.NOTHING_TO_DO
    with again.session.api() as api:
        (mine,) = [one for one in api.certificates() if one.name == "Issued once"]
        assert mine.id is not None
        api.set_enabled(mine.id, False)
    disabled = prepare(Issue, sandbox, name="Issued once", confirm="Issued once", key_kind="p-256")
    record = run(disabled)
    assert record.error is not None  # in use, but disabled: that is not “nothing to do”
    assert record.error["reason"] == "certificate_disabled"
    assert posts(sandbox, "Issued once") == [201]


def test_the_latest_end_date_is_asked_for_and_never_past_the_service_user(sandbox: Sandbox) -> None:
    far = issue(sandbox, "As late as allowed").credential.current()
    assert far is not None
    assert 395 <= (far.meta.not_after - far.meta.created).days <= 397
    user = sandbox.users()["ends_soon"]
    near = issue(sandbox, "Ends with its user", {"DIGICERT_ONE_API_KEY": user["api_key"]}).credential.current()
    assert near is not None
    assert near.meta.not_after.isoformat()[:10] == user["end_date"][:10]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(sandbox: Sandbox) -> None:
    procedure = prepare(Issue, sandbox, name="Only planned", dry_run=True)
    run(procedure)
    assert procedure.finish().verdict is Verdict.PLANNED
    assert not procedure.credential.folder.exists()
    assert posts(sandbox, "Only planned") == []


def test_nothing_changes_without_the_confirmation(sandbox: Sandbox) -> None:
    procedure = prepare(Issue, sandbox, name="Not confirmed", confirm="Another name")
    assert reason(procedure) == Reason.CONFIRMATION_MISSING
    assert not procedure.credential.folder.exists()


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "expected"),
    [("no_permission", Reason.NO_ACCESS), ("expired", Reason.API_KEY_REFUSED), ("disabled", Reason.API_KEY_REFUSED)],
)
def test_a_service_user_who_may_not_is_told_so(sandbox: Sandbox, role: str, expected: Reason) -> None:
    procedure = begin(
        sandbox, f"For {role}".replace("_", " "), {"DIGICERT_ONE_API_KEY": sandbox.users()[role]["api_key"]}
    )
    assert reason(procedure) == expected
    assert State.RECEIVED not in states(procedure)


def test_a_wrong_api_key_is_told_and_the_issuance_goes_on_with_the_right_one(sandbox: Sandbox) -> None:
    name = "Wrong key at first"
    assert reason(begin(sandbox, name, {"DIGICERT_ONE_API_KEY": "wrong"})) == Reason.API_KEY_REFUSED
    procedure = issue(sandbox, name)
    assert procedure.records[0].result is not None
    assert procedure.records[0].result.headline.startswith("Resumed")
    assert posts(sandbox, name) == [201]


def test_a_name_that_somebody_else_has_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    issue(sandbox, "Taken")
    procedure = begin(sandbox, "Taken", {"DIGICERT_ONE_STORE": str(tmp_path / "other")})
    assert reason(procedure) == Reason.DUPLICATE_NAME
    assert states(procedure)[-1] is State.KEY_SEALED  # its key is kept, and its outcome is known


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("name", "a/b"),
        ("name", "../../etc"),
        ("name", "x" * 300),
        ("name", ""),
        ("name", "trailing "),
        ("name", "line\nbreak"),
        ("expiration_date", "soon"),
        ("expiration_date", "2026-02-31"),
        ("key_kind", "rsa-1024"),
        ("dry_run", "perhaps"),
        ("mode", "silent"),
        ("ca_file", "/nowhere/ca.pem"),
        ("clock", "yesterday"),
    ],
)
def test_a_parameter_of_the_wrong_kind_is_named(parameter: str, value: str) -> None:
    with pytest.raises(Exception, match=parameter) as caught:
        intake(Issue.model, {parameter: value})
    assert caught.value.reason is Reason.BAD_PARAMETER  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("date", "why"),
    [("2020-01-01", "past"), ("2099-01-01", "397 days"), ("2020-01-01T00:00:00Z", "past")],
)
def test_an_end_date_that_cannot_be_is_refused_before_anything_is_made(sandbox: Sandbox, date: str, why: str) -> None:
    procedure = begin(sandbox, f"Ends {date[:10]} {len(date)}", expiration_date=date)
    record = run(procedure)
    assert record.error is not None
    assert record.error["reason"] == Reason.BAD_PARAMETER
    assert why in record.error["what"]
    assert not procedure.credential.folder.exists()


def test_an_end_date_past_the_service_users_own_is_refused_and_nothing_is_issued(sandbox: Sandbox) -> None:
    user = sandbox.users()["ends_soon"]
    name = "Later than its user"
    date = issue(sandbox, "As late as allowed too").credential.current()
    assert date is not None
    procedure = begin(
        sandbox,
        name,
        {"DIGICERT_ONE_API_KEY": user["api_key"]},
        expiration_date=date.meta.not_after.strftime("%Y-%m-%d"),
    )
    assert reason(procedure) in (Reason.BAD_PARAMETER, Reason.INVALID_INPUT)
    assert 201 not in posts(sandbox, name)


def test_an_unknown_parameter_and_a_plain_secret_are_refused_without_repeating_it() -> None:
    with pytest.raises(Exception, match="expiry_date") as caught:
        intake(Issue.model, {"expiry_date": "2027-01-01"})
    assert caught.value.reason is Reason.UNKNOWN_PARAMETER  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="api_key") as caught:
        intake(Issue.model, {"api_key": "0123456789abcdef_swordfish"})
    assert caught.value.reason is Reason.SECRET_AS_VALUE  # type: ignore[attr-defined]
    assert "swordfish" not in str(caught.value)


@pytest.mark.parametrize("password", ["short", "correct horse battery staple!", "a" * 64, "pässword" * 8])
def test_a_password_that_protects_nothing_is_refused_before_a_key_is_made(sandbox: Sandbox, password: str) -> None:
    procedure = begin(sandbox, "Weak password", {"DIGICERT_ONE_P12_PASSWORD": password})
    assert reason(procedure) == Reason.WEAK_PASSWORD
    assert not procedure.credential.folder.exists()


def test_a_store_that_others_can_read_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    store = tmp_path / "open"
    store.mkdir(mode=0o755)
    store.chmod(0o755)
    assert reason(begin(sandbox, "In the open", {"DIGICERT_ONE_STORE": str(store)})) == Reason.STORE_EXPOSED
    assert posts(sandbox, "In the open") == []


def test_a_store_that_cannot_be_made_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    procedure = begin(sandbox, "No folder", {"DIGICERT_ONE_STORE": str(tmp_path / "file" / "store")})
    assert reason(procedure) == Reason.STORE_NOT_WRITABLE


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_a_run_that_ended_after_any_step_is_continued_by_the_next(sandbox: Sandbox, steps: int) -> None:
    name = f"Stopped after {steps}"
    first = begin(sandbox, name)
    for step in first.steps()[:steps]:
        assert first.perform(step.slug).error is None
    second = issue(sandbox, name)
    assert second.credential.current() is not None
    assert posts(sandbox, name) == [201]
    verified = prepare(Verify, sandbox, name=name)
    run(verified)
    assert verified.finish().verdict is Verdict.OK


def test_other_values_before_anything_was_sent_begin_anew_and_after_it_are_refused(sandbox: Sandbox) -> None:
    name = "Changed my mind"
    first = begin(sandbox, name, organization="First")
    first.perform("generate-key-and-csr")
    second = begin(sandbox, name, organization="Second")
    assert second.perform("generate-key-and-csr").error is None
    assert second.perform("request-certificate").error is None
    third = begin(sandbox, name, organization="Third")
    assert reason(third) == Reason.CONFLICTING_PARAMETER


def test_a_certificate_whose_answer_was_lost_is_disabled_and_the_next_name_is_used(sandbox: Sandbox) -> None:
    name = "Answer lost"
    first = begin(sandbox, name)
    first.perform("generate-key-and-csr")
    first.perform("request-certificate")
    # no response arrived, as if the process had died between the server's effect and our write
    staging = first.credential.staging(1)
    (staging / "response.json").unlink()
    lines = first.credential.journal_path.read_text().splitlines(keepends=True)
    first.credential.journal_path.write_text("".join(lines[:3]))
    assert json.loads(lines[2])["state"] == "posted"
    second = issue(sandbox, name)
    current = second.credential.current()
    assert current is not None
    assert (current.number, current.meta.name) == (2, "Answer lost 0002")
    listed = {one["name"]: one["enabled"] for one in sandbox.admin("GET", "/certificates") if name in one["name"]}
    assert listed == {"Answer lost": False, "Answer lost 0002": True}
    assert posts(sandbox, name) == [201]
    assert posts(sandbox, "Answer lost 0002") == [201]


def test_a_request_that_never_arrived_is_sent_again_once_that_is_proven(sandbox: Sandbox) -> None:
    name = "Never arrived"
    first = begin(sandbox, name)
    first.perform("generate-key-and-csr")
    Journal(first.credential.journal_path, first.session.clock).append(
        State.POSTED, 1, name=name, end_date="2027-01-01T00:00:00Z"
    )
    second = begin(sandbox, name)
    second.session.pause = lambda _: None
    assert run(second).error is None
    assert State.RECONCILED in states(second)
    assert posts(sandbox, name) == [201]


def test_a_torn_last_line_of_the_journal_counts_as_not_written(sandbox: Sandbox) -> None:
    first = begin(sandbox, "Torn")
    first.perform("generate-key-and-csr")
    with first.credential.journal_path.open("a") as journal:
        journal.write('{"seq": 3, "at": "2026-')
    assert run(begin(sandbox, "Torn")).error is None


def test_an_edited_journal_is_refused(sandbox: Sandbox) -> None:
    first = begin(sandbox, "Edited")
    first.perform("generate-key-and-csr")
    text = first.credential.journal_path.read_text()
    first.credential.journal_path.write_text(text.replace("Your Organization", "Their Organization"))
    assert reason(begin(sandbox, "Edited")) == Reason.JOURNAL_DAMAGED


def test_a_second_run_at_the_same_time_is_told_who_has_it(sandbox: Sandbox) -> None:
    first = begin(sandbox, "Busy")
    with first.credential.lock():
        record = run(begin(sandbox, "Busy"))
    assert record.error is not None
    assert (record.error["reason"], record.error["exit"]) == (Reason.BUSY, Exit.BUSY)
    assert str(os.getpid()) in record.error["what"]
    assert run(begin(sandbox, "Busy")).error is None


def test_a_certificate_for_another_key_is_never_put_into_use(sandbox: Sandbox) -> None:
    other = begin(sandbox, "Of another key")
    other.perform("generate-key-and-csr")
    other.perform("request-certificate")
    procedure = begin(sandbox, "Gets the wrong one")
    procedure.perform("generate-key-and-csr")
    procedure.perform("request-certificate")
    shutil.copy(other.credential.staging(1) / "response.json", procedure.credential.staging(1) / "response.json")
    assert reason(begin(sandbox, "Gets the wrong one")) == Reason.KEY_MISMATCH
    assert procedure.credential.current() is None
    assert states(procedure)[-1] is State.ABANDONED
    # what the server was told to disable is the certificate that nobody can use with our key
    assert not next(one for one in sandbox.admin("GET", "/certificates") if one["name"] == "Of another key")["enabled"]
