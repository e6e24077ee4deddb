"""The chain stays one line: many writers at once, and writers killed at any moment."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import chain, interrupted
from runbook_lib.archive.chain import Link, Pending, SealedBag
from runbook_lib.archive.seal import BAG, recover
from runbook_lib.archive.verify import verify_archive
from tests.archive.bags import (
    AT,
    ENVIRON,
    bare_path,
    environ_with_passphrase,
    places,
    put,
    sign,
    small,
    started,
    verify_sh,
)
from tests.reports import reading

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from datetime import timedelta
from pathlib import Path
from tests.archive.bags import AT, put
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    place = put(Path(sys.argv[1]), job=sys.argv[3], at=AT + timedelta(seconds=number))
    print(place.folder.name, flush=True)
"""


def _writers(archive: Path, count: int, bags: int) -> list[subprocess.Popen[str]]:
    """Processes that are ready to seal; a line on stdin lets them go."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(archive), str(bags), f"writer-{number}"],
            cwd=ROOT,
            env=environ_with_passphrase(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    return writers


def _go(writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    writer.stdin.write("\n")
    writer.stdin.flush()


@pytest.mark.interop
def test_eight_writers_at_once_make_one_line(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    sign(archive)
    writers = _writers(archive, 8, 5)
    for writer in writers:
        _go(writer)
    told = [writer.communicate()[0].split() for writer in writers]
    assert [len(names) for names in told] == [5] * 8
    audit = verify_archive(archive)
    assert (audit.bags, audit.signed, audit.findings) == (41, 41, ())
    assert verify_sh(archive, bare_path(tmp_path / "bin")).returncode == 0


@pytest.mark.interop
def test_writers_killed_at_random_moments_leave_a_whole_chain_and_every_run(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    sign(archive)
    chance = random.Random(20261123)  # noqa: S311
    told: set[str] = set()
    for batch in range(5):
        writers = _writers(archive, 4, 50)
        for writer in writers:
            _go(writer)
        for writer in writers:
            time.sleep(chance.random() * 0.15)
            writer.send_signal(signal.SIGKILL)
            told |= set(writer.communicate()[0].split())
        put(archive, at=AT + timedelta(hours=1 + batch))
    names = {place.name for place in places(archive)}
    assert told <= names  # what a writer was told is sealed, is
    assert not list((archive / ".staging").iterdir())
    audit = verify_archive(archive)
    assert audit.findings == ()
    assert verify_sh(archive, bare_path(tmp_path / "bin")).returncode == 0
    runs = [(place / "bag-info.txt").read_text().split("urn:uuid:")[1][:36] for place in places(archive)]
    assert len(set(runs)) == len(runs)  # none is there as done and as interrupted


def test_a_run_that_was_killed_is_sealed_by_the_next_one(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    killed = started("issue", AT - timedelta(hours=2))
    left = archive / ".staging" / "left"
    left.mkdir(parents=True)
    with interrupted.announced(left, killed):
        put(archive)  # it is alive: left alone
        assert [place.name[17:] for place in places(archive)] == ["demo"]
    put(archive)
    (place,) = [one for one in places(archive) if one.name.endswith("-issue")]
    assert place.name == "20261123T121500Z-issue"
    record = reading.record(place)
    assert (record["run"], record["status"], record["error"]["reason"]) == (killed.run, "interrupted", "interrupted")
    assert "was killed" in reading.page(place)
    link = Link.read((place / "chain.json").read_bytes())
    assert (link.status, link.expected, link.produced) == ("interrupted", 1, 0)
    assert verify_archive(archive).findings == ()
    assert not left.exists()


@pytest.mark.parametrize("moved", ["nothing", "the signature", "both"])
def test_a_writer_killed_between_any_two_renames_is_finished_by_the_next(tmp_path: Path, moved: str) -> None:
    archive = small(tmp_path / "archive", signed=True, bags=3)
    *_, before, last = sorted(places(archive), key=lambda one: json.loads((one / "chain.json").read_text())["sequence"])
    head, sealed = chain.sealed_bag(archive, before), chain.sealed_bag(archive, last)
    assert head is not None
    assert sealed is not None
    staging = archive / ".staging" / "killed"
    staging.mkdir()
    chain.write_pointer(archive, head, Pending(sealed, ".staging/killed"))
    if moved != "both":
        last.rename(staging / BAG)
    if moved == "nothing":
        chain.signature_of(last).rename(staging / "bag.p7s")
    recover(archive)
    assert chain.find_head(archive) == sealed
    assert not staging.exists()
    put(archive, environ=ENVIRON)
    assert verify_archive(archive).findings == ()
    assert verify_archive(archive).bags == 4


def test_a_signature_whose_bag_never_came_is_taken_away(tmp_path: Path) -> None:
    archive = small(tmp_path / "archive", signed=True, bags=2)
    head = chain.find_head(archive)
    lost = SealedBag(3, "0" * 64, "0" * 64, head.next_signer, "2026/11/24/20261124T000000Z-lost")
    signature = chain.signature_of(archive / lost.bag)
    signature.parent.mkdir(parents=True)
    signature.write_bytes(b"")
    chain.write_pointer(archive, head, Pending(lost, ".staging/gone"))
    assert verify_archive(archive).findings != ()
    put(archive)
    assert verify_archive(archive).findings == ()


def test_the_head_is_found_without_its_pointer_and_in_spite_of_an_old_one(tmp_path: Path) -> None:
    archive = small(tmp_path / "archive", signed=False, bags=3)
    head, old = chain.find_head(archive), (archive / ".head").read_bytes()
    assert head.sequence == 3
    (archive / ".head").unlink()
    assert chain.find_head(archive) == head
    (archive / ".head").write_bytes(b"head 9")
    assert chain.find_head(archive) == head
    put(archive, at=AT + timedelta(days=9))
    (archive / ".head").write_bytes(old)  # as from a backup
    assert chain.find_head(archive).sequence == 4


def test_a_chain_whose_end_was_removed_does_not_close_over_the_gap(tmp_path: Path) -> None:
    archive = small(tmp_path / "archive", signed=False, bags=3)
    last = archive / chain.find_head(archive).bag
    last.rename(tmp_path / "taken")
    put(archive, at=AT + timedelta(days=9))
    assert any("missing before it" in one for one in verify_archive(archive).findings)
    (tmp_path / "taken").rename(last)
    assert verify_archive(archive).findings == ()
