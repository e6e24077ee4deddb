"""run.json records who, what, where, when and how; its published schema is what the code writes.

`reading.record` holds every run.json that the tests of this room read against the schema: done, failed, timed out,
killed, interrupted, refused, withheld.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import ValidationError

from runbook_lib.archive import interrupted
from runbook_lib.clock import SystemClock
from runbook_lib.reports.outcome import RunOutcome
from runbook_lib.reports.runrecord import SCHEMA, Commit, RunRecord, SecretSource, json_schema
from runbook_lib.result import Status
from runbook_lib.runner import run_notebook
from tests.archive.bags import AT, put, started
from tests.conftest import Sandbox
from tests.notebook_runs import RECORDS
from tests.reports import reading

ROOT = Path(__file__).parents[2]
Run = Callable[..., RunOutcome]
SINCE = ("defaults", "secrets", "target", "seen", "lock_sha256")
"""Fields that were added to version 1 later."""


def test_the_published_schema_is_that_of_the_code() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == json_schema(), (
        "Run: .venv/bin/python -m runbook_lib.reports.runrecord > runbook_lib/reports/templates/run.schema.json"
    )


def test_every_archive_holds_the_schema_of_its_records(tmp_path: Path) -> None:
    put(tmp_path / "archive")
    assert (tmp_path / "archive/run.schema.json").read_text(encoding="utf-8") == json_schema()


def test_an_inventory_tells_who_what_where_when_and_how(sandbox: Sandbox, archive: Path) -> None:
    outcome = run_notebook(
        ROOT / "notebooks/04_inventory.ipynb",
        {"mode": "headless", "due_days": 45},
        job="inventory",
        archive=archive,
        clock=SystemClock(),
        environ={**_path(), **sandbox.env},
    )
    assert outcome.status is Status.DONE, outcome.error
    record = reading.record(outcome.bag)
    me = sandbox.users()["ordinary"]
    assert record["who"]["user"]
    assert [user["id"] for user in record["seen"]["service_users"]] == [me["id"]]
    assert record["target"]["api_url"] == sandbox.url
    assert record["target"]["trust"]["sha256"] == _sha256(sandbox.ca_file)
    assert {one["url"] for one in record["seen"]["connections"]} == {sandbox.url}
    assert record["notebook"]["sha256"] == _sha256(ROOT / "notebooks/04_inventory.ipynb")
    assert record["notebook"]["git"]["commit"] == _git("rev-parse", "HEAD")
    assert record["lock_sha256"] == _sha256(ROOT / "requirements.lock")
    assert record["parameters"] == {"mode": "headless", "due_days": 45}
    assert (record["defaults"]["environment"], record["defaults"]["urgent_days"]) == ("sandbox", 30)
    assert record["secrets"] == [
        {"parameter": "api_key", "kind": "env", "reference": "env:DIGICERT_ONE_API_KEY"},
    ]
    assert abs(record["seen"]["clock_ahead"]) < 10
    page = reading.page(outcome.bag)
    for shown in (sandbox.url, me["id"], record["lock_sha256"], record["seen"]["connections"][0]["sha256"]):
        assert shown in page
    assert sandbox.api_key not in json.dumps(record)


def test_a_run_that_fails_later_has_told_by_then_whom_it_talked_to(run: Run) -> None:
    user = '(ServiceUser(id="u-1", name="Caf\\u00e9 <b>", accounts=("A",)),)'
    outcome = run(
        RECORDS.replace("error=error.as_dict()", f"seen=Seen(service_users={user}), error=error.as_dict()"),
        'step("look", error=RunbookError(Reason.UNREACHABLE, "Nobody."))\n1/0',
    )
    record = reading.record(outcome.bag)
    assert (outcome.status, record["target"]) == (Status.FAILED, None)
    assert record["seen"]["service_users"] == [{"id": "u-1", "name": "Café <b>", "accounts": ["A"]}]
    assert "Café &lt;b&gt;" in reading.page(outcome.bag)


def test_what_a_foreign_notebook_does_not_tell_is_null(run: Run) -> None:
    record = reading.record(run("1 + 1", parameters='p = 1\nkey = "file:~/key"\nodd = b"\\xff"\nmade = p + 1').bag)
    assert (record["target"], record["seen"], record["records"]) == (None, None, False)
    assert record["secrets"] == [{"parameter": "key", "kind": "file", "reference": "file:~/key"}]
    assert record["defaults"] == {"p": 1, "key": "file:~/key", "odd": "_w==", "made": None}
    assert record["lock_sha256"]


def test_a_run_that_was_killed_says_null_and_not_what_is_likely(tmp_path: Path) -> None:
    commit = Commit(commit="0" * 40, dirty=True)
    known = started().model_copy(update={"git": commit, "lock_sha256": "1" * 64, "fault_seed": "7"})
    told = interrupted.record(known, AT).model_dump(mode="json")
    reading.validator().validate(told)
    unknown = ("defaults", "secrets", "target", "seen", "engine")
    assert {name: told[name] for name in unknown} == dict.fromkeys(unknown)
    assert (told["notebook"]["git"]["dirty"], told["lock_sha256"], told["fault_seed"]) == (True, "1" * 64, "7")


def test_a_secret_in_what_the_server_named_is_redacted(run: Run, archive: Path) -> None:
    canary = secrets.token_urlsafe(24)
    seen = 'seen=Seen(service_users=(ServiceUser(id="u", name=os.environ["CANARY"], accounts=()),))'
    outcome = run(
        "import os\n" + RECORDS.replace("result=result", f"{seen}, result=result"),
        'step("look", Result(verdict=Verdict.OK, headline="Fine"))',
        given={"api_key": "env:CANARY"},
        parameters='api_key = ""',
        env={"CANARY": canary},
    )
    assert outcome.status is Status.WITHHELD
    assert reading.record(outcome.bag)["seen"]["service_users"][0]["name"] == "[withheld: env:CANARY]"
    assert reading.holds(archive, canary) == []


def test_references_are_found_wherever_parameters_hold_them() -> None:
    found = SecretSource.among({"a": {"b": ["keyring:s/u", "text"]}, "c": "prompt:", "n": 1})
    assert [(one.parameter, one.kind, one.reference) for one in found] == [
        ("a.b.0", "keyring", "keyring:s/u"),
        ("c", "prompt", "prompt:"),
    ]


@pytest.mark.parametrize("text", ["\ud800", {"x": ["\udcff"]}])
def test_a_parameter_that_is_no_text_is_refused_and_the_refusal_archived(run: Run, text: Any) -> None:
    outcome = run("print('never')", given={"q": text})
    assert outcome.status is Status.REFUSED
    assert "Not UTF-8 text: the value of 'q'." in reading.record(outcome.bag)["error"]["what"]


def test_a_number_that_is_none_is_no_reason_to_refuse(run: Run) -> None:
    assert run("1", given={"q": float("nan")}).status is Status.DONE


def test_rows_that_nobody_checked_are_counted(run: Run) -> None:
    rows = '(("a", "unchecked"), ("unchecked", "ok"), ("b", "unchecked"))'
    table = f'Table(name="seen", title="Seen", columns=("name", "state"), rows={rows})'
    outcome = run(RECORDS, f'step("look", Result(verdict=Verdict.OK, headline="x", tables=({table},)))')
    assert [(one["rows"], one["unchecked"]) for one in reading.record(outcome.bag)["tables"]] == [(3, 2)]


def test_a_record_from_before_a_field_was_added_is_read_and_fits_the_schema(run: Run) -> None:
    record = reading.record(run("1").bag)
    old = {name: value for name, value in record.items() if name not in SINCE}
    reading.validator().validate(old)
    assert RunRecord.model_validate(old).target is None
    later = {**record, "of a later version": 1}
    reading.validator().validate(later)
    assert RunRecord.model_validate(later).run == record["run"]


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"status": "fine"},
        {"started": "yesterday"},
        {"exit": "0"},
        {"who": {"user": "x"}},
        {"seen": {"clock_ahead": "late"}},
        {"target": {"environment": "x"}},
        {"secrets": [{"parameter": "p", "kind": "plain", "reference": "hunter2"}]},
    ],
)
def test_the_schema_refuses_what_is_none(change: dict[str, Any]) -> None:
    good = interrupted.record(started(), AT).model_dump(mode="json")
    with pytest.raises(ValidationError):
        reading.validator().validate(good | change)
    for name in ("run", "status", "started", "steps"):
        with pytest.raises(ValidationError):
            reading.validator().validate({key: value for key, value in good.items() if key != name})


def _path() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
