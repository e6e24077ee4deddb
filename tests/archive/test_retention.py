"""Old runs go and the chain still holds; what is held stays; a forged, edited or undeclared purge is found."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import chain, excerpt, expectation, retention, timestamps, tombstones
from runbook_lib.archive.chain import is_kept
from runbook_lib.archive.retention import Hold
from runbook_lib.archive.verify import verify_archive
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from tests.archive import tsa
from tests.archive.bags import (
    AT,
    ENVIRON,
    copy,
    environ_with_passphrase,
    places,
    put,
    sign,
    small,
    stamp_from_now_on,
    verify_sh,
)

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
LATER = AT + timedelta(days=400)
DAY = AT.date()


def purge(archive: Path, before: date, at: datetime = LATER) -> Path:
    what = retention.plan(archive, before, at=at)
    return retention.purge_runs(archive, what, why="retention of a year", at=at, environ=ENVIRON).folder


def holds(archive: Path, tools: Path, *, bags: int, purged: int, head: str | None = None) -> None:
    """Both verifiers are content, and count so many bags."""
    audit = verify_archive(archive, head=head)
    assert (audit.findings, audit.bags, audit.purged) == ((), bags, purged)
    seen = verify_sh(archive, tools, *(("--head", head) if head else ()))
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert f"OK: {bags} bags" in seen.stdout
    assert (f"Purged: {purged} bag{'s' * (purged > 1)}," in seen.stdout) == bool(purged)


def does_not_hold(archive: Path, tools: Path, finding: str) -> None:
    assert any(finding in one for one in verify_archive(archive).findings), verify_archive(archive).findings
    seen = verify_sh(archive, tools)
    assert (seen.returncode, seen.stdout[:6]) == (1, "NOT OK")
    assert finding in seen.stdout


@pytest.mark.parametrize("signed", [True, False])
def test_old_runs_go_for_good_and_the_chain_holds_from_first_to_last(archive: Path, tools: Path, signed: bool) -> None:
    small(archive, signed=signed, bags=6)  # over two days
    early = chain.sealed_bag(archive, places(archive)[1])
    assert early is not None
    old = [bag for bag in places(archive) if bag.parent.name == "22" and not is_kept(bag.name)]
    assert old
    tombstone = purge(archive, DAY)
    assert not [bag for bag in old if bag.exists() or chain.signature_of(bag).exists()]
    assert (archive / "2026/11/22").exists() == signed  # the entry that made the signer stays
    lines = (tombstone / tombstones.PURGED).read_text().splitlines()
    assert lines[0] == tombstones.HEADER
    assert [line.split()[1] for line in lines[1:]] == [str(bag.relative_to(archive)) for bag in old]
    holds(archive, tools, bags=6 - len(old) + 1, purged=len(old), head=early.digest)
    put(archive, at=LATER + timedelta(hours=1))
    # once more, past the first tombstone, which stays
    purge(archive, LATER.date() + timedelta(days=1), at=LATER + timedelta(days=2))
    left = [bag.name.split("Z-")[1] for bag in places(archive)]
    assert left == (["signer"] if signed else []) + ["purge", "purge"]
    holds(archive, tools, bags=len(left), purged=6 - signed + 1, head=early.digest)
    put(archive, at=LATER + timedelta(days=3))
    holds(archive, tools, bags=len(left) + 1, purged=6 - signed + 1)
    subprocess.run([sys.executable, "-m", "bagit", "--validate", "--quiet", str(tombstone)], check=True)


def test_what_is_held_stays_until_it_is_released(archive: Path, tools: Path) -> None:
    small(archive, signed=True, bags=5)
    case = Hold("Case 7", DAY, DAY, "dispute with a supplier")
    place = retention.hold_runs(archive, case, at=AT, environ=ENVIRON)
    assert retention.holds(archive) == {"Case 7": case}
    what = retention.plan(archive, LATER.date(), at=LATER)
    held = [bag for bag, name in what.held if name == "Case 7"]
    assert held
    assert all(bag.startswith("2026/11/23/") for bag in held)
    assert all(one.link.bag.startswith("2026/11/22/") for one in what.goes)
    with pytest.raises(RunbookError):
        retention.hold_runs(archive, case, at=AT, environ=ENVIRON)  # that name is taken
    with pytest.raises(RunbookError):
        retention.release_hold(archive, "Case 8", why="", at=AT, environ=ENVIRON)
    # a hold that comes between plan and purge
    everything = Hold("All", None, None, "an auditor is here")
    retention.hold_runs(archive, everything, at=AT, environ=ENVIRON)
    with pytest.raises(RunbookError) as caught:
        retention.purge_runs(archive, what, why="", at=LATER, environ=ENVIRON)
    assert "'All' covers" in caught.value.what
    retention.release_hold(archive, "All", why="he has gone", at=AT, environ=ENVIRON)
    retention.purge_runs(archive, what, why="", at=LATER, environ=ENVIRON)
    holds(archive, tools, bags=5 - len(what.goes) + 4, purged=len(what.goes))
    retention.release_hold(archive, "Case 7", why="settled", at=LATER, environ=ENVIRON)
    assert retention.holds(archive) == {}
    purge(archive, LATER.date())
    assert [bag for bag in places(archive) if not is_kept(bag.name)] == []
    assert place.folder.exists()  # what was held, by whom and why is never purged
    holds(archive, tools, bags=7, purged=4)


def test_the_bags_of_a_batch_that_was_gone_on_with_stay_and_go_together(archive: Path, tools: Path) -> None:
    """The page of the later bag links to the reports in the earlier one."""
    night, other = (str(uuid.uuid4()) for _ in range(2))
    evening, morning = AT.replace(hour=23), AT.replace(hour=1) + timedelta(days=1)
    first, second, alone = (
        str(put(archive, at=at, group=group).folder.relative_to(archive))
        for at, group in ((evening, night), (morning, night), (AT, other))
    )
    by_age = retention.plan(archive, morning.date(), at=LATER)
    assert ([one.link.bag for one in by_age.goes], by_age.waits) == ([alone], (first,))
    before = retention.plan(archive, LATER.date(), at=LATER)
    assert {one.link.bag for one in before.goes} == {first, second, alone}
    retention.hold_runs(archive, Hold("Case 7", morning.date(), None, "a dispute"), at=LATER, environ=ENVIRON)
    what = retention.plan(archive, LATER.date(), at=LATER)
    assert what.held == ((first, "Case 7"), (second, "Case 7"))
    assert [one.link.bag for one in what.goes] == [alone]
    with pytest.raises(RunbookError) as caught:
        only = tuple(one for one in before.goes if one.link.bag == first)
        retention.purge_runs(archive, replace(before, goes=only), why="", at=LATER, environ=ENVIRON)
    assert f"'Case 7' covers {first}" in caught.value.what
    retention.purge_runs(archive, what, why="", at=LATER, environ=ENVIRON)
    assert [(archive / bag).exists() for bag in (first, second, alone)] == [True, True, False]
    holds(archive, tools, bags=4, purged=1)


def test_nothing_is_purged_that_does_not_hold_or_that_nobody_can_sign(archive: Path) -> None:
    small(archive, signed=True, bags=4)
    what = retention.plan(archive, LATER.date(), at=LATER)
    with pytest.raises(RunbookError) as caught:
        retention.purge_runs(archive, what, why="", at=LATER, environ={})
    assert caught.value.reason is Reason.SIGNER_SHUT
    victim = archive / what.goes[0].link.bag
    (victim / "data/run.json").write_bytes(b"[]\n")
    with pytest.raises(RunbookError) as caught:
        retention.plan(archive, LATER.date(), at=LATER)
    assert caught.value.reason is Reason.NOT_WHOLE
    (victim / chain.TAGS).write_bytes(b"")
    with pytest.raises(RunbookError) as caught:
        retention.purge_runs(archive, what, why="", at=LATER, environ=ENVIRON)
    assert caught.value.reason is Reason.NOT_WHOLE
    assert all((archive / one.link.bag).exists() for one in what.goes)
    with pytest.raises(RunbookError) as caught:
        retention.plan(archive, LATER.date() + timedelta(days=1), at=LATER)
    assert caught.value.reason is Reason.BAD_PARAMETER


def test_forged_edited_and_missing_tombstones_are_found_and_so_is_a_purged_bag_that_is_back(
    archive: Path, tools: Path, tmp_path: Path
) -> None:
    whole = small(tmp_path / "whole", signed=True, bags=6)
    copy(whole, archive)
    victim = places(archive)[2]
    shutil.rmtree(victim)
    chain.signature_of(victim).unlink()
    does_not_hold(archive, tools, "missing before it")  # a purge that nobody declared
    # a forger's tombstone: complete, but nobody signs it
    line = tombstones.of(whole / victim.relative_to(archive))
    last = archive / chain.find_head(archive).bag
    (last / tombstones.PURGED).write_bytes(tombstones.tombstone_text([line]))
    does_not_hold(archive, tools, "purged.txt: added")
    shutil.rmtree(archive)
    copy(whole, archive)
    tombstone = purge(archive, DAY)
    file = tombstone / tombstones.PURGED
    content = file.read_bytes()
    file.write_bytes(content.replace(b" done", b" failed", 1))
    does_not_hold(archive, tools, "purged.txt: changed")
    file.write_bytes(content.splitlines(keepends=True)[0])
    does_not_hold(archive, tools, "missing before it")
    file.write_bytes(content.replace(b" 1 1 ", b" x 1 ", 1))
    does_not_hold(archive, tools, "purged.txt: malformed tombstone line")
    file.write_bytes(content)
    back = tombstones.read_tombstone(content)[0].link.bag
    shutil.copytree(whole / back, archive / back)
    does_not_hold(archive, tools, f"{back}: purged or left out, but present")
    shutil.copy(chain.signature_of(whole / back), chain.signature_of(archive / back))
    does_not_hold(archive, tools, f"{back}: purged or left out, but present")


def test_stamps_that_only_a_purged_bag_named_are_named_by_the_tombstone(
    archive: Path, tools: Path, tmp_path: Path
) -> None:
    sign(archive, AT - timedelta(days=1))
    with tsa.authority(tmp_path / "tsa") as source:
        stamp_from_now_on(archive, source)
        put(archive, at=AT + timedelta(days=1))
        old = put(archive, at=AT).folder  # it names the stamp of the one before, and is older by name
        tombstone = purge(archive, DAY + timedelta(days=1))
    assert not timestamps.stamp_of(old).exists()
    assert len(timestamps.read_list(tombstone)) >= 2
    holds(archive, tools, bags=4, purged=1)
    assert len(verify_archive(archive).stamped) == 4
    stays = next(bag for bag in places(archive) if bag.name.endswith("-demo"))
    timestamps.stamp_of(stays).unlink()
    does_not_hold(archive, tools, f"{stays.name}.tsr: missing")


WRITER = """
import sys
from datetime import date, timedelta
from pathlib import Path
from runbook_lib.archive import retention
from tests.archive.test_retention import DAY, ENVIRON, LATER
archive = Path(sys.argv[1])
what = retention.plan(archive, LATER.date(), at=LATER)
print("ready", flush=True)
sys.stdin.readline()
retention.purge_runs(archive, what, why="retention", at=LATER, environ=ENVIRON)
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("twenty") / "archive", signed=True, bags=20)


@pytest.fixture
def purger(archive: Path, twenty: Path) -> Iterator[subprocess.Popen[str]]:
    copy(twenty, archive)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(archive)],
        cwd=ROOT,
        env=environ_with_passphrase(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", range(5))
def test_a_purge_killed_at_any_moment_is_finished_or_had_not_begun(
    archive: Path, tools: Path, purger: subprocess.Popen[str], number: int
) -> None:
    assert purger.stdin is not None
    purger.stdin.write("\n")
    purger.stdin.flush()
    time.sleep(random.Random(number).random() * 0.08)  # noqa: S311
    purger.send_signal(signal.SIGKILL)
    purger.wait()
    put(archive, at=LATER + timedelta(days=1))
    audit = verify_archive(archive)
    assert audit.findings == ()
    assert audit.purged in (0, 19)
    assert audit.bags + audit.purged in (21, 22)
    assert verify_sh(archive, tools).returncode == 0
    assert not (archive / tombstones.PURGING).exists()
    assert not (archive / tombstones.TRASH).exists()


def test_a_purge_that_stopped_half_way_is_a_finding_until_the_next_run_ends_it(archive: Path, tools: Path) -> None:
    small(archive, signed=True, bags=5)
    whole = copy(archive, archive.with_name("whole"))
    before = chain.find_head(archive)
    tombstone = purge(archive, LATER.date())
    last = chain.find_head(archive)
    back = tombstones.read_tombstone((tombstone / tombstones.PURGED).read_bytes())[1].link.bag
    shutil.copytree(whole / back, archive / back)
    tombstones.announce(archive, last.bag)
    (archive / ".staging/killed").mkdir()
    chain.write_pointer(archive, before, chain.Pending(last, ".staging/killed"))
    does_not_hold(archive, tools, "the next run completes an interrupted purge")
    put(archive, at=LATER + timedelta(days=1))
    holds(archive, tools, bags=3, purged=4)


def test_from_the_command_line(archive: Path) -> None:
    def runbook(*words: str, expect: int = 0) -> str:
        command = [sys.executable, "-m", "runbook_lib.cli", "archive", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environ_with_passphrase(), check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    small(archive, signed=True, bags=4)
    where = str(archive)
    today = datetime.now(UTC).date().isoformat()
    runbook("hold", where, "Case 7", "--from", "2026-11-23", "--why", "dispute")
    plan = runbook("purge", where, "--before", today, "--why", "a year", "--dry-run")
    assert "Would delete 2 runs from before" in plan
    assert "under the hold 'Case 7'" in plan
    assert "The purge is not confirmed" in runbook("purge", where, "--before", today, "--why", "a year", expect=2)
    runbook("purge", where, "--before", today, "--why", "a year", "--confirm", "other", expect=2)
    assert len(places(archive)) == 5
    made = runbook("purge", where, "--before", today, "--why", "a year", "--confirm", archive.name)
    assert made.splitlines()[-1].endswith("-purge")
    assert "Purged: 2 bags, as archive entries declare." in runbook("verify", where)
    runbook("release", where, "Case 7", "--why", "settled")
    runbook("release", where, "Case 7", "--why", "settled", expect=2)


def test_a_purge_does_not_bring_back_the_roots_of_an_earlier_authority(
    tmp_path: Path, archive: Path, tools: Path
) -> None:
    """The bag of an excerpt names the roots that there were then, and goes like a run."""
    small(archive, signed=True, bags=4)
    with tsa.authority(tmp_path / "first") as first, tsa.authority(tmp_path / "second") as second:
        stamp_from_now_on(archive, first)
        excerpt.export_excerpt(archive, tmp_path / "excerpt", since=DAY, until=DAY, at=AT, environ=ENVIRON)
        stamp_from_now_on(archive, second)
        put(archive, at=AT + timedelta(days=3))
        tombstone = purge(archive, LATER.date())
        assert "-export " in (tombstone / "purged.txt").read_text()
        holds(archive, tools, bags=4, purged=5)


def test_a_run_that_was_killed_long_ago_does_not_take_the_place_of_one_that_was_purged(
    archive: Path, tools: Path
) -> None:
    small(archive, signed=True, bags=2)
    purged = next(bag for bag in places(archive) if not is_kept(bag.name))
    job, at = purged.name.split("Z-")[1], AT - timedelta(days=1)
    purge(archive, LATER.date())
    again = put(archive, job=job, at=at, status="interrupted").folder
    assert again == purged.with_name(f"{purged.name}-2")
    holds(archive, tools, bags=3, purged=1)


def test_the_index_of_a_purge_that_was_cut_off_tells_of_nothing_that_is_gone(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(archive, signed=True, bags=3)
    gone = places(archive)[-1].name
    with monkeypatch.context() as patched:
        patched.setattr(tombstones, "remove", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            purge(archive, LATER.date())
    assert gone in (archive / "index.html").read_text()
    put(archive, at=LATER)
    page = (archive / "index.html").read_text()
    assert gone not in page
    assert page.count("<tr class=") == len(places(archive))


@pytest.mark.parametrize(
    "secret", [ENVIRON["SIGNER"], f"{'0a' * 13}_{'1b' * 30}"], ids=["the signer's passphrase", "a token"]
)
def test_a_reason_or_a_file_that_holds_a_secret_is_not_sealed(tmp_path: Path, archive: Path, secret: str) -> None:
    small(archive, signed=True, bags=2)
    file = tmp_path / "expected.yaml"
    file.write_text(f"expected: []  # {secret}\n")
    for entry in (
        lambda: retention.hold_runs(archive, Hold("Case 7", None, None, f"see {secret}"), at=LATER, environ=ENVIRON),
        lambda: expectation.declare(archive, file, at=LATER, environ=ENVIRON),
    ):
        with pytest.raises(RunbookError) as caught:
            entry()
        assert caught.value.reason is Reason.SECRET_IN_ARTEFACT
        assert secret not in str(caught.value)
    put(archive, at=LATER)
    assert len(places(archive)) == 3
    assert verify_archive(archive).findings == ()
