"""The index lists every bag, also one that cannot be read; a run that is sealed is added to it at once."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from bs4 import BeautifulSoup, Tag

from runbook_lib.archive import reader
from runbook_lib.archive.index import write_index
from runbook_lib.archive.verify import verify_archive
from runbook_lib.cli.root import run_words
from tests.archive import bags, many
from tests.archive.many import Told


def rows(archive: Path) -> list[Tag]:
    return BeautifulSoup((archive / "index.html").read_text(encoding="utf-8"), "html.parser").select("tbody tr")


def told(row: Tag) -> str:
    return " | ".join(cell.get_text() for cell in row.find_all(["th", "td"]))


def test_a_run_that_is_sealed_stands_in_the_index_and_leads_to_its_report(archive: Path):
    record = Told("verify", bags.AT, verdict="attention", headline="mTLS works; the end is near.").record()
    record |= {"ticket": "CHG-<b>1</b>"}
    place = bags.put(
        archive, {"run.json": json.dumps(record).encode(), "report.html": b"<h1>Report</h1>"}, job="verify"
    )
    bags.put(archive, job="demo", at=bags.AT + timedelta(days=1))
    first, second = rows(archive)
    assert (
        told(first)
        == "23 Nov 2026, 14:15:00 UTC | verify | done | attention | CHG-<b>1</b> | mTLS works; the end is near."
    )
    link = first.select_one("th[scope=row] a")
    assert link
    assert (archive / str(link["href"])).read_bytes() == (place.folder / "data" / "report.html").read_bytes()
    assert (first["class"], second["class"]) == (["warn"], ["bad"])
    assert "run.json cannot be read" in told(second)
    assert verify_archive(archive).findings == ()


def test_a_headline_has_dates_and_code_and_the_count_agrees_with_its_noun(archive: Path):
    record = Told("verify", bags.AT, headline="`current` ends 2026-12-08T23:59:59Z.").record() | {"needs_action": 1}
    bags.put(archive, {"run.json": json.dumps(record).encode()}, job="verify")
    (row,) = rows(archive)
    assert told(row).endswith("current ends 8 Dec 2026 (in 15 days). 1 certificate needs action.")
    assert [one["datetime"] for one in row.select("time")] == ["2026-11-23T14:15:00Z", "2026-12-08T23:59:59Z"]
    assert [one.get_text() for one in row.select("code")] == ["current"]


def test_an_archive_s_new_signer_is_no_damage(archive: Path):
    bags.sign(archive)
    (row,) = rows(archive)
    assert told(row).startswith("23 Nov 2026, 14:15:00 UTC | signer | done")
    assert told(row).endswith("New signer.")


def test_a_bag_whose_record_was_taken_away_is_not_taken_for_one_without(archive: Path):
    place = bags.put(archive)
    (place.folder / "data" / "run.json").unlink()
    write_index(archive)
    assert "its run.json is missing" in told(rows(archive)[0])


def test_what_is_added_run_by_run_is_what_is_made_anew(archive: Path, capsys: pytest.CaptureFixture[str]):
    for day in range(3):
        record = Told("inventory", bags.AT + timedelta(days=day)).record()
        bags.put(archive, {"run.json": json.dumps(record).encode()}, job="inventory", at=bags.AT + timedelta(days=day))
    grown = (archive / "index.html").read_bytes()
    (archive / "index.html").unlink()
    assert run_words(["archive", "index", str(archive)]) == 0
    assert capsys.readouterr().out.strip() == str(archive / "index.html")
    assert (archive / "index.html").read_bytes() == grown


def test_adding_a_run_reads_and_writes_as_much_in_a_large_archive_as_in_a_small_one(
    archive: Path, monkeypatch: pytest.MonkeyPatch
):
    many.write(archive, many.service(60))
    write_index(archive)
    read: list[Path] = []
    entry = reader.entry

    def noted(where: Path, bag: Path) -> reader.ArchivedBag:
        read.append(bag)
        return entry(where, bag)

    monkeypatch.setattr(reader, "entry", noted)
    place = bags.put(archive)
    assert read == [place.folder]
    assert len(rows(archive)) == 61


@pytest.mark.parametrize("damage", ["cut", "empty", "another version"])
def test_a_page_that_is_damaged_or_of_another_version_is_made_anew(archive: Path, damage: str):
    for _ in range(2):
        bags.put(archive)
    page = archive / "index.html"
    whole = page.read_bytes()
    changed = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "another version": re.sub(rb"<!-- [0-9a-f]{64} -->", b"<!-- " + b"0" * 64 + b" -->", whole),
    }
    assert changed[damage] != whole
    page.write_bytes(changed[damage])
    bags.put(archive)
    assert len(rows(archive)) == 3


def test_a_page_that_cannot_be_written_keeps_no_run_from_being_archived(archive: Path):
    (archive / "index.html").mkdir(parents=True)
    assert bags.put(archive).folder.is_dir()


def test_what_came_from_elsewhere_is_text(archive: Path):
    hostile = '<img src=x onerror=alert(1)>\u202e"</table>'
    record = Told("verify", bags.AT, status="<b>", verdict="<i>", headline=hostile).record()
    record["error"] = None
    bags.put(archive, {"run.json": json.dumps(record).encode()}, job="verify")
    page = (archive / "index.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1
    assert "<img" not in page
    assert "\\u202e" in told(rows(archive)[0])
    assert len(rows(archive)) == 1


def test_an_empty_archive_has_an_index_too(tmp_path: Path):
    write_index(tmp_path)
    assert rows(tmp_path) == []
