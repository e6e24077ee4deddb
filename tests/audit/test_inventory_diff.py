"""What changed between two inventories: told by identity, and never more than the two inventories know."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from runbook_lib.archive import reader
from runbook_lib.audit import inventory_diff
from runbook_lib.audit.inventory_diff import Change, Comparison, compare_inventories, named
from runbook_lib.catalogue import Reason
from runbook_lib.cli.root import run_words
from runbook_lib.errors import RunbookError
from runbook_lib.inventories.schemas import INVENTORY
from tests.archive import many
from tests.archive.many import FIRST, Told, row

SILENT = row("(DigiCert ONE)", "unchecked", "", enabled="unknown")


def archived(archive: Path, *days: list[Any], **more: Any) -> list[reader.ArchivedBag]:
    """An inventory a day, of these rows. One that holds `SILENT` says of its steps that they are unchecked."""
    runs = [
        Told(
            "inventory",
            FIRST + timedelta(days=day),
            verdict="unchecked" if SILENT in rows else "ok",
            tables=(many.inventory(*rows),),
            **more,
        )
        for day, rows in enumerate(days)
    ]
    many.write(archive, runs)
    return sorted(reader.archived_bags(archive), key=lambda one: one.at)[-len(days) :]


def changes(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    return [(one.change.value, one.certificate.name, one.was, one.now) for one in comparison.differences]


def test_each_kind_of_change_is_told_for_its_certificate(archive: Path):
    before, after = archived(
        archive,
        [
            row("Stays", id="1"),
            row("Gone", id="2"),
            row("Ends soon", "healthy", 95, id="3"),
            row("Taken away", id="4"),
            row("Long gone", "urgent", 5, id="5"),
        ],
        [
            row("Stays", id="1"),
            row("Ends soon", "urgent", 25, id="3"),
            row("Taken away", "disabled", enabled="no", id="4"),
            row("Long gone", "expired", -1, id="5", ends="2023-11-02T00:00:00Z"),
            row("New", id="6"),
        ],
    )
    assert changes(compare_inventories(before, after)) == [
        ("vanished", "Gone", "healthy", "not listed"),
        ("appeared", "New", "not listed", "healthy"),
        ("state", "Ends soon", "healthy", "urgent"),
        ("state", "Long gone", "urgent", "expired"),
        ("state", "Taken away", "healthy", "disabled"),
        ("enabled", "Taken away", "yes", "no"),
        ("closer to its end", "Ends soon", "95 days left", "below 30"),
        ("closer to its end", "Long gone", "5 days left", "ended 2023-11-02T00:00:00Z"),
    ]
    assert changes(compare_inventories(after, after)) == []


def test_a_name_that_changed_hands_is_another_certificate(archive: Path):
    before, after = archived(archive, [row("Signer", id="1", serial="0A")], [row("Signer", id="2", serial="0B")])
    assert [one[:2] for one in changes(compare_inventories(before, after))] == [
        ("vanished", "Signer"),
        ("appeared", "Signer"),
    ]


def test_where_an_id_is_missing_the_serial_number_counts_however_it_is_written(archive: Path):
    before, after = archived(
        archive,
        [row("Signer", id="1", serial="0AbC")],
        [row("Signer", "missing", serial="ABC", in_the_store="Signer/0001")],
    )
    assert changes(compare_inventories(before, after)) == [("state", "Signer", "healthy", "missing")]


def test_two_of_one_name_without_ids_are_two(archive: Path):
    first, second = row("Signer", ends="2027-01-01T00:00:00Z"), row("Signer", ends="2028-01-01T00:00:00Z")
    before, after = archived(archive, [first], [second, first])
    assert len(compare_inventories(before, after).after.rows) == 2
    assert changes(compare_inventories(before, after)) == [("appeared", "Signer", "not listed", "healthy")]
    assert changes(compare_inventories(after, after)) == []


def test_copies_of_a_certificate_are_told_apart_by_where_they_lie(archive: Path):
    one = row("Signer", id="1", serial="0A", in_the_store="Signer/0001")
    copy = row("Copy", "mismatch", serial="0A", in_the_store="Copy/0001")
    other = row("Other", "mismatch", serial="0A", in_the_store="Other/0001")
    broken = row("Broken", "unreadable", "", in_the_store="Broken/0001 (in use)")
    before, after = archived(archive, [one, copy, broken], [other, broken, copy, one])
    assert changes(compare_inventories(before, after)) == [("appeared", "Other", "not listed", "mismatch")]


def test_a_file_of_a_folder_that_was_not_read_makes_no_certificate_of_digicert_one_unknown(archive: Path):
    step = {"title": "Read the folders", "kind": "check", "verdict": "unchecked", "headline": "1 unchecked."}
    step |= {"slug": "read-folders", "finished": "2026-11-28T03:00:00Z"}
    gone = row("Gone", id="2")
    before, after = archived(archive, [row("Stays", id="1"), gone], [row("Stays", id="1")], more={"steps": [step]})
    assert [one[:2] for one in changes(compare_inventories(before, after))] == [("vanished", "Gone")]
    collect = step | {"slug": "collect"}
    other = archive.with_name("other")
    before, after = archived(other, [row("Stays", id="1"), gone], [row("Stays", id="1")], more={"steps": [collect]})
    assert [one[:2] for one in changes(compare_inventories(before, after))] == [("not known", "Gone")]


def test_what_a_silent_source_does_not_list_has_not_vanished(archive: Path):
    listed = [row("Held", id="1", serial="0A", in_the_store="Held/0001"), row("Elsewhere", id="2", serial="0B")]
    held = row("Held", "unchecked", serial="0A", enabled="unknown", in_the_store="Held/0001")
    before, silent, after = archived(archive, listed, [SILENT, held], listed)
    lost = compare_inventories(before, silent)
    assert {one.change for one in lost.differences} == {Change.UNKNOWN}
    assert "a source did not answer" in lost.warnings[0]
    assert not lost.complete
    found = compare_inventories(silent, after)
    assert {one.change for one in found.differences} == {Change.UNKNOWN}
    assert compare_inventories(before, after).complete


def test_a_day_is_its_last_inventory_and_a_day_without_one_is_refused_with_the_nearest(archive: Path):
    archived(archive, [row("A", id="1")], [row("A", id="1")])
    later = FIRST + timedelta(hours=5)
    many.write(archive, [Told("inventory", later, tables=(many.inventory(row("B", id="1")),)), Told("verify", later)])
    assert named(archive, "2023-11-01").place.endswith("T111700Z-inventory")
    with pytest.raises(RunbookError) as refused:
        named(archive, "2023-12-24")
    assert refused.value.reason is Reason.BAD_PARAMETER
    assert "2023-11-02" in refused.value.remedy
    many.write(archive, [Told("inventory", later, "failed", "failed", tables=(many.inventory(),))])
    assert named(archive, "2023-11-01").place.endswith("T111700Z-inventory")
    assert named(archive, str(archive / named(archive, "2023-11-01").place)) == named(archive, "2023-11-01")


def test_inventories_of_several_accounts_are_never_mixed(archive: Path):
    def of(url: str, user: str, day: int) -> Told:
        more = {"target": {"api_url": url}, "seen": {"service_users": [{"id": user}]}}
        return Told("inventory", FIRST + timedelta(days=day), tables=(many.inventory(row("A", id="1")),), more=more)

    many.write(archive, [of("https://a", "u", 0), of("https://b", "u", 0), of("https://b", "v", 1)])
    with pytest.raises(RunbookError, match="several accounts"):
        named(archive, "2023-11-01")
    one, other, third = sorted(reader.archived_bags(archive), key=lambda each: each.place)
    with pytest.raises(RunbookError, match="https://a"):
        compare_inventories(one, other)
    with pytest.raises(RunbookError, match="different service users"):
        compare_inventories(other, third)


def test_the_older_one_comes_first(archive: Path):
    before, after = archived(archive, [row("A", id="1")], [row("A", id="1")])
    with pytest.raises(RunbookError, match="is older than the first"):
        compare_inventories(after, before)


@pytest.mark.parametrize("name", ["data/run.json", f"data/{inventory_diff.FILE}"])
def test_a_file_that_was_changed_since_it_was_sealed_is_not_compared(archive: Path, name: str):
    before, after = archived(archive, [row("A", id="1")], [row("A", id="1")])
    changed = before.folder / name
    changed.write_bytes(changed.read_bytes() + b"\n")
    with pytest.raises(RunbookError) as refused:
        compare_inventories(before, after)
    assert refused.value.reason is Reason.UNREADABLE_FILE


def test_the_command_shows_a_table_and_writes_csv_and_a_page(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    hostile = "<script>x</script>\u202e"
    archived(archive, [row("A", days=85, id="1")], [row("A", "due", 80, id="1"), row(hostile, id="=2")], [SILENT])
    told = ["--archive", str(archive), "--csv", str(tmp_path / "d.csv"), "--html", str(tmp_path / "d.html")]
    assert run_words(["archive", "diff", "2023-11-01", "2023-11-02", *told]) == 0
    assert "1 appeared, 1 changed state" in capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "d.csv").read_text(encoding="utf-8"))))
    assert [one["change"] for one in rows] == ["appeared", "state"]
    assert rows[0]["id"] == "'=2"
    page = BeautifulSoup((tmp_path / "d.html").read_text(encoding="utf-8"), "html.parser")
    assert page.select("script") == []
    assert "\\u202e" in page.get_text()
    assert len(page.select("tbody tr")) == 2
    assert all(head.get("scope") for head in page.select("th"))
    assert run_words(["archive", "diff", "2023-11-02", "2023-11-03", *told]) == 30
    assert "vanished" not in capsys.readouterr().out


def test_of_many_changes_the_terminal_shows_the_first_and_says_so(archive: Path, capsys: pytest.CaptureFixture[str]):
    archived(
        archive, [row("Stays", id="0")], [row("Stays", id="0"), *(row(f"N{i:03}", id=f"{i}") for i in range(1, 251))]
    )
    assert run_words(["archive", "diff", "2023-11-01", "2023-11-02", "--archive", str(archive)]) == 0
    told = capsys.readouterr().out
    assert "… and 50 more changes; --csv and --html write all." in told
    assert ("N200" in told, "N201" in told) == (True, False)


def test_nothing_that_changed_is_told_so(archive: Path, capsys: pytest.CaptureFixture[str]):
    archived(archive, [row("A", id="1")], [row("A", id="1")])
    assert run_words(["archive", "diff", "2023-11-01", "2023-11-02", "--archive", str(archive)]) == 0
    assert capsys.readouterr().out.endswith("no changes.\n")


def test_a_bag_has_its_folder_s_own_name(archive: Path):
    archived(archive, [row("A", id="1")])
    (bag,) = reader.archived_bags(archive)
    assert named(archive, bag.name) == bag
    with pytest.raises(RunbookError, match="neither a bag nor a day"):
        named(archive, f"{bag.name}-2")


def test_it_reads_the_inventory_s_own_columns():
    assert set(inventory_diff._READ) <= set(INVENTORY.columns)
    assert INVENTORY.columns[: len(many.COLUMNS)] == many.COLUMNS


@pytest.mark.parametrize("text", ["x" * 300, "y/" * 3000, "\ud800", "\0", "", "no such bag"])
def test_what_cannot_be_a_path_is_neither_a_bag_nor_a_day(tmp_path: Path, text: str) -> None:
    with pytest.raises(RunbookError, match="neither a bag nor a day"):
        named(tmp_path, text)
