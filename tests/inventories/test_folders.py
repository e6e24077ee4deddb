"""Folders of certificates: every file is a row or a reason, on all cores, and by the dates that count."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from runbook_lib.credentials.keys import KeyKind, generate
from runbook_lib.credentials.pkcs12 import Profile, write_p12
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.inventories import folders
from runbook_lib.inventories.folder_process import Helper
from runbook_lib.inventories.folder_walk import FolderEntry, walk_folder
from runbook_lib.inventories.folder_worker import ENOUGH, Summary
from runbook_lib.inventories.folders import read_folders
from runbook_lib.inventories.health import Limits
from runbook_lib.inventories.schemas import FILES
from runbook_lib.procedures.inventory import Inventory
from runbook_lib.result import Result, Verdict
from runbook_lib.tables import SHOWN, LongTable
from tests.conftest import Sandbox
from tests.credentials.pki import CHAIN, NOW, PASSWORD, ROOT, identity, name, sign
from tests.procedures.conftest import prepare, run

DAY = timedelta(days=1)
LIMITS = Limits.days(NOW, due=90, urgent=30)
KEY = generate(KeyKind.P256)


def pem(start: int, end: int, common_name: str = "x", **changes: Any) -> bytes:
    """A certificate that began and ends so many days from now."""
    one = sign(KEY.public_key(), name(common_name), name("CA"), ROOT.key, start=NOW + start * DAY, end=NOW + end * DAY,
               **changes)  # fmt: skip
    return one.public_bytes(Encoding.PEM)


def read(where: Path, *folders: Path, **options: Any) -> tuple[list[dict[str, str]], Summary]:
    """The table as it is on disk, and the summary."""
    with LongTable(where, FILES, "Files") as table:
        summary = read_folders([str(one) for one in folders], table, LIMITS, **options)
        assert table.finish(unchecked=0).rows == summary.rows
    with (where / "files.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream)), summary


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Some hundred files in several folders: good, odd, broken, linked, nested."""
    top = tmp_path / "certificates"
    for number in range(150):
        place = top / f"{number % 3}" / "deep"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03}.pem").write_bytes(pem(-100, number - 50, f"number {number}") * (1 + number % 2))
    (top / "notes.txt").write_text("none")
    (top / "empty.pem").write_bytes(b"")
    (top / "link").symlink_to("0")
    return top


# --- dates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "state", "days"),
    [
        (-300, 91, "healthy", "91"),
        (-300, 89, "due", "89"),
        (-300, 29, "urgent", "29"),
        (-300, 0, "expired", "0"),
        (-300, -1, "expired", "-1"),
        (-30, 31, "healthy", "31"),  # 31 of 61 days are left: more than a third
        (-50, 20, "due", "20"),  # fewer than a third of 70, and not yet a ninth
        (-83, 7, "urgent", "7"),  # a ninth of 90
        (5, 300, "not yet valid", "300"),
    ],
)
def test_a_certificate_stands_as_its_dates_say_relative_to_its_lifetime(
    tmp_path: Path, start: int, end: int, state: str, days: str
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/c.pem").write_bytes(pem(start, end))
    (row,), summary = read(tmp_path / "out", tmp_path / "one")
    assert (row["state"], row["days left"]) == (state, days)
    assert summary.pressing == (state in ("due", "urgent"))


def test_an_odd_serial_number_is_written_as_digicert_writes_it(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/c.pem").write_bytes(pem(-1, 300, serial=0xABC))
    (row,), _ = read(tmp_path / "out", tmp_path / "one")
    assert row["serial"] == "ABC"


# --- every file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [0, 1, 2, 3])
def test_every_file_is_accounted_for_in_its_order_however_many_processes_read(
    tmp_path: Path, many: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "PIECE", 7 if processes else 1000)
    rows, summary = read(tmp_path / "out", many, processes=processes)
    files = sorted(str(path) for path in many.rglob("*") if path.is_symlink() or path.is_file())
    assert list(dict.fromkeys(row["file"] for row in rows)) == list(walk_folder(str(many)))
    assert sorted({row["file"] for row in rows}) == files
    assert (summary.files, summary.rows) == (153, 150 + 75 + 3)
    assert {row["reason"] for row in rows} == {"", "no_certificate", "link_not_followed"}
    assert sum(summary.states.values()) == summary.rows == len(rows)
    assert sum(summary.months.values()) == 225
    soonest = [row for _, row in summary.soonest]
    assert len(soonest) == SHOWN
    assert soonest[0][FILES.columns.index("subject")] == "CN=number 51"  # number 50 ends at this moment
    ends = [row[FILES.columns.index("days left")] for row in soonest]
    assert ends == sorted(ends, key=lambda days: (int(days) < 1, abs(int(days))))


def test_one_process_and_several_say_the_same(tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = read(tmp_path / "a", many)
    monkeypatch.setattr(folders, "PIECE", 10)
    assert read(tmp_path / "b", many, processes=2) == alone


def test_a_folder_that_is_not_there_is_a_row(tmp_path: Path) -> None:
    (row,), summary = read(tmp_path / "out", tmp_path / "nowhere")
    assert (row["file"], row["state"], row["reason"]) == (str(tmp_path / "nowhere"), "unchecked", "file_not_read")
    assert summary.reasons == {"file_not_read": 1}


def test_a_folder_that_is_itself_a_link_is_followed_and_one_in_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "real/sub").mkdir(parents=True)
    (tmp_path / "real/c.pem").write_bytes(pem(-1, 300))
    (tmp_path / "real/again").symlink_to("../real")
    (tmp_path / "link").symlink_to("real")
    rows, _ = read(tmp_path / "out", tmp_path / "link")
    assert [row["reason"] for row in rows] == ["link_not_followed", ""]


def test_a_hostile_name_is_data(tmp_path: Path) -> None:
    place = tmp_path / "one"
    place.mkdir()
    (place / '=cmd,"x"\n.pem').write_bytes(pem(-1, 300, "<b>\r\n=1"))
    with open(bytes(place) + b"/caf\xe9.pem", "wb") as stream:  # noqa: PTH123  (no text is its name)
        stream.write(pem(-1, 300))
    (place / "link\r\n,").symlink_to('"nowhere",')
    rows, _ = read(tmp_path / "out", place, processes=1)
    files = (f'{place}/=cmd,"x"\n.pem', f"{place}/caf\\udce9.pem", f"{place}/link\r\n,")
    assert {row["file"]: (row["subject"], row["reason"]) for row in rows} == dict(
        zip(files, [("CN=\\<b\\>\r\n'=1", ""), ("CN=x", ""), ("", "link_not_followed")], strict=True)
    )


@pytest.mark.parametrize("processes", [0, 2])
def test_a_bundle_of_thousands_is_answered_in_parts_and_what_follows_it_is_in_its_order(
    tmp_path: Path, processes: int
) -> None:
    place = tmp_path / "one"
    place.mkdir()
    for number in range(4):
        (place / f"{number}.pem").write_bytes(pem(-1, 300) * (ENOUGH + 1 if number % 2 else 1))
    rows, summary = read(tmp_path / "out", place, processes=processes)
    counts = [(f"{place}/{number}.pem", ENOUGH + 1 if number % 2 else 1) for number in range(4)]
    assert [row["file"] for row in rows] == [file for file, count in counts for _ in range(count)]
    assert [int(row["number"]) for row in rows] == [one for _, count in counts for one in range(1, count + 1)]
    assert (summary.files, summary.rows) == (4, 2 * ENOUGH + 4)


# --- P12 --------------------------------------------------------------------------------------------------------------


def test_p12_files_are_opened_in_every_process_and_the_password_is_seen_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "p12"
    place.mkdir()
    for number in range(6):
        data = write_p12(identity(), PASSWORD, profile=Profile.MODERN, friendly_name="x")
        (place / f"{number}.p12").write_bytes(data if number else data[:-30])
    monkeypatch.setattr(folders, "PIECE_OF_P12", 2)
    started: list[psutil.Process] = []
    popen = subprocess.Popen

    def watched(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        child = popen(*words, **options)
        started.append(psutil.Process(child.pid))
        seen.append(" ".join([*started[-1].cmdline(), *started[-1].environ().values()]))
        return child

    seen: list[str] = []
    monkeypatch.setattr(subprocess, "Popen", watched)
    rows, summary = read(tmp_path / "out", place, password=PASSWORD)
    assert len(seen) >= 1
    assert not any(PASSWORD.reveal() in text for text in seen)
    assert PASSWORD.reveal() not in json.dumps(rows)
    assert summary.rows == 5 * (1 + len(CHAIN)) + 1
    assert rows[0]["reason"] == "unreadable_file"
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in started)


# --- when something ends in the middle --------------------------------------------------------------------------------


def test_a_process_that_somebody_ends_is_started_again_and_no_row_is_lost(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read(tmp_path / "before", many)
    monkeypatch.setattr(folders, "PIECE", 7)
    ask = Helper._ask
    calls = 0

    def kill(self: Helper, entries: tuple[FolderEntry, ...], begun: int) -> Any:
        nonlocal calls
        calls += 1
        if calls in (3, 20):
            self._process.kill()
        yield from ask(self, entries, begun)

    monkeypatch.setattr(Helper, "_ask", kill)
    assert read(tmp_path / "out", many, processes=2) == expected
    assert calls > 20


def test_a_process_that_cannot_begin_is_an_error_and_no_table_is_left(
    tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RunbookError) as caught:
        read(tmp_path / "out", many)
    assert caught.value.reason is Reason.FILE_NOT_READ
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_is_for_whoever_reads_the_answers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # a terminal sends it to every process, and none of ours is to write its traceback there
    file = tmp_path / "one.pem"
    file.write_bytes(pem(-1, 300))
    with closing(Helper(LIMITS, None)) as helper:
        assert [one.summary.rows for one in helper.read((FolderEntry(str(file)),))] == [1]  # it has begun
        helper._process.send_signal(signal.SIGINT)
        assert sum(one.summary.rows for one in helper.read((FolderEntry(str(file)), FolderEntry(str(file))))) == 2
    assert capfd.readouterr().err == ""


def test_the_processes_end_with_whoever_started_them(tmp_path: Path, many: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from runbook_lib.inventories.folder_process import Helper\n"
        "from runbook_lib.inventories.health import Limits\n"
        "from datetime import datetime, UTC\n"
        "helper = Helper(Limits.days(datetime.now(UTC), due=1, urgent=1), None)\n"
        "print(helper._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        if psutil.Process(int(done.stdout)).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    else:
        assert not psutil.pid_exists(int(done.stdout))


# --- the notebook's step ----------------------------------------------------------------------------------------------


def take(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, place: Path, **given: Any) -> tuple[Result, Verdict]:
    monkeypatch.chdir(place)
    procedure = prepare(Inventory, sandbox, **given)
    assert run(procedure).error is None
    result = procedure.records[2].result
    assert result is not None
    return result, procedure.finish().verdict


def test_the_step_tells_counts_months_the_soonest_and_where_the_whole_is(
    sandbox: Sandbox, tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # whose days are counted from today
    shutil.copy(many / "0/deep/000.pem", many / "copy.pem")
    result, verdict = take(sandbox, monkeypatch, tmp_path, folders=[str(many)])
    assert result.headline.startswith("154 files, 229 rows: ")
    assert [one.file for one in result.beside[0].files] == ["tables/files.csv"]
    assert result.histogram is not None
    assert sum(count for _, _, count in result.histogram.months) == 226
    assert {table.name for table in result.tables} == {"soonest-first", "reasons"}
    assert all(len(table.rows) <= SHOWN for table in result.tables)
    assert verdict is Verdict.ATTENTION
    assert result.needs_action > 0


def test_a_folder_that_cannot_be_read_leaves_the_run_unchecked(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, verdict = take(sandbox, monkeypatch, tmp_path, folders=str(tmp_path / "nowhere"))
    assert (result.verdict, verdict, result.reason) == (Verdict.UNCHECKED, Verdict.UNCHECKED, "file_not_read")


def test_without_a_folder_nothing_is_written(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _ = take(sandbox, monkeypatch, tmp_path)
    assert result.verdict is Verdict.NOTHING_TO_DO
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_reported_with_its_remedy(
    sandbox: Sandbox, tmp_path: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    procedure = prepare(Inventory, sandbox, {"RUNBOOK_TABLES": str(tmp_path / "file" / "tables")}, folders=str(many))
    error = run(procedure).error
    assert error is not None
    assert error["reason"] == Reason.TABLE_NOT_WRITTEN
    assert "RUNBOOK_TABLES" in error["remedy"]


def test_p12_files_are_opened_where_their_password_is_named(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "p12"
    place.mkdir()
    (place / "one.p12").write_bytes(write_p12(identity(), PASSWORD, profile=Profile.COMPAT, friendly_name="x"))
    closed, _ = take(sandbox, monkeypatch, tmp_path, folders=str(place))
    assert "1 unchecked" in closed.headline
    monkeypatch.setitem(sandbox.env, "OTHERS", PASSWORD.reveal())
    opened, _ = take(sandbox, monkeypatch, tmp_path, folders=str(place), folders_password="env:OTHERS")
    assert "unchecked" not in opened.headline
    assert "3 rows" in opened.headline


def test_a_folder_inside_of_another_or_named_twice_counts_once(tmp_path: Path):
    inner = tmp_path / "certificates" / "inner"
    inner.mkdir(parents=True)
    (inner / "one.pem").write_bytes(pem(-10, 100))
    (tmp_path / "link").symlink_to(inner)
    _, summary = read(tmp_path / "table", inner, tmp_path / "certificates", tmp_path / "link", inner)
    assert (summary.files, summary.rows) == (1, 1)


def test_a_tree_deeper_than_python_s_stack_is_walked(tmp_path: Path):
    before = Path.cwd()
    depth, top = sys.getrecursionlimit() + 200, tmp_path / "d"
    top.mkdir()
    try:
        os.chdir(top)
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("one.pem").write_bytes(b"")
        os.chdir(before)
        assert len(list(walk_folder(str(top)))) == 1
    finally:
        os.chdir(before)
        subprocess.run(["rm", "-r", top], check=True)  # pytest could not
