"""A rotation run by a scheduler, once a simulated day: one true report for each.

Bounded to the days on which something is decided; RUNBOOK_SOAK=1 runs all 100.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import iso, parse_utc
from runbook_lib.result import MIME, Status
from runbook_lib.words import date_words
from tests.conftest import Sandbox
from tests.soak import SOAK

pytestmark = pytest.mark.slow

NAME = "Daily"
BEGIN, DISABLE, OUTAGE, RETIRE = 10, 11, 14, 18
"""Days, counted from the first run: due; the overlap of 1 day is over; nobody answers; the grace of 7 days is over."""
DAYS = range(100) if SOAK else (9, BEGIN, DISABLE, OUTAGE, 15, RETIRE, 19)
LOST_ANSWER = [{"fault": "drop_after", "method": "POST", "path": "*/client-auth-certificate", "nth": 1}]
NOBODY_ANSWERS = [{"fault": "html_page"}]


@dataclass(frozen=True)
class Expected:
    """What a day's report must say, and what the sandbox must have seen on that day."""

    progress: str
    exit: Exit
    status: Status = Status.DONE
    verdict: str = "nothing to do"
    reason: str = ""
    posts: int = 0
    puts: int = 0
    following: str = "Start"
    enabled: tuple[str, ...] = ()


def expected(day: int) -> Expected:
    old, new = NAME, f"{NAME} 0003"  # 0002 was issued, but the response was lost
    if day < BEGIN:
        return Expected("nothing due", Exit.NOTHING_DUE, enabled=(old,))
    if day == BEGIN:
        return Expected(
            "progressed", Exit.PROGRESSED, verdict="ok", posts=2, puts=1,
            following="Disable the old certificate", enabled=(old, new),
        )  # fmt: skip
    if day == OUTAGE:
        return Expected("", Exit.CHECK_FAILED, Status.FAILED, "failed", Reason.SERVER_ERROR, enabled=(new,))
    if day == DISABLE:
        return Expected(
            "progressed", Exit.PROGRESSED, verdict="ok", puts=1, following="Delete the old key", enabled=(new,)
        )
    if day < RETIRE:
        return Expected("waiting", Exit.WAITING, following="Delete the old key", enabled=(new,))
    if day == RETIRE:
        return Expected("finished", Exit.DONE, verdict="ok", following="Start the next rotation", enabled=(new,))
    return Expected("nothing due", Exit.NOTHING_DUE, following="Start the next rotation", enabled=(new,))


@dataclass
class Scheduler:
    """Runs `runbook run` on a sandbox whose clock it moves."""

    sandbox: Sandbox
    archive: Path
    home: Path
    seen: int = 0
    bags: list[Path] = field(default_factory=list)

    def run(self, job: str, *more: str) -> tuple[int, Path]:
        """The exit code and the bag, which must be the only new one."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("DIGICERT_", "JUPYTER"))}
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "runbook_lib.cli", "run", job, "--archive", str(self.archive)),
                *("-p", "name", NAME, "-p", "confirm", NAME, *more),
            ],
            env=environ | self.sandbox.env | {"HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in ran.stderr
        bags = sorted(path.parent for path in self.archive.rglob("bagit.txt"))
        (bag,) = set(bags) - set(self.bags)
        assert ran.stdout.splitlines()[-1] == str(bag)
        self.bags = bags
        return ran.returncode, bag

    def day(self, now: datetime) -> tuple[int, Path]:
        self.sandbox.admin("PUT", "/clock", {"now": iso(now)})
        return self.run("rotate", "-p", "clock", iso(now), "--exit-detail")

    def requests(self) -> list[dict[str, Any]]:
        """What the sandbox saw since the last call."""
        new: list[dict[str, Any]] = self.sandbox.admin("GET", f"/requests?after={self.seen}")
        self.seen += len(new)
        return new

    def enabled(self) -> tuple[str, ...]:
        return tuple(sorted(one["name"] for one in self.sandbox.admin("GET", "/certificates") if one["enabled"]))


@pytest.fixture
def scheduler(fresh_sandbox: Callable[..., Sandbox], tmp_path: Path) -> Iterator[Scheduler]:
    sandbox = fresh_sandbox()
    home = tmp_path / "home"
    home.mkdir()
    yield Scheduler(sandbox, tmp_path / "archive", home)


def report(bag: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[list[str]]]:
    """run.json, the records in the notebook, and the next steps (empty if the run did not get that far)."""
    run = json.loads((bag / "data" / "run.json").read_text(encoding="utf-8"))
    notebook = json.loads((bag / "data" / "run.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    records = [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]
    way = bag / "data" / "tables" / "path-2.csv"
    rows = list(csv.reader(way.read_text(encoding="utf-8").splitlines()))[1:] if way.exists() else []
    return run, records, rows


def changes_in(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests that asked for a change and had an effect."""
    return [one for one in requests if one["method"] in ("POST", "PUT") and one["effect"]]


def assert_true(bag: Path, day: Expected, now: datetime, code: int, requests: list[dict[str, Any]]) -> None:
    run, records, way = report(bag)
    outcome = {one: run[one] for one in ("status", "verdict", "progress", "exit")}
    # run.json holds the run's own exit code; --exit-detail is the caller's choice
    plain = day.exit if day.status is Status.FAILED else Exit.DONE
    assert outcome == {"status": day.status, "verdict": day.verdict, "progress": day.progress, "exit": plain}
    assert code == day.exit
    assert (run["error"] or {}).get("reason", "") == day.reason
    assert {one["started"] for one in records if one["record"] == "step"} == {iso(now)}
    words = (bag / "data" / "report.html").read_text(encoding="utf-8")
    assert day.progress in words
    as_of = f'<time datetime="{iso(now)}" title="{iso(now)}">{date_words(now)}</time> (set by the parameter'
    assert as_of in words or day.status is Status.FAILED
    seen = changes_in(requests)
    assert [one["method"] for one in seen].count("POST") == day.posts
    assert [one["method"] for one in seen].count("PUT") == day.puts
    done = {one["step"] for one in records if one["record"] == "step" and one["result"]}
    acted = {one["step"] for one in records if one.get("kind") == "change" and one["result"]["verdict"] == "ok"}
    assert bool(acted & {"issue-beside", "disable-old"}) == bool(seen)
    if day.status is Status.DONE:
        assert len(done) == 11
        assert [row[0] for row in way if row[1] == "next"] == [day.following]
    else:
        assert way == []


@pytest.mark.timeout(0 if SOAK else 300)
def test_a_rotation_run_daily_archives_one_truthful_report_a_day(scheduler: Scheduler):
    code, bag = scheduler.run("issue", "-p", "key_kind", "p-256")
    assert code == Exit.DONE
    _, records, _ = report(bag)
    (issued,) = next(one["result"]["tables"] for one in records if one.get("step") == "request-certificate")
    ((ends,),) = ([row[issued["columns"].index("ends")]] for row in issued["rows"])
    due = parse_utc(ends) - timedelta(days=60)
    scheduler.requests()
    for number in DAYS:
        now = due + timedelta(days=number - BEGIN)
        rules = {BEGIN: LOST_ANSWER, OUTAGE: NOBODY_ANSWERS}.get(number, [])
        scheduler.sandbox.admin("PUT", "/faults", {"rules": rules, "seed": number})
        code, bag = scheduler.day(now)
        scheduler.sandbox.admin("DELETE", "/faults")
        assert_true(bag, expected(number), now, code, scheduler.requests())
        assert scheduler.enabled() == expected(number).enabled, number
    assert len(scheduler.bags) == len(DAYS) + 1
    for bag in scheduler.bags:
        for manifest in ("tagmanifest-sha256.txt", "manifest-sha256.txt"):
            subprocess.run(["sha256sum", "--check", "--quiet", manifest], cwd=bag, check=True)
    assert not list(Path(scheduler.sandbox.env["DIGICERT_ONE_STORE"]).rglob("0001/identity.p12"))


def test_a_report_that_tells_another_day_or_hides_a_change_would_be_noticed(scheduler: Scheduler):
    code, _ = scheduler.run("issue", "-p", "key_kind", "p-256")
    assert code == Exit.DONE
    scheduler.requests()
    now = parse_utc(scheduler.sandbox.admin("GET", "/clock")["now"]) + timedelta(days=1)
    code, bag = scheduler.day(now)
    requests = scheduler.requests()
    assert_true(bag, expected(0), now, code, requests)
    with pytest.raises(AssertionError):
        assert_true(bag, expected(0), now + timedelta(days=1), code, requests)
    with pytest.raises(AssertionError):
        assert_true(bag, expected(0), now, code, [*requests, {"method": "PUT", "effect": True}])
    with pytest.raises(AssertionError):
        assert_true(bag, expected(RETIRE), now, code, requests)
    forged = scheduler.archive.parent / "forged"
    shutil.copytree(bag, forged)
    run = forged / "data" / "run.json"
    run.write_text(run.read_text().replace('"nothing due"', '"progressed"'))
    assert subprocess.run(
        ["sha256sum", "--check", "--quiet", "manifest-sha256.txt"], cwd=forged, check=False
    ).returncode
