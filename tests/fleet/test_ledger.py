"""The ledger: whenever a batch is killed, no report is lost and none is sealed twice."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import bag, verify
from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import FixedClock
from runbook_lib.errors import RunbookError
from runbook_lib.fleet import run_batch
from runbook_lib.fleet.executors import BatchExecutor
from runbook_lib.fleet.file import Fleet, FleetAccount, Shard
from runbook_lib.fleet.ledger import Begun, Kept, Ledger
from runbook_lib.reports.job import Source
from runbook_lib.reports.outcome import RunOutcome
from runbook_lib.result import Status, Verdict
from tests.fleet.conftest import Bag

AT = datetime(2026, 11, 23, 6, 17, tzinfo=UTC)
NAME = "batch-night"
BEGUN = Begun(batch="one", at=AT)
FILES = {"run.json": b"{}\n", "report.html": b"<p>kept</p>", "tables/a.csv": b"a\r\n"}


class Silent:
    def begun(self, already: int) -> None: ...
    def ended(self, entry: Kept) -> None: ...
    def again(self, entry: Kept, seconds: float) -> None: ...
    def lost(self, account: str, why: str) -> None: ...
    def stopping(self, why: str, under_way: int) -> None: ...


class Killed(BaseException):
    """Raised by a test to kill a batch; our code does not catch it."""


def order(archive: Path, *accounts: str) -> run_batch.BatchOrder:
    return run_batch.BatchOrder(
        fleet=Fleet(accounts=tuple(FleetAccount(account=one) for one in accounts)),
        file=archive / "night.yaml",
        source=Source("nb.ipynb", b"{}", None),  # not a notebook: each run is refused at once
        name=NAME,
        job="nb",
        shard=Shard(),
        archive=archive,
        environ=dict(os.environ),
    )


def kept(wanted: run_batch.BatchOrder, account: str, *, attempt: int = 1, ended: bool = True) -> Kept:
    return Kept(
        account=account,
        slug=account,
        inputs=wanted.inputs(next(one for one in wanted.accounts if one.account == account)),
        attempt=attempt,
        ended=ended,
        run=str(uuid.uuid4()),
        status=Status.DONE,
        verdict=Verdict.OK,
        exit=0,
        needs_action=0,
        started=AT,
        duration=1.0,
        host="here",
        reason="",
        seen="All well.",
        files=tuple(FILES),
    )


@pytest.fixture
def engine() -> Iterator[BatchExecutor]:
    executor: Executor
    with ThreadPoolExecutor(2) as executor:
        yield BatchExecutor("local", executor, lambda: 2, lambda: None)


def batch(wanted: run_batch.BatchOrder, engine: BatchExecutor, at: datetime = AT) -> tuple[RunOutcome, Bag]:
    outcome = run_batch.run_batch(wanted, engine, clock=FixedClock(at), watch=Silent())
    return outcome, Bag(outcome.bag)


def test_what_is_kept_is_there_again_and_a_torn_line_counts_as_not_written(tmp_path: Path) -> None:
    wanted = order(tmp_path, "a", "b")
    with Ledger.held(tmp_path, NAME) as ledger:
        ledger.begin(BEGUN)
        ledger.keep(kept(wanted, "a"), FILES)
        ledger.keep(kept(wanted, "b"), FILES)
    path = tmp_path / ".batches" / NAME / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with Ledger.held(tmp_path, NAME) as ledger:
        assert [one.account for one in ledger.unsealed] == ["a"]
        assert ledger.begun == BEGUN
        ledger.keep(kept(wanted, "b"), FILES)
    with Ledger.held(tmp_path, NAME) as ledger:
        assert [one.account for one in ledger.unsealed] == ["a", "b"]


def test_other_parameters_or_a_lost_file_make_it_another_run(tmp_path: Path) -> None:
    wanted = order(tmp_path, "a")
    with Ledger.held(tmp_path, NAME) as ledger:
        ledger.begin(BEGUN)
        entry = kept(wanted, "a")
        ledger.keep(entry, FILES)
        assert ledger.done("a", entry.inputs) == entry
        assert ledger.done("a", "other") is None
    next((tmp_path / ".batches").rglob("report.html")).unlink()
    with Ledger.held(tmp_path, NAME) as ledger:
        assert ledger.done("a", entry.inputs) is None


def test_a_ledger_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".batches" / NAME).mkdir(parents=True)
    (tmp_path / ".batches" / NAME / "ledger.jsonl").write_text('{"line": "begun"}\n')
    with pytest.raises(RunbookError) as caught, Ledger.held(tmp_path, NAME):
        pass
    assert caught.value.reason is Reason.JOURNAL_DAMAGED
    assert "Line 1" in caught.value.what


def test_one_process_has_it_at_a_time(tmp_path: Path) -> None:
    with Ledger.held(tmp_path, NAME), pytest.raises(RunbookError) as caught, Ledger.held(tmp_path, NAME):
        pass
    assert caught.value.exit is Exit.BUSY


def test_what_a_killed_batch_kept_is_sealed_with_what_it_had_not_begun(tmp_path: Path, engine: BatchExecutor) -> None:
    wanted = order(tmp_path, "a", "b")
    with Ledger.held(tmp_path, NAME) as ledger:
        ledger.begin(BEGUN)
        ledger.keep(kept(wanted, "a"), FILES)
    outcome, found = batch(wanted, engine, AT + timedelta(hours=11))
    assert {name: row["status"] for name, row in found.rows.items()} == {"a": "done", "b": "refused"}
    assert (found.link["expected"], found.link["produced"]) == (2, 1)
    assert (outcome.status, outcome.exit) == (Status.FAILED, Exit.CHECK_FAILED)
    assert (found.place / "data/accounts/a/report.html").read_bytes() == FILES["report.html"]
    assert not (tmp_path / ".batches" / NAME / "kept").exists()


def test_after_twelve_hours_it_is_sealed_as_it_is_and_a_new_batch_begins(tmp_path: Path, engine: BatchExecutor) -> None:
    wanted = order(tmp_path, "a", "b")
    with Ledger.held(tmp_path, NAME) as ledger:
        ledger.begin(BEGUN)
        ledger.keep(kept(wanted, "a"), FILES)
    batch(wanted, engine, AT + timedelta(hours=12))
    old, new = (Bag(path.parent) for path in sorted(tmp_path.glob("2*/*/*/*/chain.json")))
    assert old.record["status"] == "interrupted"
    assert {name: row["status"] for name, row in old.rows.items()} == {"a": "done", "b": "missing"}
    assert {name: row["status"] for name, row in new.rows.items()} == {"a": "refused", "b": "refused"}
    assert verify.verify_archive(tmp_path).findings == ()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_it_seals_it_is_in_one_bag(
    tmp_path: Path, engine: BatchExecutor, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    wanted = order(tmp_path, "a", "b")
    with Ledger.held(tmp_path, NAME) as ledger:
        ledger.begin(BEGUN)
        ledger.keep(kept(wanted, "a"), FILES)
    real = bag.put

    def put(*words: object, **more: object) -> None:
        if moment == "after":
            real(*words, **more)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(bag, "put", put)
    with pytest.raises(Killed):
        batch(wanted, engine)
    monkeypatch.undo()
    batch(wanted, engine, AT + timedelta(hours=1))
    holding = list(tmp_path.glob("2*/*/*/*/data/accounts/a/report.html"))
    assert len(holding) == 1
    assert verify.verify_archive(tmp_path).findings == ()
    with Ledger.held(tmp_path, NAME) as ledger:
        assert (ledger.unsealed, ledger.begun) == ([], None)


def test_an_earlier_attempt_is_evidence_too(tmp_path: Path, engine: BatchExecutor) -> None:
    wanted = order(tmp_path, "a")
    with Ledger.held(tmp_path, NAME) as ledger:
        ledger.begin(BEGUN)
        ledger.keep(kept(wanted, "a", ended=False), FILES)
    _, found = batch(wanted, engine)
    assert (found.place / "data/accounts/a/attempt-1/report.html").is_file()
    assert found.json("data/accounts/a/run.json")["status"] == "refused"
    assert found.rows["a"]["attempts"] == "2"


def test_another_file_of_the_same_name_does_not_go_on_with_it(tmp_path: Path, engine: BatchExecutor) -> None:
    wanted = replace(order(tmp_path, "a", "b"), file=tmp_path / "one" / "night.yaml")
    wanted.file.parent.mkdir()
    wanted.file.touch()
    begun = Begun(batch="one", at=AT, file=str(wanted.file))
    with Ledger.held(tmp_path, NAME) as ledger:
        ledger.begin(begun)
        ledger.keep(kept(wanted, "a"), FILES)
    other = replace(wanted, file=tmp_path / "two" / "night.yaml")
    for at in (AT, AT + timedelta(days=2)):
        with pytest.raises(RunbookError) as caught:
            batch(other, engine, at)
        assert caught.value.exit is Exit.USAGE
        assert str(wanted.file) in caught.value.what
    wanted.file.unlink()  # the file was moved and is the same one
    _, found = batch(other, engine)
    assert {name: row["status"] for name, row in found.rows.items()} == {"a": "done", "b": "refused"}
    wanted.file.touch()
    _, found = batch(wanted, engine, AT + timedelta(hours=1))  # that batch has finished
    assert {row["status"] for row in found.rows.values()} == {"refused"}
    assert str(wanted.file) in found.page


def test_a_shard_without_accounts_leaves_a_bag_all_the_same(tmp_path: Path, engine: BatchExecutor) -> None:
    wanted = order(tmp_path, "a")
    empty = next(one for one in (Shard(1, 2), Shard(2, 2)) if not one.has("a"))
    outcome, found = batch(replace(wanted, shard=empty), engine)
    assert outcome.exit is Exit.DONE
    assert (found.link["expected"], found.link["produced"]) == (0, 0)
