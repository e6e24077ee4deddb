"""A night with many accounts: completed runs are in one bag, the others are listed, and nothing runs twice."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import nbformat
import pytest

from runbook_lib.catalogue import Exit
from runbook_lib.clock import parse_utc
from runbook_lib.fleet import rollup
from runbook_lib.fleet.ledger import Ledger
from runbook_lib.reports.job import Job, Source
from runbook_lib.reports.runrecord import RunRecord
from runbook_lib.result import Status
from runbook_lib.words import quantity
from tests.fleet.conftest import Bag, Fleet

Night = Callable[..., Fleet]


def _wait_for(fleet: Fleet, marks: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while sum(fleet.marks().values()) < marks:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def _every_account_once(fleet: Fleet, bags: list[Bag]) -> None:
    names = {one["account"] for one in fleet.accounts}
    assert fleet.marks() == Counter(names)
    assert sum((bag.accounts() for bag in bags), Counter()) == Counter(names)


def test_all_accounts_are_in_one_bag_each_with_its_own_pages(night: Night) -> None:
    fleet = night(3)
    code, bag, said = fleet.run()
    assert code == Exit.DONE, said
    assert fleet.bags() == [bag]
    assert (bag.link["status"], bag.link["expected"], bag.link["produced"]) == ("done", 3, 3)
    assert bag.record["job"] == "batch-night"
    assert {name: row["status"] for name, row in bag.rows.items()} == dict.fromkeys(("a0", "a1", "a2"), "done")
    for name, row in bag.rows.items():
        assert row["report"] == f"accounts/{name}/report.html"
        assert f'href="{row["report"]}"' in bag.page
        page = bag.place / "data" / row["report"]
        assert f"<dt>Account</dt><dd>{name}</dd>" in page.read_text(encoding="utf-8")
        assert json.loads(page.with_name("run.json").read_bytes())["account"] == name
    _every_account_once(fleet, [bag])
    assert fleet.holds() == []
    checked = ["sha256sum", "--check", "--strict", "--quiet", "tagmanifest-sha256.txt", "manifest-sha256.txt"]
    assert subprocess.run(checked, cwd=bag.place).returncode == 0
    assert "3 of 3" in said


def test_the_next_night_every_account_is_run_again(night: Night) -> None:
    fleet = night(1)
    assert [fleet.run()[0] for _ in range(2)] == [Exit.DONE, Exit.DONE]
    assert fleet.marks() == {"a0": 2}
    assert [bag.link["expected"] for bag in fleet.bags()] == [1, 1]


def test_a_batch_in_which_some_failed_says_so_and_the_others_are_done(night: Night) -> None:
    fleet = night(2)
    fleet.accounts[1]["fails"] = True
    code, bag, said = fleet.run()
    assert code == Exit.CHECK_FAILED
    assert (bag.link["status"], bag.link["expected"], bag.link["produced"]) == ("failed", 2, 1)
    assert bag.record["error"]["reason"] == "accounts_failed"
    assert bag.rows["a1"]["reason"] == "notebook_error"
    assert "a1 is not well" in bag.rows["a1"]["seen"]
    assert "a1 is not well" in bag.page
    assert "a1: failed" in said


def test_an_account_s_run_does_not_have_the_secrets_of_the_others(night: Night) -> None:
    fleet = night(2)
    for one in fleet.accounts:
        one["api_key"] = f"env:KEY_{one['account'].upper()}"
    code, bag, said = fleet.run(env={"KEY_A0": "the-secret-of-a0", "KEY_A1": "the-secret-of-a1", "KEY_ALL": "shared"})
    # it has its own and prints it; that is found and withheld
    assert {row["status"] for row in bag.rows.values()} == {"withheld"}, said
    assert code == Exit.CHECK_FAILED
    assert [path for path in bag.place.rglob("*") if path.is_file() and b"the-secret-of" in path.read_bytes()] == []


def test_ctrl_c_seals_what_is_done_and_the_second_run_does_only_the_rest(night: Night) -> None:
    fleet = night(6, seconds=1.0)
    process = fleet.start()
    _wait_for(fleet, 3, process)
    process.send_signal(signal.SIGINT)
    code, first, said = fleet.ended(process)
    assert code == Exit.UNEXPECTED
    assert first.record["status"] == "interrupted"
    assert first.record["error"]["reason"] == "accounts_missing"
    assert "SIGINT arrived: no new runs start" in said
    done = {name for name, row in first.rows.items() if row["status"] == "done"}
    missing = {name for name, row in first.rows.items() if row["status"] == "missing"}
    assert len(done) >= 2
    assert len(missing) >= 1
    assert done | missing == {f"a{number}" for number in range(6)}
    assert (first.link["expected"], first.link["produced"]) == (6, len(done))

    code, second, said = fleet.run()
    assert code == Exit.DONE, said
    assert f"{quantity(len(done), 'account')} finished earlier" in said
    assert (second.link["expected"], second.link["produced"]) == (len(missing), len(missing))
    assert set(second.accounts()) == missing
    for name in done:  # the second bag says where the others are
        assert second.rows[name]["bag"] == str(first.place.relative_to(fleet.archive))
        assert (second.place / "data" / second.rows[name]["report"]).resolve().is_file()
    _every_account_once(fleet, [first, second])
    assert fleet.holds() == []
    assert fleet.run()[0] == Exit.DONE  # a new night
    assert fleet.marks() == Counter({f"a{number}": 2 for number in range(6)})


def test_a_killed_batch_loses_nothing_that_was_done(night: Night) -> None:
    fleet = night(4, seconds=0.5)
    process = fleet.start()
    _wait_for(fleet, 4, process)  # the first two are in the ledger
    process.kill()
    process.communicate()
    time.sleep(3)  # its child processes notice that it is gone
    code, bag, said = fleet.run()
    assert code == Exit.DONE, said
    assert "finished earlier" in said
    left_over, whole = fleet.bags()
    assert whole == bag
    assert left_over.record["status"] == "interrupted"
    assert (bag.link["expected"], bag.link["produced"]) == (4, 4)
    assert bag.accounts() == Counter({f"a{number}": 1 for number in range(4)})
    marks = fleet.marks()
    assert sum(count == 1 for count in marks.values()) >= 2, marks
    assert fleet.holds() == []


def test_the_batch_s_own_deadline_leaves_the_rest_for_the_next_run(night: Night) -> None:
    fleet = night(5, seconds=2.0, deadline=4)
    code, first, said = fleet.run()
    assert code == Exit.UNEXPECTED
    assert first.record["status"] == "timed out"
    assert "the batch's deadline of 4 s passed" in said
    fleet.settings["deadline"] = 120
    fleet.settings["parameters"]["seconds"] = 2.0
    code, second, said = fleet.run()
    assert code == Exit.DONE, said
    _every_account_once(fleet, [first, second])


def test_two_processes_do_not_work_on_one_batch(night: Night) -> None:
    fleet = night(1)
    with Ledger.held(fleet.archive, "batch-night"):
        other = subprocess.run(fleet.command(), capture_output=True, text=True)
    assert other.returncode == Exit.BUSY
    assert "Another process runs the batch" in other.stderr
    assert fleet.marks() == {}
    assert fleet.run()[0] == Exit.DONE


def test_shards_share_an_archive_and_an_account_is_in_one(night: Night) -> None:
    fleet = night(4)
    bags = [fleet.run("--shard", f"{number}/2")[1] for number in (1, 2)]
    assert [bag.record["job"] for bag in bags] == ["batch-night-1-of-2", "batch-night-2-of-2"]
    assert "1 of 2; 4 accounts in all parts" in bags[0].page
    _every_account_once(fleet, bags)
    assert fleet.holds() == []


def test_a_file_with_a_mistake_runs_nothing(night: Night) -> None:
    fleet = night(2)
    fleet.accounts[1] = fleet.accounts[0]
    done = subprocess.run(fleet.command(), capture_output=True, text=True)
    assert done.returncode == Exit.USAGE
    assert "the same account as in line" in done.stderr
    assert not fleet.archive.exists()


def test_an_account_whose_outcome_is_unknown_is_what_the_next_run_does(night: Night) -> None:
    fleet = night(2, retries=0)
    fleet.accounts[1]["fails"] = True
    nb = nbformat.read(fleet.folder / "mark.ipynb", as_version=4)
    unknown = 'RunbookError(Reason.OUTCOME_UNKNOWN, "no answer came")'
    nb.cells[-1].source = nb.cells[-1].source.replace('ValueError(f"{account} is not well")', unknown)
    nb.cells[-1].source = "from runbook_lib.errors import Reason, RunbookError\n" + nb.cells[-1].source
    nbformat.write(nb, fleet.folder / "mark.ipynb")
    code, first, said = fleet.run()
    assert code == Exit.OUTCOME_UNKNOWN, said
    assert {name: row["status"] for name, row in first.rows.items()} == {"a0": "done", "a1": "missing"}
    assert "the outcome of its request is unknown" in first.rows["a1"]["seen"]
    code, second, said = fleet.run()  # as the remedy says; only this account runs again
    assert code == Exit.OUTCOME_UNKNOWN, said
    assert fleet.marks() == {"a0": 1, "a1": 2}
    assert (second.link["expected"], second.link["produced"]) == (1, 0)


def test_a_secret_among_the_parameters_of_all_is_not_in_the_batch_s_own_record(night: Night) -> None:
    fleet = night(1)
    fleet.settings["parameters"] |= {"api_key": "env:KEY_ALL", "comment": "with --token the-secret-of-all"}
    _, bag, said = fleet.run(env={"KEY_ALL": "the-secret-of-all"})
    assert bag.record["parameters"]["comment"] == "with --token [withheld: env:KEY_ALL]", said
    assert [path for path in bag.place.rglob("*") if path.is_file() and b"the-secret-of" in path.read_bytes()] == []


def test_an_account_cut_off_twice_has_its_report_in_the_first_bag(night: Night) -> None:
    fleet = night(2, seconds=60)
    for number in range(2):
        process = fleet.start("--jobs", "1")
        _wait_for(fleet, number + 1, process)
        for _ in range(2):  # the second cuts off the runs in progress
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        fleet.ended(process)
        fleet.accounts.reverse()
    for bag in fleet.bags():
        assert {row["status"] for row in bag.rows.values()} == {"missing"}
        for row in bag.rows.values():
            assert not row["report"] or (bag.place / "data" / row["report"]).resolve().is_file(), row
        assert (bag.link["expected"], bag.link["produced"]) == (2, 0)


def test_what_cannot_be_drawn_runs_once_and_its_account_is_done(night: Night) -> None:
    fleet = night(2)
    notebook = fleet.file.parent / "mark.ipynb"
    nb = nbformat.read(notebook, as_version=4)
    nb.cells.append(nbformat.v4.new_markdown_cell("![x](attachment:missing.png)"))
    nbformat.write(nb, notebook)
    code, bag, said = fleet.run()
    assert code == Exit.DONE, said
    assert [row["status"] for row in bag.rows.values()] == ["done", "done"]
    _every_account_once(fleet, [bag])
    record = json.loads((bag.place / "data/accounts/a0/run.json").read_bytes())
    assert "missing.png" in " ".join(record["not_drawn"].values())


def test_a_batch_whose_own_page_cannot_be_drawn_has_a_bare_one(monkeypatch: pytest.MonkeyPatch) -> None:
    at = parse_utc("2026-11-28T12:00:00Z")
    started = Job(Source("nb.ipynb", b"", None), "batch-night", {}).started(at)
    record = RunRecord.of(started, status=Status.DONE, error=None, finished=at, clock="test")
    monkeypatch.setattr(rollup, "batch_page", lambda *_: 1 / 0)
    told, page = rollup.drawn(record, [], {})
    assert told.not_drawn == {"the accounts": "ZeroDivisionError: division by zero"}
    assert told.status is Status.DONE
    assert "Not shown: the accounts" in page
