"""An event for each end and each step of a rotation, updated in place; a real CalDAV server takes the calendar."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import icalendar
import pytest
import requests

from runbook_lib import tables
from runbook_lib.clock import iso
from runbook_lib.notices.calendar import MOST
from tests.notices.conftest import Desk
from tests.notices.receivers import free_port
from tests.notices.runs import DAY, NOW, row
from tests.notices.test_prometheus import running

READER = Path(__file__).with_name("caldav_reader.py")
END = NOW + 100 * DAY


@pytest.fixture
def file(desk: Desk, tmp_path: Path) -> Path:
    path = tmp_path / "certificates.ics"
    desk.set(calendar=str(path))
    return path


def events(file: Path) -> dict[str, Any]:
    """By summary."""
    calendar = icalendar.Calendar.from_ical(file.read_bytes())
    return {str(event["summary"]): event for event in calendar.walk("VEVENT")}


def rotated(desk: Desk, *, step: str, when: datetime, at: datetime) -> None:
    path = tables.csv_bytes(
        [("step", "state", "when"), ("Start", "done", iso(at)), (step, "next", f"from {iso(when)}")]
    )
    desk.run(job="rotate", parameters={"name": "CI"}, more={"tables/path-2.csv": path}, at=at)


def test_an_end_is_an_event_with_alarms_on_its_day(desk: Desk, file: Path):
    desk.run(row("CI", ends=END))
    (event,) = events(file).values()
    assert event["summary"] == "CI ends (production)"
    assert event.decoded("dtstart") == END.date()
    assert [alarm.decoded("trigger").days for alarm in event.walk("VALARM")] == [-30, -7, -1]


def test_an_event_is_updated_in_place_and_not_touched_without_need(desk: Desk, file: Path):
    desk.run(row("CI", ends=END))
    before = file.read_bytes()
    desk.run(row("CI", ends=END), at=NOW + DAY)
    assert file.read_bytes() == before
    desk.run(row("CI", ends=END - 10 * DAY), at=NOW + 2 * DAY)
    (old,), (new,) = icalendar.Calendar.from_ical(before).walk("VEVENT"), events(file).values()
    assert (new["uid"], new["sequence"], old["sequence"]) == (old["uid"], 1, 0)
    assert new.decoded("dtstart") == (END - 10 * DAY).date()


def test_a_rotation_s_next_step_is_one_event_that_moves(desk: Desk, file: Path):
    rotated(desk, step="Start", when=NOW + 40 * DAY, at=NOW)
    rotated(desk, step="Disable the old certificate", when=NOW + 47 * DAY, at=NOW + 40 * DAY)
    (event,) = events(file).values()
    assert event["summary"] == "Rotation of CI: Disable the old certificate"
    assert (event.decoded("dtstart"), event["sequence"]) == ((NOW + 47 * DAY).date(), 1)


def test_the_event_of_a_disabled_certificate_is_cancelled_and_a_week_later_gone(desk: Desk, file: Path):
    desk.run(row("CI", ends=END), row("CI 0002", ends=END + 300 * DAY, store="CI/0002"))
    desk.run(row("CI", "disabled", ends=END, enabled="no"), row("CI 0002", ends=END + 300 * DAY), at=NOW + DAY)
    assert events(file)["CI ends (production)"]["status"] == "CANCELLED"
    assert events(file)["CI 0002 ends (production)"]["status"] == "CONFIRMED"
    desk.run(row("CI 0002", ends=END + 300 * DAY), at=NOW + 9 * DAY)
    assert list(events(file)) == ["CI 0002 ends (production)"]


def test_hostile_names_are_one_line_of_bounded_size(desk: Desk, file: Path):
    names = ("x\r\nEND:VEVENT\r\nBEGIN:VEVENT", "b" * 10_000, "\u202e,;:\\")
    desk.run(*(row(name, ends=END, store="no") for name in names))
    assert len(events(file)) == 3
    assert max(map(len, events(file))) <= 200


def test_the_calendar_stays_small_however_many_certificates_there_are(desk: Desk, file: Path):
    desk.run(*(row(f"c{number}", ends=NOW + (100 + number) * DAY, store="no") for number in range(2 * MOST)))
    found = events(file)
    assert len(found) == MOST + 1
    assert f"{MOST} more certificates end from this day on" in found


def test_another_calendar_is_left_as_it_is(desk: Desk, file: Path):
    theirs = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//theirs//EN\r\nEND:VCALENDAR\r\n"
    for content in (theirs, b"not a calendar"):
        file.write_bytes(content)
        assert "is not a calendar that a run wrote" in desk.run(row("CI")).problems[0]
        assert file.read_bytes() == content


# --- a real CalDAV server ---------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Debian's radicale; gives the address of a calendar."""
    port = free_port()
    options = (
        f"--server-hosts=127.0.0.1:{port}",
        "--auth-type=none",
        f"--storage-filesystem-folder={tmp_path / 'radicale'}",
    )
    with running("radicale", "--config=", *options, cwd=tmp_path, ready=f"http://127.0.0.1:{port}/.web/"):
        yield f"http://127.0.0.1:{port}/pki/certificates/"


@pytest.fixture
def upload(server: str, file: Path) -> Callable[[], dict[str, dict[str, Any]]]:
    """Puts the file there as the guide says, and reads it back with a client; gives the events by summary."""

    def put() -> dict[str, dict[str, Any]]:
        answer = requests.put(
            server, file.read_bytes(), auth=("pki", "pki"), headers={"content-type": "text/calendar"}, timeout=20
        )
        assert answer.status_code == 201, answer.text
        done = subprocess.run(
            ["/usr/bin/python3", "-W", "ignore", str(READER), server], check=True, capture_output=True, text=True
        )
        return {event["summary"]: event for event in json.loads(done.stdout)}

    return put


@pytest.mark.skipif(sys.platform != "linux", reason="Debian's radicale and caldav")
def test_a_caldav_server_takes_it_alarms_are_read_back_and_after_a_rotation_the_old_event_is_gone(
    desk: Desk, upload: Callable[[], dict[str, dict[str, Any]]]
):
    desk.run(row("CI", ends=END))
    rotated(desk, step="Start", when=NOW + 40 * DAY, at=NOW)
    first = upload()
    assert first["CI ends (production)"]["alarms"] == [-30, -7, -1]
    assert first["CI ends (production)"]["day"] == str(END.date())
    assert first["Rotation of CI: Start"]["alarms"] == [0]
    new = row("CI 0002", ends=END + 300 * DAY, store="CI/0002 (in use)")
    desk.run(row("CI", "disabled", ends=END, enabled="no", store="CI/0001"), new, at=NOW + 48 * DAY)
    cancelled = upload()["CI ends (production)"]
    assert (cancelled["status"], cancelled["alarms"]) == ("CANCELLED", [])
    assert cancelled["uid"] == first["CI ends (production)"]["uid"]
    desk.run(new, at=NOW + 56 * DAY)
    assert "CI ends (production)" not in upload()
    assert "CI 0002 ends (production)" in upload()
