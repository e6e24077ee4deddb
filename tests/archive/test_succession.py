"""The succession of time stamps: an archive outlives its authorities, and no link of it can be forged or left out."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runbook_lib import disk
from runbook_lib.archive import chain, entries, excerpt, retention, signing, timestamps
from runbook_lib.archive.chain import Link, signature_of
from runbook_lib.archive.succession import RENEWAL
from runbook_lib.archive.timestamps import stamp_of
from runbook_lib.archive.verify import Verification, verify_archive
from runbook_lib.catalogue import Reason
from runbook_lib.clock import FixedClock
from runbook_lib.errors import RunbookError
from tests.archive import mutations, tsa
from tests.archive.bags import (
    AT,
    ENVIRON,
    bare_path,
    copy,
    environ_with_passphrase,
    places,
    put,
    script,
    sign,
    stamp_from_now_on,
    verify_sh,
)

pytestmark = pytest.mark.interop

NOW = datetime.now(UTC).replace(microsecond=0)
YEAR = timedelta(days=365)
ENDS = {"first": YEAR, "second": 5 * YEAR, "third": 12 * YEAR}
"""How long the certificates of three authorities are valid."""


@dataclass(frozen=True)
class Old:
    """An archive, and the authorities that stamped it, one after the other."""

    archive: Path
    authorities: Mapping[str, tsa.Tsa]

    @property
    def renewals(self) -> list[Path]:
        """The entries that renew time stamps."""
        return sorted(path.parents[1] for path in self.archive.glob(f"*/*/*/*/{RENEWAL}"))


def made(archive: Path, authorities: Mapping[str, tsa.Tsa], years: Mapping[str, float], *, renew: bool = True) -> None:
    """After these years, each authority is chosen, renews the time stamps of the one before, and stamps two bags."""
    sign(archive)
    for number, (name, after) in enumerate(years.items()):
        source, at = authorities[name], AT + timedelta(days=number)
        source.clock = NOW + after * YEAR
        stamp_from_now_on(archive, source, at)
        if number and renew:
            entries.restamp(archive, at=at + timedelta(hours=1), environ=ENVIRON)
        put(archive, at=at + timedelta(hours=2))
        put(archive, at=at + timedelta(hours=3))


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, tsa.Tsa]]:
    folder = tmp_path_factory.mktemp("authorities")
    with ExitStack() as stack:
        yield {name: stack.enter_context(tsa.authority(folder / name, until=NOW + end)) for name, end in ENDS.items()}


@pytest.fixture(scope="module")
def old(authorities: Mapping[str, tsa.Tsa], tmp_path_factory: pytest.TempPathFactory) -> Old:
    """Stamped by three authorities. Each was replaced some months before its certificate ended."""
    archive = tmp_path_factory.mktemp("old") / "archive"
    made(archive, authorities, {"first": 0, "second": 0.8, "third": 4.5})
    return Old(archive, authorities)


@pytest.fixture
def changed(old: Old, tmp_path: Path) -> Old:
    return Old(copy(old.archive, tmp_path / "archive"), old.authorities)


def after(archive: Path, years: float) -> Verification:
    return verify_archive(archive, clock=FixedClock(NOW + years * YEAR))


@pytest.fixture
def sh_after(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """verify.sh where openssl, which alone asks for the time, sees it so many years on."""

    def run(archive: Path, years: float) -> subprocess.CompletedProcess[str]:
        tools = tmp_path / f"tools {years}"
        if not tools.exists():
            clock = " ".join(f"'{word}'" for word in tsa.at(NOW + years * YEAR))
            script(bare_path(tools) / "openssl", f'PATH=/usr/bin:/bin exec {clock} {shutil.which("openssl")} "$@"')
        return verify_sh(archive, tools)

    return run


Sh = Callable[..., subprocess.CompletedProcess[str]]


def test_ten_years_on_every_time_stamp_holds_though_two_authorities_have_ended(old: Old, sh_after: Sh) -> None:
    audit = after(old.archive, 10)
    assert (audit.findings, audit.lapsed, audit.ends) == ((), 0, None)
    assert (len(audit.stamped), len(audit.restamped)) == (12, 2)
    seen = sh_after(old.archive, 10)
    assert seen.returncode == 0, seen.stdout + seen.stderr
    assert "Time-stamped: 12 bags" in seen.stdout
    assert "Time stamps renewed: 2 times" in seen.stdout
    assert "CAVEAT" not in seen.stdout
    # the wrapper really is ten years ahead: by then the first two authorities do not verify
    for bag, refused in ((places(old.archive)[1], True), (places(old.archive)[-1], False)):
        command = [*tsa.at(NOW + 10 * YEAR), "openssl", "ts", "-verify", "-data", str(signature_of(bag))]
        command += ["-in", str(stamp_of(bag)), "-CAfile", str(old.archive / "certs/tsa-roots.pem")]
        assert (subprocess.run(command, capture_output=True).returncode != 0) is refused


def test_a_renewal_is_checked_by_hand_with_two_stock_commands(old: Old) -> None:
    entry = old.renewals[0]
    before = Link.read((entry / "chain.json").read_bytes()).previous
    (bag,) = (bag for bag in places(old.archive) if disk.sha256((bag / chain.TAGS).read_bytes()) == before)
    command = ["openssl", "ts", "-verify", "-in", str(entry / RENEWAL), "-CAfile"]
    command += [str(old.archive / "certs/tsa-roots.pem"), "-attime", str(int((NOW + YEAR).timestamp()))]
    for over in (["-data", str(bag / chain.TAGS)], ["-digest", before]):
        assert subprocess.run([*command, *over], capture_output=True).returncode == 0
    assert subprocess.run([*command, "-data", str(bag / "bagit.txt")], capture_output=True).returncode != 0


def test_when_the_last_authority_has_ended_the_archive_is_unchanged_but_its_times_are_not_proven(
    old: Old, sh_after: Sh
) -> None:
    audit = after(old.archive, 13)
    assert (audit.findings, audit.lapsed) == ((), 14)
    assert audit.ends is not None
    assert abs(audit.ends - (NOW + ENDS["third"])) <= timedelta(seconds=2)
    seen = sh_after(old.archive, 13)
    assert seen.returncode == 0
    assert "CAVEAT: 14 time stamps lapsed" in seen.stdout


@pytest.mark.parametrize(("days", "warned"), [(89, True), (91, False)])
def test_the_end_of_the_newest_is_reported_ninety_days_ahead(old: Old, days: int, warned: bool) -> None:
    ahead = (ENDS["third"] - timedelta(days=days)) / YEAR
    assert (after(old.archive, ahead).ends is not None) is warned


# --- forged and missing links -----------------------------------------------------------------------------------------


def sealed_anew(archive: Path, bag: Path) -> None:
    """What the holder of the signing key can do to a bag: its manifests and its signature fit again."""
    payload = sorted(path for path in (bag / "data").rglob("*") if path.is_file())
    lines = (f"{disk.sha256(path.read_bytes())}  {path.relative_to(bag)}\n" for path in payload)
    (bag / "manifest-sha256.txt").write_text("".join(lines))
    octets = sum(path.stat().st_size for path in payload)
    info = re.sub(r"Payload-Oxum: .*", f"Payload-Oxum: {octets}.{len(payload)}", (bag / "bag-info.txt").read_text())
    (bag / "bag-info.txt").write_text(info)
    mutations._tags(bag)
    signer = signing.load_signer(archive, Link.read((bag / "chain.json").read_bytes()).signer, ENVIRON)
    signature_of(bag).write_bytes(signer.sign((bag / chain.TAGS).read_bytes()))


def linked_anew(archive: Path, first: Path) -> None:
    """A bag and all after it are sealed anew, each linked to the one before, and numbered without a gap."""
    ordered = sorted(places(archive), key=mutations._number)
    at = ordered.index(first)
    for before, bag in zip(ordered[at - 1 :], ordered[at:], strict=False):
        mutations._edit(bag, "sequence", str(mutations._number(before) + 1), quoted=False)
        mutations._edit(bag, "previous", disk.sha256((before / chain.TAGS).read_bytes()), quoted=True)
        mutations._edit(bag, "previous_signature", chain.signature_digest(before), quoted=True)
        sealed_anew(archive, bag)
    (archive / ".head").unlink()


def does_not_hold(archive: Path, sh_after: Sh, finding: str) -> None:
    audit = after(archive, 10)
    assert any(finding in line for line in audit.findings), audit.findings
    seen = sh_after(archive, 10)
    assert seen.returncode == 1
    assert finding in seen.stdout


def by_a_stranger(old: Old, entry: Path, tmp_path: Path) -> bytes:
    with tsa.authority(tmp_path / "stranger") as stranger:
        return stranger.reply(stranger.query(_before(old, entry)))


def over_something_else(old: Old, entry: Path, tmp_path: Path) -> bytes:
    source = old.authorities["second"]
    return source.reply(source.query(b"another archive\n"))


def of_another_entry(old: Old, entry: Path, tmp_path: Path) -> bytes:
    return (old.renewals[-1] / RENEWAL).read_bytes()


def no_token(old: Old, entry: Path, tmp_path: Path) -> bytes:
    return b"no time stamp"


def _before(old: Old, entry: Path) -> bytes:
    number = mutations._number(entry) - 1
    (bag,) = (bag for bag in places(old.archive) if mutations._number(bag) == number)
    return (bag / chain.TAGS).read_bytes()


@pytest.mark.parametrize("forge", [by_a_stranger, over_something_else, of_another_entry, no_token])
def test_a_forged_renewal_is_found_even_if_the_holder_of_the_signing_key_seals_it(
    changed: Old, forge: Callable[[Old, Path, Path], bytes], tmp_path: Path, sh_after: Sh
) -> None:
    entry = changed.renewals[0]
    forged = forge(changed, entry, tmp_path)
    (entry / RENEWAL).write_bytes(forged)
    linked_anew(changed.archive, entry)
    does_not_hold(changed.archive, sh_after, f"{entry.name}/{RENEWAL}: does not verify")


def test_a_renewal_that_is_missing_is_found(changed: Old, sh_after: Sh, tmp_path: Path) -> None:
    entry = changed.renewals[0]
    without_token, without_entry = (copy(changed.archive, tmp_path / name) for name in ("a", "b"))
    (without_token / entry.relative_to(changed.archive) / RENEWAL).unlink()
    linked_anew(without_token, without_token / entry.relative_to(changed.archive))
    does_not_hold(without_token, sh_after, f"{entry.name}/{RENEWAL}: missing")
    # the entry, and all that was sealed over it, without it: the later time stamps and renewals are over other digests
    gone = without_entry / entry.relative_to(changed.archive)
    following = next(bag for bag in sorted(places(without_entry), key=mutations._number) if bag > gone)
    mutations._drop(gone)
    does_not_hold(without_entry, sh_after, "missing before it")
    linked_anew(without_entry, following)
    does_not_hold(without_entry, sh_after, f"{changed.renewals[1].name}/{RENEWAL}: does not verify")


def test_a_renewal_by_an_authority_that_the_chain_does_not_name_is_found(changed: Old, sh_after: Sh) -> None:
    (changed.archive / "certs/tsa-roots.pem").write_bytes(changed.authorities["third"].roots.read_bytes())
    does_not_hold(changed.archive, sh_after, "certs/tsa-roots.pem: missing, or not the file that the chain names")


# --- what was not renewed in time -------------------------------------------------------------------------------------


def test_time_stamps_that_nothing_renewed_in_time_are_counted(
    authorities: Mapping[str, tsa.Tsa], tmp_path: Path, sh_after: Sh
) -> None:
    archive = tmp_path / "archive"
    made(archive, authorities, {"first": 0.5, "third": 2})
    audit = after(archive, 3)
    assert (audit.findings, audit.lapsed) == ((), 4)
    seen = sh_after(archive, 3)
    assert seen.returncode == 0
    assert "CAVEAT: 4 time stamps lapsed" in seen.stdout


def test_an_archive_that_is_stamped_every_night_renews_itself(
    authorities: Mapping[str, tsa.Tsa], tmp_path: Path, sh_after: Sh
) -> None:
    archive = tmp_path / "archive"
    made(archive, authorities, {"first": 0.5, "second": 0.9, "third": 4}, renew=False)
    audit = after(archive, 10)
    assert (audit.findings, audit.lapsed, audit.restamped) == ((), 0, ())
    assert "CAVEAT" not in sh_after(archive, 10).stdout


def test_a_token_that_is_made_with_the_key_of_an_ended_authority_proves_nothing(changed: Old, sh_after: Sh) -> None:
    """Whoever has the first authority's key in ten years can write any time into a token, but no later bag names it."""
    bag = next(bag for bag in places(changed.archive) if bag.name.endswith("-signer"))
    listed = {path for place in places(changed.archive) for path in timestamps.read_list(place)}
    last = max(places(changed.archive), key=mutations._number)
    assert str(stamp_of(last).relative_to(changed.archive)) not in listed
    source = changed.authorities["first"]
    source.clock = NOW + timedelta(days=1)
    stamp_of(last).write_bytes(source.reply(source.query(signature_of(last).read_bytes())))
    audit = after(changed.archive, 10)
    assert (audit.findings, audit.lapsed > 0) == ((), True)
    assert "lapsed" in sh_after(changed.archive, 10).stdout
    # and one that a bag names cannot be replaced at all
    stamp_of(bag).write_bytes(source.reply(source.query(signature_of(bag).read_bytes())))
    does_not_hold(changed.archive, sh_after, "not the time stamp that")


# --- what else is done to an archive ----------------------------------------------------------------------------------


def test_a_purge_keeps_renewals_and_an_excerpt_takes_later_ones_along(changed: Old, tmp_path: Path) -> None:
    archive, source = changed.archive, changed.authorities["third"]
    source.clock = None
    first = AT.date()
    into, _ = excerpt.export_excerpt(
        copy(archive, tmp_path / "again"), tmp_path / "x", since=first, until=first, at=AT + 9 * YEAR, environ=ENVIRON
    )
    audit = verify_archive(into, excerpt=True)
    assert (audit.findings, len(audit.restamped)) == ((), 2)
    plan = retention.plan(archive, AT.date() + timedelta(days=9), at=AT + 9 * YEAR)
    retention.purge_runs(archive, plan, why="a year", at=AT + 9 * YEAR, environ=ENVIRON)
    audit = verify_archive(archive)
    assert (audit.findings, len(audit.restamped), audit.purged) == ((), 2, 6)


def test_a_renewal_that_does_not_come_seals_nothing(authorities: Mapping[str, tsa.Tsa], tmp_path: Path) -> None:
    archive, source = tmp_path / "archive", authorities["third"]
    with pytest.raises(RunbookError, match="no time-stamp authority"):
        entries.restamp(put(archive).folder.parents[3], at=AT, environ=ENVIRON)
    source.clock = None
    stamp_from_now_on(archive, source)
    before = chain.find_head(archive)
    source.fault = "HTTP 503"
    with pytest.raises(RunbookError) as caught:
        entries.restamp(archive, at=AT, environ=ENVIRON)
    source.fault = ""
    assert (caught.value.reason, "HTTP 503" in caught.value.what) == (Reason.NOT_STAMPED, True)
    assert chain.find_head(archive) == before
    assert verify_archive(archive).findings == ()
    entries.restamp(archive, at=AT, environ=ENVIRON)
    assert len(verify_archive(archive).restamped) == 1


def test_from_the_command_line(tmp_path: Path) -> None:
    archive = tmp_path / "archive"

    def runbook(*words: str, expect: int = 0) -> str:
        command = [sys.executable, "-m", "runbook_lib.cli", "archive", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environ_with_passphrase(), check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    sign(archive)
    assert "has no time-stamp authority" in runbook("restamp", str(archive), expect=2)
    with tsa.authority(tmp_path / "ending", until=datetime.now(UTC) + timedelta(days=60)) as ending:
        stamp_from_now_on(archive, ending)
        assert f"days). Before then run: runbook archive restamp {archive}" in runbook("verify", str(archive))
    with tsa.authority(tmp_path / "next", until=datetime.now(UTC) + YEAR) as following:
        stamp_from_now_on(archive, following)
        assert Path(runbook("restamp", str(archive)).splitlines()[-1]).name.endswith("-restamp")
        said = runbook("verify", str(archive))
        assert "Time stamps renewed: 1 time" in said
        assert "Before then" not in said
        assert "Time stamps renewed." in runbook("show", str(places(archive)[-1]))
        (places(archive)[0] / "data/signer.json").write_bytes(b"changed")
        assert "The archive does not verify" in runbook("restamp", str(archive), expect=1)
