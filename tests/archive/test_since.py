"""A nightly check reads what came after a head kept elsewhere, says so, and finds what is wrong with that."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import chain, retention, verify_bags
from runbook_lib.archive.chain import signature_of
from runbook_lib.archive.timestamps import stamp_of
from runbook_lib.archive.verify import Verification, verify_archive
from tests.archive import mutations, tsa
from tests.archive.bags import AT, ENVIRON, places, put, sign, small, stamp_from_now_on

pytestmark = pytest.mark.interop


@pytest.fixture
def head(archive: Path) -> str:
    """Of the fourth bag, after which two more came, on the day of that bag."""
    small(archive, signed=True, bags=4)
    kept = chain.find_head(archive).digest
    put(archive, at=AT)
    put(archive, at=AT + timedelta(hours=1))
    return kept


def since(archive: Path, head: str) -> Verification:
    return verify_archive(archive, since=head)


def test_only_what_came_after_the_head_is_read(archive: Path, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def check(archive: Path, place: str, found: verify_bags.FoundBags) -> int:
        read.append(place)
        return verify_bags.check_bag(archive, place, found)

    monkeypatch.setattr("runbook_lib.archive.verify.check_bag", check)
    audit = since(archive, head)
    assert read == [str(bag.relative_to(archive)) for bag in places(archive)[-2:]]
    assert (audit.findings, audit.since, audit.bags, audit.signed) == ((), 4, 2, 2)
    assert audit.head == verify_archive(archive).head
    (places(archive)[0] / "data/run.json").write_bytes(b"changed")
    assert since(archive, head).findings == ()
    assert verify_archive(archive).findings != ()


def test_nothing_came_after_the_head(archive: Path, head: str) -> None:
    audit = since(archive, chain.find_head(archive).digest)
    assert (audit.findings, audit.bags, audit.since) == ((), 0, 6)
    (archive / ".head").unlink()  # a convenience: without it every bag is looked at
    assert since(archive, head).bags == 2


def payload(archive: Path) -> str:
    (places(archive)[-1] / "data/run.json").write_bytes(b"changed")
    return "changed"


def file_added(archive: Path) -> str:
    (places(archive)[-1] / "data/more").write_bytes(b"")
    return "added"


def signature(archive: Path) -> str:
    last, other = signature_of(places(archive)[-1]), signature_of(places(archive)[-2])
    last.write_bytes(other.read_bytes())
    return "its signature does not verify"


def bag_missing(archive: Path) -> str:
    mutations._drop(places(archive)[-2])
    return "number 5 is missing before it"


def end_cut_off(archive: Path) -> str:
    mutations._drop(places(archive)[-1])
    return ".head says that the chain ends with number 6"


def stray(archive: Path) -> str:
    (places(archive)[-1].parent / "stray").write_bytes(b"")
    return "not part of an archive"


def head_edited(archive: Path) -> str:
    mutations._edit(places(archive)[3], "next_signer", "none", quoted=True)
    return "chain.json: changed"


def signature_of_the_head(archive: Path) -> str:
    signature_of(places(archive)[3]).write_bytes(b"")
    return "does not link to the signature of the bag before it"


CHANGES = (payload, file_added, signature, bag_missing, end_cut_off, stray, head_edited, signature_of_the_head)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_to_what_came_after_is_found(archive: Path, head: str, change: Callable[[Path], str]) -> None:
    said = change(archive)
    found = since(archive, head).findings
    assert any(said in finding for finding in found), found


def test_a_head_that_is_not_in_the_archive(archive: Path, head: str) -> None:
    (finding,) = since(archive, head[::-1]).findings
    assert "is not in this archive: its end was cut off, or it was rewritten" in finding


def test_a_run_that_was_killed_long_ago_and_sealed_since_is_read(archive: Path, head: str) -> None:
    late = put(archive, at=AT - timedelta(days=300), status="interrupted").folder
    assert since(archive, head).bags == 3
    (late / "data/run.json").write_bytes(b"changed")
    assert since(archive, head).findings != ()


def test_the_head_was_purged_since(archive: Path, head: str) -> None:
    later = AT + timedelta(days=1)
    plan = retention.plan(archive, later.date(), at=later)
    assert head in [line.digest for line in plan.goes]
    retention.purge_runs(archive, plan, why="a year", at=later, environ=ENVIRON)
    put(archive, at=later)
    audit = since(archive, head)
    assert (audit.findings, audit.bags, audit.since) == ((), 2, 4)


def test_time_stamps_that_came_since_are_verified(archive: Path, tmp_path: Path) -> None:
    sign(archive)
    with tsa.authority(tmp_path / "tsa") as source:
        stamp_from_now_on(archive, source)
        before = put(archive, at=AT + timedelta(hours=1)).folder
        head = chain.find_head(archive).digest
        last = put(archive, at=AT + timedelta(hours=2)).folder
    audit = since(archive, head)
    assert (audit.findings, len(audit.stamped)) == ((), 1)
    content = stamp_of(before).read_bytes()
    stamp_of(before).write_bytes(stamp_of(last).read_bytes())  # the new bag names the one before
    assert any("not the time stamp that" in finding for finding in since(archive, head).findings)
    stamp_of(before).write_bytes(content)
    stamp_of(last).write_bytes(content)
    assert any("does not verify" in finding for finding in since(archive, head).findings)


def test_the_verdict_says_that_the_rest_was_not_checked(archive: Path, head: str) -> None:
    def verify(*words: str, expect: int = 0) -> str:
        command = [sys.executable, "-m", "runbook_lib.cli", "archive", "verify", str(archive), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    said = verify("--since", head)
    assert "OK since number 4: 2 bags with 16 files: none changed, added or missing" in said
    assert "NOT CHECKED: number 4 and what came before." in said
    assert "from the first bag to the last" not in said
    assert "OK since number 6: no bag came after it." in verify("--since", chain.find_head(archive).digest)
    assert "must be a SHA-256 digest" in verify("--since", "4", expect=2)
    assert "without --head and --excerpt" in verify("--since", head, "--head", head, expect=2)
    payload(archive)
    assert "NOT OK" in verify("--since", head, expect=1)
