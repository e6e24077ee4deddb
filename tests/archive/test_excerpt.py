"""A period exported on one machine verifies in an empty folder on another, and what is missing from it shows."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import chain, excerpt, retention
from runbook_lib.archive.timestamps import stamp_of
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

DAY = AT.date()
LATER = AT + timedelta(days=40)


def export(archive: Path, into: Path, since: date = DAY, until: date = DAY, at: datetime = LATER) -> Path:
    return excerpt.export_excerpt(archive, into, since=since, until=until, at=at, environ=ENVIRON)[0]


def does_not_hold(folder: Path, tools: Path, finding: str) -> None:
    assert any(finding in one for one in verify_archive(folder, excerpt=True).findings), verify_archive(
        folder, excerpt=True
    ).findings
    seen = verify_sh(folder, tools)
    assert (seen.returncode, seen.stdout[:6]) == (1, "NOT OK")
    assert finding in seen.stdout


@pytest.mark.parametrize("signed", [True, False])
def test_a_period_verifies_by_itself_and_nothing_can_be_taken_from_it(
    archive: Path, tools: Path, tmp_path: Path, signed: bool
) -> None:
    small(archive, signed=signed, bags=7)
    put(archive, at=AT + timedelta(days=3))
    into = export(archive, tmp_path / "for the auditor")
    assert verify_archive(archive).findings == ()
    there = [bag.name for bag in places(into)]
    assert there == [bag.name for bag in places(archive) if bag.parent.name == "23" or bag.name.endswith("-export")]
    assert {path.suffix for path in (into / "certs").iterdir()} <= {".pem"}  # no key leaves the archive
    assert not list(into.glob(".*"))
    audit = verify_archive(into, excerpt=True)
    assert (audit.findings, audit.bags, audit.elsewhere) == ((), len(there), 9 - len(there))
    seen = verify_sh(into, tools)
    assert (seen.returncode, seen.stderr) == (0, "")
    assert f"EXCERPT: {9 - len(there)} bags of the archive left out" in seen.stdout
    assert verify_sh(into, tools, "--head", chain.find_head(archive).digest).returncode == 0
    assert (into / "index.html").is_file()
    # each bag of it, taken away; the last one; one that was left out, put in
    for number, bag in enumerate(places(into)):
        less = copy(into, tmp_path / f"less {number}")
        shutil.rmtree(less / bag.relative_to(into))
        chain.signature_of(less / bag.relative_to(into)).unlink(missing_ok=True)
        does_not_hold(less, tools, "not an excerpt" if bag.name.endswith("-export") else "missing before it")
    stranger = next(bag for bag in places(archive) if bag.name not in there)
    shutil.copytree(stranger, into / stranger.relative_to(archive))
    does_not_hold(into, tools, "purged or left out, but present")


def test_an_archive_is_not_passed_off_as_an_excerpt_nor_an_excerpt_as_an_archive(
    archive: Path, tools: Path, tmp_path: Path
) -> None:
    small(archive, signed=True, bags=7)
    into = export(archive, tmp_path / "excerpt")
    assert verify_archive(into).findings != ()
    shutil.copy(archive / "verify.sh", into / "verify.sh")
    assert verify_sh(into, tools).returncode == 1
    assert verify_sh(into, tools, "--excerpt").returncode == 0
    # the archive itself, cut down to what its own last bag calls an excerpt
    for bag in places(archive):
        if not (into / bag.relative_to(archive)).exists():
            shutil.rmtree(bag)
            chain.signature_of(bag).unlink()
    assert verify_archive(archive).findings != ()
    assert verify_sh(archive, tools).returncode == 1


def test_a_zip_file_with_stamps_after_a_purge_and_an_earlier_export(archive: Path, tools: Path, tmp_path: Path) -> None:
    sign(archive, AT - timedelta(days=2))
    with tsa.authority(tmp_path / "tsa") as source:
        put(archive, at=AT - timedelta(days=1))
        put(archive, at=AT)
        stamp_from_now_on(archive, source)
        put(archive, at=AT + timedelta(hours=2))
        put(archive, at=AT + timedelta(days=2))
        export(archive, tmp_path / "first", at=AT + timedelta(days=2, hours=1))
        what = retention.plan(archive, DAY, at=AT + timedelta(days=3))
        retention.purge_runs(archive, what, why="", at=AT + timedelta(days=3), environ=ENVIRON)
        made = export(archive, tmp_path / "made.zip", until=DAY + timedelta(days=2))
    folder = tmp_path / "empty"
    with zipfile.ZipFile(made) as zipped:
        zipped.extractall(folder)
    (into,) = folder.iterdir()
    seen = verify_sh(into, tools)
    assert seen.returncode == 0, seen.stdout
    assert "Time-stamped: 5 bags" in seen.stdout
    assert "Signed: 5 bags" in seen.stdout
    assert len(verify_archive(into, excerpt=True).stamped) == 5
    stamp_of(places(into)[0]).unlink()
    does_not_hold(into, tools, ".tsr: missing")
    # the whole time, tombstone included
    everything = export(archive, tmp_path / "all", since=date(2026, 1, 1), until=LATER.date(), at=LATER)
    seen = verify_sh(everything, tools)
    assert seen.returncode == 0, seen.stdout
    assert "Purged: 1 bag," in seen.stdout


def test_what_cannot_be_exported_is_refused(archive: Path, tmp_path: Path) -> None:
    small(archive, signed=True, bags=6)
    (tmp_path / "there").mkdir()
    for into, since, reason in (
        (tmp_path / "there", DAY, Reason.BAD_PARAMETER),
        (archive / "inside", DAY, Reason.BAD_PARAMETER),
        (tmp_path / "none", date(2020, 1, 1), Reason.BAD_PARAMETER),
    ):
        with pytest.raises(RunbookError) as caught:
            export(archive, into, since=since, until=since)
        assert caught.value.reason is reason
    assert len(places(archive)) == 6
    with pytest.raises(RunbookError) as caught:
        excerpt.export_excerpt(archive, tmp_path / "x", since=DAY, until=DAY, at=LATER, environ={})
    assert caught.value.reason is Reason.SIGNER_SHUT
    (places(archive)[-1] / "data/run.json").write_bytes(b"")
    with pytest.raises(RunbookError) as caught:
        export(archive, tmp_path / "y")
    assert caught.value.reason is Reason.NOT_WHOLE
    assert not (tmp_path / "y").exists()


def test_from_the_command_line(archive: Path, tools: Path, tmp_path: Path) -> None:
    small(archive, signed=True, bags=4)
    command = [sys.executable, "-m", "runbook_lib.cli", "archive", "export", str(archive), "--into"]
    command += [str(tmp_path / "made.zip"), "--from", "2026-11-22", "--to", "2026-11-23"]
    done = subprocess.run(command, capture_output=True, text=True, env=environ_with_passphrase(), check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "made.zip")
    assert subprocess.run(command, capture_output=True, env=environ_with_passphrase(), check=False).returncode == 2
