"""Time stamps by a real authority: they hold, they come later, and a bag is sealed whatever the authority does."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import chain, entries, signing, timestamp_authority, timestamps
from runbook_lib.archive.timestamps import stamp_of
from runbook_lib.archive.verify import verify_archive
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.reports.outcome import RunOutcome
from tests.archive import tsa
from tests.archive.bags import (
    AT,
    ENVIRON,
    REFERENCE,
    bare_path,
    environ_with_passphrase,
    places,
    put,
    sign,
    small,
    stamp_from_now_on,
    verify_sh,
)

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tsa.Tsa]:
    with tsa.authority(tmp_path_factory.mktemp("authority") / "tsa") as made:
        yield made


@pytest.fixture
def works(source: tsa.Tsa) -> tsa.Tsa:
    source.fault = ""
    return source


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_path(tmp_path_factory.mktemp("tools") / "bin")


def holds(archive: Path, tools: Path, *, stamped: int) -> None:
    """Both verifiers are content, and count so many stamps."""
    audit = verify_archive(archive)
    assert (audit.findings, len(audit.stamped)) == ((), stamped)
    seen = verify_sh(archive, tools)
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert f"Time-stamped: {stamped} bags" in seen.stdout or not stamped


def does_not_hold(archive: Path, tools: Path, finding: str) -> None:
    assert any(finding in one for one in verify_archive(archive).findings), verify_archive(archive).findings
    seen = verify_sh(archive, tools)
    assert (seen.returncode, seen.stdout[:6]) == (1, "NOT OK")
    assert finding in seen.stdout


@pytest.mark.parametrize("signed", [True, False])
def test_every_bag_is_stamped_and_the_stock_command_verifies_it(
    archive: Path, works: tsa.Tsa, tools: Path, signed: bool
) -> None:
    small(archive, signed=signed, bags=2)
    stamp_from_now_on(archive, works)  # also stamps the two from before
    place = put(archive)
    assert place.unstamped is None
    holds(archive, tools, stamped=4)
    beside = place.folder.with_name(f"{place.folder.name}.p7s") if signed else place.folder / chain.TAGS
    command = ["openssl", "ts", "-verify", "-data", str(beside), "-in", str(stamp_of(place.folder))]
    command += ["-CAfile", str(archive / "certs/tsa-roots.pem")]
    assert subprocess.run(command, capture_output=True).returncode == 0
    other = [*command[:4], str(place.folder / "bagit.txt"), *command[5:]]
    assert subprocess.run(other, capture_output=True).returncode != 0
    # the lists of stamps are in the form of sha256sum
    put(archive, at=AT + timedelta(hours=1))
    for listed in archive.glob("*/*/*/*/beside-sha256.txt"):
        assert subprocess.run(["sha256sum", "-c", "--quiet", str(listed)], cwd=archive).returncode == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("HTTP 503", "HTTP 503"),
        ("slow", "no answer within 1 s."),
        ("drip", "no answer within 1 s."),
        ("no time stamp", "sent an invalid time stamp"),
        ("endless", "the answer is larger than"),
        ("other content", "message imprint mismatch"),
        ("other nonce", "nonce mismatch"),
    ],
)
def test_a_bag_is_sealed_without_a_stamp_that_says_so_and_is_stamped_later(
    archive: Path, works: tsa.Tsa, tools: Path, fault: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(archive)
    stamp_from_now_on(archive, works)
    monkeypatch.setattr(timestamp_authority, "PATIENCE", 1.0)
    works.fault = fault
    begun = time.monotonic()
    place = put(archive)
    assert time.monotonic() - begun < 5
    assert place.unstamped is not None
    assert place.unstamped.reason is Reason.NOT_STAMPED
    assert said in place.unstamped.what
    assert place.unsigned is None
    holds(archive, tools, stamped=2)
    works.fault = ""
    assert put(archive, at=AT + timedelta(hours=1)).unstamped is None
    holds(archive, tools, stamped=4)


def test_an_authority_that_is_down_refuses_or_is_not_the_one_that_was_chosen(
    archive: Path, works: tsa.Tsa, tools: Path, tmp_path: Path
) -> None:
    sign(archive)
    stamp_from_now_on(archive, works)
    chosen = timestamp_authority.configured(archive)
    assert chosen is not None
    with tsa.authority(tmp_path / "stranger") as stranger:
        timestamp_authority.set_authority(archive, timestamp_authority.TimestampAuthority(stranger.url, chosen.roots))
        untrusted = put(archive).unstamped
    with tsa.authority(tmp_path / "picky", digests="sha512") as picky:
        timestamp_authority.set_authority(archive, timestamp_authority.TimestampAuthority(picky.url, chosen.roots))
        refusing = put(archive, at=AT + timedelta(hours=1)).unstamped
    down = put(archive, at=AT + timedelta(hours=2)).unstamped  # the server is gone
    for problem, said in ((untrusted, "certificate"), (refusing, "badAlg"), (down, "cannot be reached")):
        assert problem is not None
        assert said in problem.what
    holds(archive, tools, stamped=2)
    timestamp_authority.set_authority(archive, chosen)
    done = timestamps.stamp_bags(archive)
    assert (done.came, done.waiting, done.problem) == (3, 0, None)
    holds(archive, tools, stamped=5)


def test_an_authority_that_does_not_work_is_not_chosen(archive: Path, works: tsa.Tsa, tmp_path: Path) -> None:
    archive.mkdir()
    with tsa.authority(tmp_path / "stranger") as stranger:
        for url, roots, reason in (
            (works.url, stranger.roots, Reason.NOT_STAMPED),
            ("http://user:secret@localhost/", works.roots, Reason.BAD_PARAMETER),
            ("ftp://localhost/", works.roots, Reason.BAD_PARAMETER),
            (works.url, stranger.folder / "tsa.key", Reason.UNREADABLE_FILE),
        ):
            with pytest.raises(RunbookError) as caught:
                timestamp_authority.chosen(archive, url, roots)
            assert caught.value.reason is reason
            assert "secret" not in str(caught.value)
    assert timestamp_authority.configured(archive) is None


def test_stamps_taken_away_exchanged_or_made_anew_are_found(archive: Path, works: tsa.Tsa, tools: Path) -> None:
    sign(archive)
    stamp_from_now_on(archive, works)
    first = put(archive).folder
    last = put(archive, at=AT + timedelta(hours=1)).folder
    one, other = stamp_of(first), stamp_of(last)
    content = one.read_bytes()
    one.unlink()
    does_not_hold(archive, tools, f"{first.name}.tsr: missing")
    one.write_bytes(other.read_bytes())
    does_not_hold(archive, tools, f"{first.name}.tsr: does not verify")
    # a later stamp over the very same signature, by the very same authority
    one.write_bytes(works.reply(works.query(chain.signature_of(first).read_bytes())))
    does_not_hold(archive, tools, f"{first.name}.tsr: not the time stamp that")
    one.write_bytes(content)
    holds(archive, tools, stamped=4)
    # what no later bag names yet cannot be missed: VERIFY.md says so
    other.unlink()
    holds(archive, tools, stamped=3)


def test_other_roots_are_not_taken_for_the_authoritys(
    archive: Path, works: tsa.Tsa, tools: Path, tmp_path: Path
) -> None:
    small(archive, signed=True, bags=2)
    stamp_from_now_on(archive, works)
    with tsa.authority(tmp_path / "forger") as forger:
        (archive / "certs/tsa-roots.pem").write_bytes(forger.roots.read_bytes())
        for bag in places(archive):
            stamp_of(bag).write_bytes(forger.reply(forger.query(chain.signature_of(bag).read_bytes())))
    does_not_hold(archive, tools, "certs/tsa-roots.pem: missing, or not the file that the chain names")


def test_a_second_authority_is_an_entry_and_the_stamps_of_the_first_still_hold(
    archive: Path, works: tsa.Tsa, tools: Path, tmp_path: Path
) -> None:
    sign(archive)
    stamp_from_now_on(archive, works)
    with tsa.authority(tmp_path / "second") as second:
        stamp_from_now_on(archive, second)
        put(archive)
        assert second.asked >= 3
    holds(archive, tools, stamped=4)


def test_certificates_that_expired_since_are_judged_as_of_the_stamped_time(
    archive: Path, tools: Path, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    archive.mkdir()
    # the signer's certificate and the authority's both end in a few seconds
    soon = now + timedelta(seconds=6)
    signer = signing.make_signer(
        archive, passphrase=REFERENCE, at=soon - timedelta(days=365 * signing.YEARS), environ=ENVIRON
    )
    entries.begin_signing(archive, signer, at=AT, environ=ENVIRON)
    with tsa.authority(tmp_path / "tsa", until=soon) as short:
        stamp_from_now_on(archive, short)
        put(archive)
        time.sleep(max(0, (soon - datetime.now(UTC)).total_seconds() + 1))
        holds(archive, tools, stamped=3)
        assert verify_archive(archive).late == 0
        command = ["openssl", "ts", "-verify", "-data", str(chain.signature_of(places(archive)[0])), "-in"]
        command += [str(stamp_of(places(archive)[0])), "-CAfile", str(archive / "certs/tsa-roots.pem")]
        assert subprocess.run(command, capture_output=True).returncode != 0  # as of today it would not
        # a certificate that had expired when it stamped
        assert put(archive, at=AT + timedelta(hours=1)).unstamped is not None
        bag = places(archive)[-1]
        stamp_of(bag).write_bytes(short.reply(short.query(chain.signature_of(bag).read_bytes())))
        does_not_hold(archive, tools, f"{bag.name}.tsr: does not verify")
        stamp_of(bag).unlink()
    with tsa.authority(tmp_path / "next") as following:
        stamp_from_now_on(archive, following)
    holds(archive, tools, stamped=5)
    assert verify_archive(archive).late == 2  # signed, and stamped, after the signer's certificate had ended
    assert "not valid at the stamped time: 2 bags" in verify_sh(archive, tools).stdout


def test_the_list_of_what_waits_is_made_anew_where_it_is_lost(archive: Path, works: tsa.Tsa, tools: Path) -> None:
    sign(archive)
    stamp_from_now_on(archive, works)
    works.fault = "HTTP 503"
    for hour in range(3):
        put(archive, at=AT + timedelta(hours=hour))
    (archive / timestamps.WAITING).unlink()
    works.fault = ""
    assert timestamps.stamp_bags(archive, limit=2).waiting == 1
    (archive / timestamps.WAITING).write_text("2026/11/23/20261123T000000Z-gone\n", encoding="ascii")
    put(archive, at=AT + timedelta(hours=4))
    (archive / timestamps.WAITING).unlink()
    assert timestamps.stamp_bags(archive).problem is None
    put(archive, at=AT + timedelta(hours=5))
    holds(archive, tools, stamped=7)
    listed = {path for bag in places(archive) for path in timestamps.read_list(bag)}
    assert {f"{bag.relative_to(archive)}.tsr" for bag in places(archive)[:-1]} < listed


def test_a_process_killed_while_an_authority_was_chosen_is_finished_by_the_next(
    archive: Path, works: tsa.Tsa, tools: Path
) -> None:
    sign(archive)
    before = chain.find_head(archive)
    stamp_from_now_on(archive, works)
    last = chain.find_head(archive)
    (archive / "certs/tsa-roots.pem").unlink()
    staging = archive / ".staging" / "killed"
    staging.mkdir()
    chain.write_pointer(archive, before, chain.Pending(last, ".staging/killed"))
    does_not_hold(archive, tools, "certs/tsa-roots.pem: missing")
    put(archive)
    holds(archive, tools, stamped=3)


def test_from_the_command_line(archive: Path, works: tsa.Tsa) -> None:
    def runbook(*words: str, expect: int = 0) -> str:
        command = [sys.executable, "-m", "runbook_lib.cli", "archive", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environ_with_passphrase(), check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    small(archive, signed=True, bags=2)
    assert "has no time-stamp authority" in runbook("stamp", str(archive), expect=2)
    made = runbook("authority", str(archive), works.url, "--roots", str(works.roots))
    assert Path(made.splitlines()[-1]).name.endswith("-authority")
    assert "Time-stamped: 3 bags" in runbook("verify", str(archive))
    works.fault = "HTTP 503"
    put(archive, at=datetime.now(UTC))
    assert "HTTP 503" in runbook("stamp", str(archive), expect=1)
    works.fault = ""
    assert "received: 1. Still missing: 0" in runbook("stamp", str(archive))


def test_a_run_whose_stamp_has_to_wait_is_done_and_says_so(
    archive: Path, works: tsa.Tsa, run: Callable[..., RunOutcome]
) -> None:
    sign(archive)
    stamp_from_now_on(archive, works)
    works.fault = "HTTP 503"
    outcome = run("1 + 1", env=ENVIRON)
    assert (outcome.status.value, int(outcome.exit)) == ("done", 0)
    assert outcome.unstamped is not None
    assert outcome.unstamped["reason"] == "not_stamped"
    works.fault = ""
    assert run("1 + 1", env=ENVIRON).unstamped is None
    assert len(verify_archive(archive).stamped) == 4


def test_the_certs_folder_of_an_archive_without_an_authority_may_be_missing(archive: Path) -> None:
    put(archive)
    shutil.rmtree(archive / "certs", ignore_errors=True)
    assert put(archive, at=AT + timedelta(hours=1)).unstamped is None
    assert timestamps.stamp_bags(archive) == timestamps.Stamped(0, 0, None)
