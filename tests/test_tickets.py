"""An archive whose policy requires a ticket: changes without one are refused before any request, headless and batch."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from bs4 import BeautifulSoup

from runbook_lib.archive.expectation import declare
from runbook_lib.archive.verify import verify_archive
from runbook_lib.catalogue import Exit
from runbook_lib.clock import SystemClock
from runbook_lib.notebooks import find_notebook
from runbook_lib.reports.runrecord import Engine
from runbook_lib.runner import RunOutcome, Status, run_notebook
from tests.conftest import Sandbox
from tests.reports.reading import record

RUNBOOK = Path(sys.executable).with_name("runbook")
NOTE: dict[str, Any] = {"ticket": "CHG-4711", "change_reason": "The old one ends.", "approved_by": "Ada Lovelace"}


class Desk:
    """A sandbox, an archive and a store."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder, self.sandbox, self.archive = folder, sandbox, folder / "archive"
        self.environ = {**os.environ, **sandbox.env, "DIGICERT_ONE_P12_PASSWORD": "LettersAndDigits0nlyAndManyOfThem"}

    def require(self, *environments: str) -> None:
        file = self.folder / "expected.yaml"
        file.write_text(yaml.safe_dump({"expected": [], "require_ticket": list(environments)}), encoding="utf-8")
        declare(self.archive, file, at=SystemClock().now(), environ={})

    def given(self, **more: Any) -> dict[str, Any]:
        name = more.get("name", "Ticketed")
        own = {"mode": "headless", "name": name, "confirm": name, "store": str(self.folder / "store")}
        return own | {"key_kind": "p-256", "allow_outage_of": name} | more

    def run(self, job: str, engine: Engine | None = None, **more: Any) -> RunOutcome:
        path, name = find_notebook(job)
        given = self.given(**more)
        return run_notebook(
            path, given, job=name, archive=self.archive, clock=SystemClock(), environ=self.environ, engine=engine
        )

    def requests(self) -> int:
        return len(self.sandbox.admin("GET", "/requests"))


@pytest.fixture
def desk(tmp_path: Path, fresh_sandbox: Callable[..., Sandbox]) -> Desk:
    return Desk(tmp_path, fresh_sandbox())


@pytest.mark.parametrize("engine", [None, pytest.param("papermill", marks=pytest.mark.soak)])
def test_a_headless_change_without_a_ticket_is_refused_before_any_request_and_runs_with_one(
    desk: Desk, engine: Engine | None
) -> None:
    desk.require(desk.sandbox.url, "production")
    tried = [("access", "sandbox"), ("rotate", "sandbox"), ("issue", "configured"), ("issue", desk.sandbox.url)]
    for job, environment in [*tried, ("issue", "production"), ("issue", "https://one.digicert.com:443")]:
        refused = desk.run(job, engine, environment=environment)
        assert (refused.status, refused.exit) == (Status.REFUSED, Exit.USAGE)
        assert record(refused.bag)["error"]["reason"] == "ticket_missing"
    assert desk.requests() == 0
    assert desk.run("issue", engine, dry_run=True).verdict == "planned"
    assert desk.run("inventory", engine).exit is Exit.DONE
    done = desk.run("issue", engine, **NOTE)
    assert done.status is Status.DONE, done.error
    assert {name: record(done.bag)[name] for name in NOTE} == NOTE
    assert verify_archive(desk.archive).findings == ()


def test_a_ticket_stands_in_the_report_and_in_the_index_and_a_change_without_one_says_so(desk: Desk) -> None:
    def shown(bag: Path) -> dict[str, str]:
        page = BeautifulSoup((bag / "data" / "report.html").read_text(encoding="utf-8"), "html.parser")
        return {dt.get_text(): dt.find_next("dd").get_text() for dt in page.select("header dt")}  # type: ignore[union-attr]

    with_one, without = desk.run("issue", name="One", **NOTE), desk.run("issue", name="Two")
    assert with_one.status is without.status is Status.DONE
    heads = shown(with_one.bag), shown(without.bag)
    assert [heads[0][label] for label in ("Ticket", "Reason for change", "Approved by")] == list(NOTE.values())
    assert heads[1]["Ticket"] == "none"
    assert "Approved by" not in heads[1]
    index = BeautifulSoup((desk.archive / "index.html").read_text(encoding="utf-8"), "html.parser")
    column = [th.get_text() for th in index.select("thead th")].index("Ticket")
    tickets = [row.find_all(["th", "td"])[column].get_text() for row in index.select("tbody tr")]
    assert tickets == ["CHG-4711", ""]
    looked = desk.run("inventory")
    assert record(looked.bag)["ticket"] is None
    assert "Ticket" not in shown(looked.bag)


def test_a_ticket_that_is_a_secret_is_withheld_like_every_other_parameter(desk: Desk) -> None:
    found = desk.run("issue", **NOTE | {"approved_by": desk.sandbox.api_key})
    assert found.status in (Status.REFUSED, Status.WITHHELD)
    for path in found.bag.rglob("*"):
        assert not path.is_file() or desk.sandbox.api_key.encode() not in path.read_bytes()


def test_in_a_batch_an_account_without_a_ticket_is_refused_before_any_request_and_the_others_run(desk: Desk) -> None:
    desk.require(desk.sandbox.url)
    accounts: list[dict[str, Any]] = [{"account": name, "name": name, "confirm": name} for name in ("one", "two")]

    def batch() -> tuple[int, Path]:
        fleet = {"notebook": "issue", "parameters": desk.given(environment="sandbox"), "accounts": accounts}
        file = desk.folder / "changes.yaml"
        file.write_text(yaml.safe_dump(fleet), encoding="utf-8")
        command: list[str | Path] = [RUNBOOK, "batch", file, "--archive", desk.archive, "--jobs", "1"]
        done = subprocess.run(command, env=desk.environ, capture_output=True, text=True, check=False)
        return done.returncode, Path(done.stdout.splitlines()[-1])

    def rows(bag: Path) -> dict[str, dict[str, str]]:
        with (bag / "data/tables/accounts.csv").open(newline="", encoding="utf-8") as stream:
            return {row["account"]: row for row in csv.DictReader(stream)}

    code, bag = batch()
    assert code == Exit.CHECK_FAILED
    assert {name: (row["status"], row["reason"]) for name, row in rows(bag).items()} == dict.fromkeys(
        ("one", "two"), ("refused", "ticket_missing")
    )
    assert desk.requests() == 0
    accounts[0] |= NOTE
    code, bag = batch()
    assert code == Exit.CHECK_FAILED
    found = rows(bag)
    assert [found[name]["status"] for name in ("one", "two")] == ["done", "refused"]
    assert {name: found["one"][name] for name in NOTE} == NOTE
    assert json.loads((bag / "data/run.json").read_bytes())["ticket"] == NOTE["ticket"]
    assert NOTE["ticket"] in (bag / "data/report.html").read_text(encoding="utf-8")
    accounts[1] |= {"ticket": 4712}  # YAML reads it as a number
    code, bag = batch()
    assert code == Exit.DONE
    assert json.loads((bag / "data/run.json").read_bytes())["ticket"] == "CHG-4711, 4712"
    assert verify_archive(desk.archive).findings == ()
