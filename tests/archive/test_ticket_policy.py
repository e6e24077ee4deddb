"""Which changes need a ticket, by the newest expectation of the archive."""

from __future__ import annotations

import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.archive import expectation
from runbook_lib.archive.expectation import declared_policy, ticket_refusal
from runbook_lib.archive.ticket_policy import TicketPolicy
from runbook_lib.catalogue import Exit, Reason
from runbook_lib.cli.root import run_words
from runbook_lib.errors import RunbookError
from tests.archive import bags
from tests.archive.bags import AT

CHANGE: dict[str, Any] = {"confirm": "", "environment": "production", "dry_run": False, "ticket": ""}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def declare(archive: Path, text: str, *, days: int = 0) -> Path:
    file = archive.with_name("expected.yaml")
    file.write_text(text, encoding="utf-8")
    place, _ = expectation.declare(archive, file, at=AT + timedelta(days=days), environ=bags.ENVIRON)
    return place.folder


def required(archive: Path, **values: Any) -> Reason | None:
    refusal = ticket_refusal(archive, CHANGE | values, {})
    return refusal.reason if refusal else None


def test_a_change_in_production_needs_a_ticket_and_with_one_it_may_run(archive: Path):
    declare(archive, "expected: []\nrequire_ticket: [production]\n")
    assert required(archive) is Reason.TICKET_MISSING
    assert required(archive, ticket="CHG-1") is None
    assert required(archive, ticket=4711) is None
    assert required(archive, ticket="  ") is Reason.TICKET_MISSING
    assert required(archive, environment="demo") is None
    refusal = ticket_refusal(archive, CHANGE, {})
    assert refusal is not None
    assert refusal.exit is Exit.USAGE


def test_a_dry_run_and_a_notebook_that_changes_nothing_need_none(archive: Path):
    declare(archive, "expected: []\nrequire_ticket: [production]\n")
    assert required(archive, dry_run="yes") is None  # as the notebook's own check reads it
    assert required(archive, dry_run="perhaps") is Reason.TICKET_MISSING
    assert ticket_refusal(archive, {"environment": "production"}, {}) is None


@pytest.mark.parametrize(
    "spelling",
    [
        "https://one.digicert.com",
        "https://ONE.digicert.com/",
        "https://one.digicert.com:443",
        "https://one.digicert.com.",
    ],
)
def test_another_spelling_of_the_host_is_the_same_environment(archive: Path, spelling: str):
    declare(archive, "expected: []\nrequire_ticket: [production]\n")
    assert required(archive, environment=spelling) is Reason.TICKET_MISSING
    variables = {"DIGICERT_ONE_URL": spelling}
    assert ticket_refusal(archive, CHANGE | {"environment": "configured"}, variables) is not None
    declare(archive, f"expected: []\nrequire_ticket: ['{spelling}']\n", days=1)
    assert required(archive) is Reason.TICKET_MISSING
    assert required(archive, environment="production-ch") is None


def test_a_notebook_that_takes_no_ticket_is_told_how_to_get_one(archive: Path):
    declare(archive, "expected: []\nrequire_ticket: [production]\n")
    refusal = ticket_refusal(archive, {name: value for name, value in CHANGE.items() if name != "ticket"}, {})
    assert refusal is not None
    assert "runbook init" in refusal.remedy


def test_a_sandbox_is_what_runs_on_this_machine():
    policy = TicketPolicy(("sandbox",))
    assert policy.requires("https://localhost:8443")
    assert not policy.requires("https://one.digicert.com")


def test_an_environment_that_cannot_be_known_needs_a_ticket_too(archive: Path):
    declare(archive, "expected: []\nrequire_ticket: [production]\n")
    assert required(archive, environment=None) is Reason.TICKET_MISSING
    assert required(archive, environment="prodution") is Reason.BAD_PARAMETER


def test_the_newest_expectation_holds_and_none_requires_nothing(archive: Path):
    assert required(archive) is None
    declare(archive, "expected: []\nrequire_ticket: [production]\n")
    declare(archive, "expected: []\nrequire_ticket: [demo]\n", days=-1)  # by a clock that was set back
    assert required(archive) is None
    assert required(archive, environment="demo") is Reason.TICKET_MISSING
    declare(archive, "expected: []\n", days=2)
    assert required(archive, environment="demo") is None


def test_a_policy_that_cannot_be_read_lets_no_change_pass_without_a_ticket(archive: Path):
    place = declare(archive, "expected: []\n")
    (place / "data" / "expectation.json").write_text("{")
    assert required(archive) is Reason.UNREADABLE_FILE
    assert required(archive, ticket="CHG-1") is None
    assert pickle.loads(pickle.dumps(declared_policy(archive))).requires("https://localhost")  # noqa: S301  (our own)


@pytest.mark.parametrize(
    "name", ["prodution", "configured", "http://one.digicert.com", "https://clientauth.one.digicert.com"]
)
def test_a_misspelt_environment_is_refused_because_it_would_require_nothing(archive: Path, name: str):
    with pytest.raises(RunbookError, match="must be one of sandbox, production") as refused:
        declare(archive, f"expected: []\nrequire_ticket: ['{name}']\n")
    assert refused.value.reason is Reason.BAD_PARAMETER


def test_the_command_says_where_changes_need_a_ticket(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "expected.yaml"
    file.write_text("expected: []\nrequire_ticket: [production, demo]\n")
    assert run_words(["archive", "expect", str(file), "--archive", str(archive)]) == 0
    assert "Changes need a ticket in: production, demo\n" in capsys.readouterr().out
    file.write_text("expected: []\n")
    assert run_words(["archive", "expect", str(file), "--archive", str(archive)]) == 0
    assert "Changes need a ticket in: no environment\n" in capsys.readouterr().out
