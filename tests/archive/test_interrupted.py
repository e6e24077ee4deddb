"""A run that was killed is sealed by the next one: without what it should not have told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from runbook_lib.archive.verify import verify_archive
from tests.archive.bags import AT, places, put, started
from tests.reports import reading

SECRET = "qx7rt2mn9plw4svb"


def test_what_an_older_version_noted_is_searched_before_it_is_sealed(archive: Path) -> None:
    put(archive)
    told = started(job=f"of-{SECRET}", at=AT + timedelta(minutes=1)).model_copy(update={"notebook": f"{SECRET}.ipynb"})
    left = archive / ".staging/left"
    left.mkdir()
    (left / "started.json").write_text(told.model_dump_json())
    put(archive, at=AT + timedelta(hours=1), environ={"DIGICERT_ONE_API_KEY": SECRET.upper()})
    interrupted = next(bag for bag in places(archive) if bag.name.endswith("-withheld"))
    assert (reading.record(interrupted)["status"], reading.record(interrupted)["run"]) == ("interrupted", told.run)
    assert [path for path in archive.rglob("*") if SECRET in str(path)] == reading.holds(archive, SECRET) == []
    assert verify_archive(archive).findings == ()


def test_another_s_is_told_as_it_was(archive: Path) -> None:
    put(archive)
    left = archive / ".staging/left"
    left.mkdir()
    (left / "started.json").write_text(started(at=AT + timedelta(minutes=1)).model_dump_json())
    put(archive, at=AT + timedelta(hours=1), environ={"DIGICERT_ONE_API_KEY": SECRET})
    assert [reading.record(bag)["notebook"]["name"] for bag in places(archive)[1:2]] == ["nb.ipynb"]
