"""What is missing is shown as plainly as what is there: nights, accounts, unchecked rows, late and failed runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import tables
from runbook_lib.archive import bound, chain, entries, interrupted, tombstones
from runbook_lib.archive.excerpt import export_excerpt
from runbook_lib.archive.expectation import declarations, declare, read_expectation
from runbook_lib.archive.seal import Place
from runbook_lib.archive.verify import verify_archive
from runbook_lib.audit.completeness import Completeness, DeviationKind, completeness, spans
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.reports.runrecord import TableFile
from runbook_lib.result import Seen, ServiceUser, Status, Table, Target, Trust, Verdict
from tests.archive.bags import AT, ENVIRON, places, put, sign, started

DAY = timedelta(days=1)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
SAMPLE = Path(__file__).parents[2] / "parameters/expected/nightly.yaml"


def expect(archive: Path, *expected: dict[str, Any], at: datetime = FIRST - DAY) -> Place:
    file = archive.parent / "expected.json"  # JSON is YAML
    file.write_text(json.dumps({"expected": expected}))
    return declare(archive, file, at=at, environ=ENVIRON)[0]


def nightly(**more: Any) -> dict[str, Any]:
    return {"job": "inventory", "from": "2026-11-01", **more}


def run(
    archive: Path,
    at: datetime,
    *,
    job: str = "inventory",
    status: Status = Status.DONE,
    verdict: Verdict = Verdict.OK,
    users: Sequence[str] = (),
    environment: str = "",
    unchecked: int = 0,
    batch: Sequence[tuple[str, str, str]] = (),
    more_files: Mapping[str, bytes] | None = None,
    **more: Any,
) -> Place:
    """A bag as a run leaves it. `batch`: account, status and verdict of each account, each with its own run.json."""
    table = TableFile(file="tables/a.csv", title="A", rows=9, sha256="0" * 64, unchecked=unchecked)
    url = f"https://{environment}.example"
    target = Target(environment=environment, api_url=url, clientauth_url=url, trust=_TRUST) if environment else None
    record = interrupted.record(started(job, at), at).model_copy(
        update={
            "status": status,
            "verdict": verdict,
            "finished": at + timedelta(seconds=60),
            "duration": 60.0,
            "tables": (table,),
            "target": target,
            "seen": Seen(service_users=tuple(ServiceUser(id=one, name=f"User {one}", accounts=()) for one in users)),
            **more,
        }
    )
    files = {"run.json": record.model_dump_json().encode(), **(more_files or {})}
    if batch:
        columns = ("account", "status", "verdict", "reason", "report")
        rows = tuple(
            (*one, "unreachable" if one[1] == "failed" else "", f"accounts/a%20{number}/report.html")
            for number, one in enumerate(batch)
        )
        table_of = Table(name="accounts", title="Accounts", columns=columns, rows=rows)
        files = {"tables/accounts.csv": tables.csv_of(table_of)}
        files["run.json"] = record.model_copy(update={"tables": (), "target": None}).model_dump_json().encode()
        files |= {f"accounts/a_{number}/run.json": record.model_dump_json().encode() for number in range(len(batch))}
        files["tables/accounts.csv"] = files["tables/accounts.csv"].replace(b"a%20", b"a_")
    return put(archive, files, job=job, at=at, status=status.value)


_TRUST = Trust(source="system", file="", sha256=None)


def look(archive: Path, *, days: int = 3, **more: Any) -> Completeness:
    """The first so many days, seen from their end."""
    return completeness(archive, now=FIRST + days * DAY, **more)


def told(found: Completeness) -> list[tuple[str, int, str]]:
    return [(gap.kind.value, (gap.start - FIRST).days + 1, gap.account) for gap in found.gaps]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def test_every_night_has_its_run(archive: Path) -> None:
    expect(archive, nightly())
    for day in range(3):
        run(archive, FIRST + day * DAY + timedelta(hours=2))
    found = look(archive)
    assert (found.periods, found.met, found.open, found.gaps, found.notes) == (3, 3, 0, (), ())
    assert found.complete


def test_a_night_without_a_run_is_missing_and_one_that_is_not_over_is_open(archive: Path) -> None:
    expect(archive, nightly())
    run(archive, FIRST + timedelta(hours=2))
    run(archive, FIRST + 2 * DAY + timedelta(hours=2), job="rotate")  # of another job
    found = completeness(archive, now=FIRST + 2 * DAY + timedelta(hours=12))
    assert told(found) == [("missing", 2, "")]
    assert (found.periods, found.met, found.open) == (2, 1, 1)
    assert found.gaps[0].bags == ()
    assert not found.complete


def test_several_runs_of_a_night_are_one_good_night_and_a_failure_among_them_does_not_matter(archive: Path) -> None:
    expect(archive, nightly())
    run(archive, FIRST, status=Status.FAILED, verdict=Verdict.FAILED)
    run(archive, FIRST, verdict=Verdict.NOTHING_TO_DO)  # in the same second; a run that had nothing to do is one
    run(archive, FIRST + timedelta(hours=23, minutes=59))
    assert look(archive, days=1).complete


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.DONE])
def test_a_night_of_which_no_run_was_done_is_failed_and_names_the_runs(archive: Path, status: Status) -> None:
    expect(archive, nightly())
    place = run(archive, FIRST + timedelta(hours=2), status=status, verdict=Verdict.FAILED)
    found = look(archive, days=1)
    assert told(found) == [("failed", 1, "")]
    assert status.value in found.gaps[0].what
    assert found.gaps[0].bags == (str(place.folder.relative_to(archive)),)


def test_a_dry_run_is_no_run(archive: Path) -> None:
    expect(archive, nightly(job="rotate"))
    run(archive, FIRST, job="rotate", verdict=Verdict.PLANNED)
    found = look(archive, days=1)
    assert told(found) == [("failed", 1, "")]
    assert "dry run" in found.gaps[0].what


def test_rows_that_nobody_checked_are_shown_unless_a_later_run_checked_them(archive: Path) -> None:
    expect(archive, nightly())
    run(archive, FIRST + timedelta(hours=1), unchecked=3)
    found = look(archive, days=1)
    assert told(found) == [("unchecked", 1, "")]
    assert "3 rows" in found.gaps[0].what
    run(archive, FIRST + timedelta(hours=5))
    assert look(archive, days=1).complete


def test_a_run_after_its_grace_is_late_and_before_it_the_night_is_open(archive: Path) -> None:
    expect(archive, nightly(grace_hours=6))
    assert completeness(archive, now=FIRST + timedelta(hours=5, minutes=59)).open == 1
    assert told(completeness(archive, now=FIRST + timedelta(hours=6))) == [("missing", 1, "")]
    run(archive, FIRST + timedelta(hours=6, seconds=1))
    assert told(look(archive, days=1)) == [("late", 1, "")]
    assert "2026-11-01T06:00:01Z" in look(archive, days=1).gaps[0].what


def test_a_week_counts_from_its_own_day_and_hour(archive: Path) -> None:
    expect(archive, nightly(job="rotate", every="week", **{"from": "2026-11-01T22:00:00Z"}))
    run(archive, FIRST + timedelta(hours=21), job="rotate")  # before the first week
    run(archive, FIRST + timedelta(hours=22, days=6), job="rotate")
    run(archive, FIRST + timedelta(hours=22, days=14), job="rotate")
    assert told(look(archive, days=30)) == [("missing", 8, ""), ("missing", 22, "")]


def test_a_period_can_be_asked_for(archive: Path) -> None:
    expect(archive, nightly())
    found = look(archive, days=30, since=FIRST + 3 * DAY, until=FIRST + 5 * DAY)
    assert told(found) == [("missing", 4, ""), ("missing", 5, "")]
    assert look(archive, days=2, until=FIRST + 50 * DAY).periods == 2  # what is to come is not missing


def test_each_account_that_was_expected_must_be_there(archive: Path) -> None:
    expect(archive, nightly(accounts=["u-1", "User u-2", "u-3"]))
    run(archive, FIRST + timedelta(hours=1), users=["u-1"])
    run(archive, FIRST + timedelta(hours=2), users=["u-2"], status=Status.FAILED, verdict=Verdict.UNCHECKED)
    assert told(look(archive, days=1)) == [("failed", 1, "User u-2"), ("missing", 1, "u-3")]
    run(archive, FIRST + timedelta(hours=3), users=["u-2", "u-3"])
    assert look(archive, days=1).complete


def test_a_good_run_that_tells_of_no_account_is_none_of_them(archive: Path) -> None:
    expect(archive, nightly(accounts=["u-1"]))
    run(archive, FIRST)
    assert told(look(archive, days=1)) == [("missing", 1, "u-1")]


def test_where_no_run_came_so_far_it_is_the_night_that_failed_and_not_each_account(archive: Path) -> None:
    expect(archive, nightly(accounts=["u-1", "u-2"]))
    run(archive, FIRST, status=Status.KILLED, verdict=Verdict.FAILED, seen=None)
    assert told(look(archive, days=2)) == [("failed", 1, ""), ("missing", 2, "")]


def test_a_batch_is_asked_account_by_account(archive: Path) -> None:
    expect(archive, nightly(accounts=["one", "two", "=three", "four"], environment="production"))
    rows = [("one", "done", "ok"), ("two", "failed", "failed"), ("=three", "done", "attention")]
    run(archive, FIRST, batch=rows, environment="production", status=Status.FAILED, unchecked=2)
    found = look(archive, days=1)
    assert told(found) == [
        ("unchecked", 1, "=three"),
        ("missing", 1, "four"),
        ("unchecked", 1, "one"),
        ("failed", 1, "two"),
    ]
    assert "unreachable" in found.gaps[3].what


def test_a_table_of_accounts_makes_no_batch_of_a_run(archive: Path) -> None:
    expect(archive, nightly(accounts=["u-1"]))
    table = Table(name="accounts", title="Service users", columns=("name", "state"), rows=(("u-1", "answered"),))
    run(archive, FIRST, users=["u-1"], more_files={"tables/accounts.csv": tables.csv_of(table)})
    assert look(archive, days=1).complete


def test_further_service_users_of_a_run_are_accounts_too_each_for_itself(archive: Path) -> None:
    expect(archive, nightly(accounts=["u-1", "u-2", "Third", "u-4"]))
    columns = ("name", "state", "why", "id", "reason")
    rows = (
        ("Second", "answered", "", "u-2", ""),
        ("Third", "unchecked", "Nobody.", "", "unreachable"),
    )
    table = tables.csv_of(Table(name="service-users", title="Further", columns=columns, rows=rows))
    files = {"tables/service-users.csv": table}
    run(archive, FIRST, users=["u-1"], status=Status.FAILED, verdict=Verdict.UNCHECKED, more_files=files)
    found = look(archive, days=1)
    assert told(found) == [("failed", 1, "Third"), ("failed", 1, "u-1"), ("missing", 1, "u-4")]
    assert "unreachable" in found.gaps[0].what
    run(archive, FIRST + DAY, users=["u-1"], status=Status.KILLED, verdict=Verdict.FAILED, more_files=files)
    assert ("failed", 2, "u-2") in told(look(archive, days=2))


def test_a_long_table_s_unchecked_rows_count_once(archive: Path) -> None:
    """Also in an archive of an earlier version, which has long tables as Parquet too."""
    expect(archive, nightly())
    names = ("tables/a.csv", "tables/a.parquet", "tables/a-first.csv", "tables/b.csv")
    tables = tuple(
        TableFile(file=name, title="A", rows=9, sha256="0" * 64, unchecked=2 if "first" in name else 3)
        for name in names
    )
    run(archive, FIRST, tables=tables)
    assert "6 rows not checked" in look(archive, days=1).gaps[0].what


def test_a_batch_on_another_environment_does_not_count(archive: Path) -> None:
    expect(archive, nightly(environment="production"))
    rows = [("one", "done", "ok")]
    run(archive, FIRST, batch=rows, environment="demo")
    assert told(look(archive, days=1)) == [("missing", 1, "")]
    run(archive, FIRST, batch=rows, environment="production")
    assert look(archive, days=1).complete


def test_a_run_in_training_is_no_run_in_production(archive: Path) -> None:
    expect(archive, nightly(environment="production"))
    run(archive, FIRST, environment="sandbox")
    run(archive, FIRST)  # a notebook that does not tell where it was
    found = look(archive, days=1)
    assert told(found) == [("missing", 1, "")]
    assert "on production" in found.gaps[0].what
    run(archive, FIRST, environment="production")
    assert look(archive, days=1).complete


def test_the_address_names_an_environment_too(archive: Path) -> None:
    expect(archive, nightly(environment="https://production.example/"))
    run(archive, FIRST, environment="production")
    assert look(archive, days=1).complete


def test_a_run_that_was_killed_before_it_told_where_it_was_is_there_and_does_not_count(archive: Path) -> None:
    expect(archive, nightly(environment="production"))
    run(archive, FIRST, status=Status.INTERRUPTED, verdict=Verdict.FAILED)
    assert told(look(archive, days=1)) == [("failed", 1, "")]


def test_a_bag_that_cannot_be_read_is_no_good_run(archive: Path) -> None:
    expect(archive, nightly())
    put(archive, {"run.json": b"{"}, job="inventory", at=FIRST)
    found = look(archive, days=1)
    assert told(found) == [("failed", 1, "")]
    assert "unreadable" in found.gaps[0].what
    assert "cannot be read" in found.notes[0]


def test_jobs_whose_names_begin_alike_are_not_mixed_up(archive: Path) -> None:
    expect(archive, nightly())
    run(archive, FIRST, job="inventory-2")
    run(archive, FIRST + timedelta(seconds=1), job="inventory-eu")
    assert told(look(archive, days=1)) == [("missing", 1, "")]


def test_a_row_of_like_gaps_is_one_for_a_reader(archive: Path) -> None:
    expect(archive, nightly(), nightly(job="rotate"))
    run(archive, FIRST + 2 * DAY)
    run(archive, FIRST + 4 * DAY, status=Status.FAILED)
    found = [
        (first.kind.value, first.job, (first.start - FIRST).days, (last.start - FIRST).days)
        for first, last in spans(look(archive, days=7).gaps)
    ]
    assert found == [
        ("missing", "inventory", 0, 1),
        ("missing", "rotate", 0, 6),
        ("missing", "inventory", 3, 3),
        ("failed", "inventory", 4, 4),
        ("missing", "inventory", 5, 6),
    ]


# --- declarations -----------------------------------------------------------------------------------------------------


def test_a_declaration_is_an_entry_of_the_chain_signed_and_with_its_author(archive: Path) -> None:
    sign(archive, FIRST - 2 * DAY)
    place = expect(archive, nightly())
    assert place.unsigned is None
    audit = verify_archive(archive)
    assert (audit.findings, audit.signed) == ((), 2)
    (one,) = declarations(archive)
    assert one.place == str(place.folder.relative_to(archive))
    assert (one.at, [str(each) for each in one.expected]) == (
        FIRST - DAY,
        ["inventory: every day from 2026-11-01T00:00:00Z"],
    )
    assert " on " in one.by
    assert (place.folder / "data/expected.yaml").read_text() == (archive.parent / "expected.json").read_text()
    (place.folder / "data/expected.yaml").write_text("expected: []")
    assert verify_archive(archive).findings != ()


def test_an_expectation_lowered_later_does_not_excuse_the_nights_before(archive: Path) -> None:
    expect(archive, nightly())
    expect(archive, at=FIRST + 2 * DAY + timedelta(hours=12))  # nothing is expected any more
    found = look(archive, days=9)
    assert told(found) == [("missing", 1, ""), ("missing", 2, ""), ("missing", 3, "")]
    assert len(found.declarations) == 2


def test_a_stricter_one_holds_from_then_on_and_keeps_its_hour(archive: Path) -> None:
    expect(archive, nightly(**{"from": "2026-11-01T22:00:00Z"}))
    expect(archive, nightly(accounts=["u"], **{"from": "2026-11-01T22:00:00Z"}), at=FIRST + 2 * DAY)
    for day in range(4):
        run(archive, FIRST + day * DAY + timedelta(hours=23))
    found = look(archive, days=5)
    assert told(found) == [("missing", 3, "u"), ("missing", 4, "u")]
    assert {gap.start.hour for gap in found.gaps} == {22}


def test_one_declared_under_a_clock_set_back_does_not_reach_behind_the_one_before(archive: Path) -> None:
    expect(archive, nightly(), at=FIRST + 5 * DAY)
    expect(archive, at=FIRST)
    assert [one.at for one in declarations(archive)] == [FIRST + 5 * DAY] * 2
    assert len(look(archive, days=9).gaps) == 5


def test_without_a_declaration_nothing_is_complete(archive: Path) -> None:
    run(archive, FIRST)
    found = look(archive)
    assert (found.declarations, found.periods, found.complete) == ((), 0, False)
    expect(archive, nightly())
    assert not look(archive, since=FIRST - 9 * DAY, until=FIRST).complete  # nothing was expected then


def test_a_damaged_declaration_is_no_reason_to_expect_less(archive: Path) -> None:
    place = expect(archive, nightly())
    (place.folder / "data/expectation.json").write_text('{"expected": []}')
    with pytest.raises(RunbookError) as caught:
        look(archive)
    assert caught.value.reason is Reason.UNREADABLE_FILE
    assert "verify" in caught.value.remedy


def test_one_who_was_killed_while_declaring_has_declared_nothing(archive: Path) -> None:
    left = archive / ".staging" / "left"
    left.mkdir(parents=True)
    with interrupted.announced(left, started("expectation", FIRST)):
        pass
    run(archive, FIRST)
    assert any(place.name.endswith("-expectation") for place in places(archive))
    assert declarations(archive) == ()


def test_the_sample_is_one() -> None:
    assert len(read_expectation(SAMPLE.read_bytes(), SAMPLE.name).expected) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected"),
        ("expected: [", "not YAML in line 2"),
        ("expected: [{job: A, from: 2026-11-01}]", "expected.0.job"),
        ("expected: [{job: a}]", "expected.0.from: Field required"),
        ("expected: [{job: a, from: 2026-11-01, evry: day}]", "expected.0.evry"),
        ("expected: [{job: a, from: 2026-11-01, every: month}]", "expected.0.every"),
        ("expected: [{job: a, from: 2026-11-01T10:00:00}]", "must be a date or time in UTC"),
        ("expected: [{job: a, from: '2026-13-01'}]", "must be a date or time in UTC"),
        ("expected: [{job: a, from: 2026-11-01, grace_hours: 25}]", "longer than a day"),
        ("expected: [{job: a, from: 2026-11-01, until: 2026-11-01}]", "until must be after from"),
        ("expected: [{job: a, from: 2026-11-01, accounts: [b, b]}]", "twice"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(RunbookError) as caught:
        read_expectation(text.encode(), "expected.yaml")
    assert caught.value.reason is Reason.BAD_PARAMETER
    assert words in caught.value.what


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_a_clock_that_was_set_while_a_run_ran_or_between_two_is_told(archive: Path) -> None:
    expect(archive, nightly())
    run(archive, FIRST + timedelta(hours=2), finished=FIRST + timedelta(hours=5))
    run(archive, FIRST + timedelta(hours=3))
    found = look(archive, days=1)
    assert found.gaps == ()
    assert "set by +10740 s during the run" in found.notes[0]
    assert "says that it ended earlier" in found.notes[1]


def test_runs_that_overlap_and_one_found_dead_later_are_no_contradiction(archive: Path) -> None:
    expect(archive, nightly())
    run(archive, FIRST + timedelta(hours=2), finished=FIRST + timedelta(hours=5), duration=3 * 3600.0)
    run(archive, FIRST + timedelta(hours=1), status=Status.INTERRUPTED, duration=0.0)
    run(archive, FIRST + timedelta(hours=1), finished=FIRST + timedelta(hours=4, minutes=50), duration=13800.0)
    assert look(archive, days=1).notes == ()


def test_a_gap_tells_which_job_and_kind(archive: Path) -> None:
    expect(archive, nightly())
    (gap,) = look(archive, days=1).gaps
    assert (gap.job, gap.kind, gap.expected.environment) == ("inventory", DeviationKind.MISSING, "")


def test_ten_thousand_bags_of_other_nights_are_not_opened(archive: Path) -> None:
    """What is not asked for is not read: a bag that cannot be is then no obstacle."""
    expect(archive, nightly(), at=AT)
    place = run(archive, FIRST)
    shutil.rmtree(place.folder / "data")
    run(archive, FIRST + DAY)
    assert look(archive, days=2, since=FIRST + DAY).complete
    assert told(look(archive, days=2)) == [("failed", 1, "")]


def test_a_folder_whose_name_is_no_moment_is_no_obstacle(archive: Path) -> None:
    expect(archive, nightly())
    run(archive, FIRST)
    (archive / "9999/99/99/99999999T999999Z-inventory").mkdir(parents=True)
    (archive / "2026/11/01/20261101T996199Z-inventory").mkdir(parents=True)
    assert look(archive, days=1).complete


# --- purged runs ------------------------------------------------------------------------------------------------------


def purge(archive: Path, *bags: Path) -> None:
    with entries.begun(archive, chain.PURGE, at=AT, environ=ENVIRON) as entry:
        kept = {name: content for bag in bags for name, content in bound.binding_files(bag).items()}
        entry.seal(
            {}, kept=kept, tags={tombstones.PURGED: tombstones.tombstone_text([tombstones.of(bag) for bag in bags])}
        )


def test_purged_runs_count_as_having_been_there_good_or_bad(archive: Path) -> None:
    expect(archive, nightly(accounts=["u"], environment="production"), nightly(job="inventory-2"))
    good = run(archive, FIRST + timedelta(hours=2), users=["u"], environment="production")
    other = run(archive, FIRST + timedelta(hours=2), job="inventory-2")
    bad = run(archive, FIRST + DAY, status=Status.TIMED_OUT, verdict=Verdict.FAILED)
    purge(archive, good.folder, other.folder, bad.folder)
    assert not good.folder.exists()
    assert verify_archive(archive).findings == ()
    found = look(archive, days=2)
    assert found.purged == 3
    assert [(gap.kind, gap.job) for gap in found.gaps] == [
        (DeviationKind.FAILED, "inventory"),
        (DeviationKind.MISSING, "inventory-2"),
    ]


def test_a_purge_that_was_cut_off_counts_no_run_twice_and_an_expectation_is_never_purged(archive: Path) -> None:
    declared = expect(archive, nightly())
    left = run(archive, FIRST, unchecked=1)
    shutil.copytree(left.folder, archive.parent / "left")
    purge(archive, left.folder)
    assert look(archive, days=1).purged == 1
    shutil.copytree(archive.parent / "left", left.folder)  # as if the tombstone stood, and it were still to be removed
    assert look(archive, days=1).purged == 0
    assert told(look(archive, days=1)) == [("unchecked", 1, "")]
    assert chain.is_kept(str(declared.folder.relative_to(archive)))
    assert not chain.is_kept(str(left.folder.relative_to(archive)))


def test_an_excerpt_brings_along_what_was_expected_and_is_held_against_it(archive: Path, tmp_path: Path) -> None:
    sign(archive, FIRST - 9 * DAY)
    expect(archive, nightly())
    for day in (0, 1, 3, 5):
        run(archive, FIRST + day * DAY)
    gone = run(archive, FIRST + 4 * DAY)
    purge(archive, gone.folder)
    first, last = (FIRST + DAY).date(), (FIRST + 4 * DAY).date()
    made, _ = export_excerpt(archive, tmp_path / "excerpt", since=first, until=last, at=AT, environ=ENVIRON)
    assert verify_archive(made, excerpt=True).findings == ()
    assert told(look(made, days=6)) == told(look(archive, days=6)) == [("missing", 3, "")]
    assert (look(archive, days=6).purged, look(made, days=6).purged) == (1, 3)
