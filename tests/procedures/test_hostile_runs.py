"""A run against a hostile server ends before its deadline, in little memory and sealed. It lists every row or says that
rows may be missing, and sends its key nowhere else."""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pytest

from runbook_lib.archive.verify import verify_archive
from runbook_lib.catalogue import Exit
from tests.digicert.conftest import API_KEY
from tests.digicert.hostile import CASES, Answer, Asked, Hostile, hostile_server, one, says, total

pytestmark = pytest.mark.slow

RUNBOOK = Path(sys.executable).with_name("runbook")
LARGEST_MB = 500
SPARE = 60
"""Seconds beside a run's deadline to start, and to seal what there is; much, for a busy machine."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and the most memory that one of its processes took, in MB."""

    code: int
    out: str
    seconds: float
    largest: int


def watched(*words: str, environ: dict[str, str], cwd: Path, deadline: float) -> Ended:
    """Run a command to its end, and watch all its processes."""
    began, peaks, over = time.monotonic(), [0], Event()
    log = cwd / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([RUNBOOK, *words], cwd=cwd, env=environ, stdout=stream, stderr=subprocess.STDOUT)

        def watch() -> None:
            while not over.wait(0.05):
                with suppress(psutil.Error):
                    here = psutil.Process(process.pid)
                    peaks.extend(map(high_water, (here, *here.children(recursive=True))))

        watching = Thread(target=watch)
        watching.start()
        try:
            code = process.wait(deadline)
        finally:
            process.kill()
            over.set()
            watching.join()
    return Ended(code, log.read_text(encoding="utf-8"), time.monotonic() - began, max(peaks))


def high_water(process: psutil.Process) -> int:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    with hostile_server(tmp_path_factory.mktemp("tls")) as server:
        yield server


Command = Callable[..., Ended]


@pytest.fixture
def command(server: Hostile, tmp_path: Path) -> Command:
    """Run a command against a hostile response to the list request, or to every request if `all_of_it`."""

    def run(*words: str, answer: Answer, deadline: int, all_of_it: bool = False, **environ: str) -> Ended:
        server.requests.clear()
        server.answer = lambda asked: (
            says({"id": "u1"})(asked) if asked.path.endswith("/me") and not all_of_it else answer(asked)
        )
        url, ca = server.environment.api_url, str(server.environment.ca_file)
        given = {
            **{"DIGICERT_ONE_URL": url, "DIGICERT_ONE_CLIENTAUTH_URL": url, "DIGICERT_ONE_CA_FILE": ca},
            **{"DIGICERT_ONE_API_KEY": API_KEY, "DIGICERT_ONE_STORE": str(tmp_path / "store")},
            **{"DIGICERT_ONE_P12_PASSWORD": "correct horse battery staple 7"},
        }
        ended = watched(*words, environ=os.environ | given | environ, cwd=tmp_path, deadline=deadline + SPARE)
        assert ended.largest <= LARGEST_MB, ended
        assert API_KEY not in ended.out
        assert server.requests, ended.out
        print(f"{words[:2]}: exit {ended.code}, {ended.seconds:.0f} s, {ended.largest} MB")
        return ended

    return run


@dataclass(frozen=True)
class Bag:
    """What a run sealed."""

    record: dict[str, Any]
    tables: Path

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.tables / f"{name}.csv").open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def inventory(command: Command, tmp_path: Path) -> Callable[..., tuple[int, Bag]]:
    def run(answer: Answer, *more: str, deadline: int = 120, **given: Any) -> tuple[int, Bag]:
        words = ("run", "inventory", "-p", "environment", "sandbox", "--deadline", str(deadline), "--archive", "a")
        ended = command(*words, *more, answer=answer, deadline=deadline, **given)
        folder = tmp_path / ended.out.splitlines()[-1]
        assert not verify_archive(tmp_path / "a").findings
        return ended.code, Bag(json.loads((folder / "data" / "run.json").read_text()), folder / "data" / "tables")

    return run


def hostile_rows(count: int, first: int = 0) -> bytes:
    name = "<script>alert(1)</script>\x1b[2J\u202e=HYPERLINK()"
    return json.dumps([one(first + at, name=name, serial_number=f"{at:x}") for at in range(count)]).encode()


def never(asked: Asked) -> None:
    begin = int(asked.query.get("offset", "0"))
    says({"has_more": True, "items": [one(begin + at) for at in range(5_000)]})(asked)


Inventory = Callable[..., tuple[int, Bag]]


@pytest.mark.soak
def test_fifty_thousand_hostile_rows_are_rows(inventory: Inventory) -> None:
    code, bag = inventory(says(hostile_rows(50_000)))
    assert code == Exit.DONE
    assert len(bag.rows("inventory")) == 50_000
    assert not any(mark in row["name"] for row in bag.rows("inventory") for mark in "\x1b\u202e")


@pytest.mark.parametrize(
    ("answer", "rows"),
    [(never, 50_001), (total(60), 58), (total(5), 21)],
    ids=["a list that never ends", "a total too large", "a total too small"],
)
def test_a_list_that_may_be_a_part_is_rows_and_a_doubt(inventory: Inventory, answer: Answer, rows: int) -> None:
    code, bag = inventory(answer)
    assert code == Exit.CHECK_FAILED
    listed = bag.rows("inventory")
    assert len(listed) == rows
    assert [row["name"] for row in listed if row["state"] == "unchecked"] == ["(DigiCert ONE)"]


def test_a_bomb_is_no_list(inventory: Inventory) -> None:
    code, bag = inventory(CASES["a bomb in a bomb"][0])
    assert code == Exit.CHECK_FAILED
    assert [row["state"] for row in bag.rows("inventory")] == ["unchecked"]


def test_a_byte_at_a_time_ends_with_the_deadline(inventory: Inventory) -> None:
    code, bag = inventory(CASES["a slow body"][0], deadline=8)
    assert code == Exit.UNEXPECTED
    assert bag.record["status"] == "timed out"
    assert bag.record["duration"] < 8 + SPARE / 2


def test_a_redirect_is_not_followed_and_takes_no_key_along(inventory: Inventory, command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        to = f"https://localhost:{other.getsockname()[1]}/?key={API_KEY}"
        answer = says("", f"Location: {to}", status="307 Elsewhere")
        code, bag = inventory(answer, all_of_it=True)
        assert code == Exit.CHECK_FAILED
        assert API_KEY not in json.dumps(bag.record)
        assert [row["state"] for row in bag.rows("inventory")] == ["unchecked"]
        doctor = command("doctor", "-p", "environment", "sandbox", answer=answer, all_of_it=True, deadline=60)
        assert doctor.code == Exit.CHECK_FAILED
        assert "redirects" in doctor.out
        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.parametrize("name", ["a gzip bomb", "a body without end", "document: a million objects"])
def test_the_doctor_says_what_is_wrong(command: Command, name: str) -> None:
    ended = command("doctor", "-p", "environment", "sandbox", answer=CASES[name][0], all_of_it=True, deadline=60)
    assert ended.code == Exit.CHECK_FAILED
    assert "What to do" in ended.out
    assert "Traceback" not in ended.out


@pytest.mark.soak
def test_many_service_users_with_large_lists_take_no_more_than_one(inventory: Inventory, tmp_path: Path) -> None:
    """Each list alone is within the limits; all of them together are not, and those left out are reported."""
    pages = [hostile_rows(30_000, first=30_000 * number) for number in range(4)]
    keys = {f"KEY_{number}": f"{number}{API_KEY}" for number in range(12)}

    def answer(asked: Asked) -> None:
        number = re.search(rb"x-api-key: (\d+?)" + API_KEY.encode(), asked.head)
        says(pages[int(number[1]) % 4] if number else [])(asked)

    (tmp_path / "keys.yaml").write_text(f"api_keys: {[f'env:{name}' for name in keys]}\n")
    code, bag = inventory(answer, "-f", "keys.yaml", deadline=300, **keys)
    assert code == Exit.CHECK_FAILED
    users = bag.rows("service-users")
    assert len(users) == 12
    assert [row["state"] for row in users].count("answered") == 3  # who see the same
    assert {row["reason"] for row in users} == {"", "list_not_whole"}
    assert len(bag.rows("inventory")) == 50_000
