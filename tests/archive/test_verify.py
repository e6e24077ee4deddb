"""An archive proves itself: with our command, and with verify.sh where nothing of ours is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import disk
from runbook_lib.archive import chain, entries, signing, walk
from runbook_lib.archive.chain import Link, signature_of
from runbook_lib.archive.verify import verify_archive
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.reports.outcome import RunOutcome
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
    verify_sh,
)
from tests.soak import SOAK

pytestmark = pytest.mark.interop

MANY = 195 if SOAK else 35
STATUSES = ("done", "failed", "killed", "timed out", "interrupted", "refused", "withheld")


def test_mixed_runs_verify_without_python_and_without_us(
    tmp_path: Path, archive: Path, run: Callable[..., RunOutcome]
) -> None:
    sign(archive, AT - timedelta(days=3))
    for number in range(MANY):
        at = AT - timedelta(days=2) + timedelta(minutes=13 * number)
        put(archive, job=("inventory", "verify", "issue")[number % 3], at=at, status=STATUSES[number % len(STATUSES)])
    run("print('well')", env=ENVIRON)
    run("1/0", env=ENVIRON)
    run("import os; os.kill(os.getpid(), 9)", env=ENVIRON)
    run("import time; time.sleep(60)", env=ENVIRON, cell_timeout=2)
    tools = bare_path(tmp_path / "bin")
    seen = verify_sh(archive, tools)
    assert (seen.returncode, seen.stderr) == (0, "")
    assert seen.stdout.startswith(f"OK: {MANY + 5} bags with ")
    assert f"Signed: {MANY + 5} bags" in seen.stdout
    audit = verify_archive(archive)
    assert (audit.bags, audit.signed, audit.findings) == (MANY + 5, MANY + 5, ())
    assert audit.head == (MANY + 5, chain.find_head(archive).digest)
    for place in [places(archive)[0], *places(archive)[-4:]]:  # the Library of Congress's own tool, each kind
        subprocess.run([sys.executable, "-m", "bagit", "--validate", "--quiet", str(place)], check=True)
    (places(archive)[MANY // 2] / "data/run.json").write_bytes(b"[]\n")
    assert verify_sh(archive, tools).returncode == 1
    assert len(verify_archive(archive).findings) == 1


def test_the_documented_openssl_command_accepts_a_signature_and_refuses_a_changed_bag(archive: Path) -> None:
    small(archive, signed=True, bags=2)
    place = places(archive)[-1]
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", str(signature_of(place)), "-content"]
    command += [str(place / "tagmanifest-sha256.txt"), "-CAfile", str(archive / "certs/roots.pem"), "-out", os.devnull]
    # made with the clock of the tests: openssl asks the machine's
    command += ["-attime", str(int(AT.timestamp()))]
    assert subprocess.run(command, capture_output=True).returncode == 0
    (place / "tagmanifest-sha256.txt").write_bytes(b"")
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_an_unsigned_archive_says_so_and_only_a_kept_head_finds_a_forger(tmp_path: Path, archive: Path) -> None:
    small(archive, signed=False, bags=3)
    tools = bare_path(tmp_path / "bin")
    head = chain.find_head(archive).digest
    assert verify_archive(archive, head=head).findings == ()
    assert not verify_archive(archive).signer
    seen = verify_sh(archive, tools, "--head", head)
    assert (seen.returncode, "NOT SIGNED" in seen.stdout) == (0, True)
    last = places(archive)[-1]
    (last / "chain.json").write_text((last / "chain.json").read_text().replace('"done"', '"failed"'))
    tags = sorted(path for path in last.iterdir() if path.is_file() and path.name != chain.TAGS)
    (last / chain.TAGS).write_text("".join(f"{disk.sha256(path.read_bytes())}  {path.name}\n" for path in tags))
    (archive / ".head").unlink()
    assert verify_archive(archive).findings == ()
    assert verify_sh(archive, tools).returncode == 0
    assert len(verify_archive(archive, head=head).findings) == 1
    assert verify_sh(archive, tools, "--head", head).returncode == 1


def test_a_new_signer_is_an_entry_that_the_old_one_signs(tmp_path: Path, archive: Path) -> None:
    small(archive, signed=True, bags=3)
    old = chain.find_head(archive).next_signer
    new = sign(archive, AT + timedelta(days=1)).fingerprint
    after = put(archive, at=AT + timedelta(days=2)).folder
    entry = Link.read((places(archive)[-2] / "chain.json").read_bytes())
    assert (entry.signer, entry.next_signer) == (old, new)
    assert Link.read((after / "chain.json").read_bytes()).signer == new
    tools = bare_path(tmp_path / "bin")
    assert verify_archive(archive).findings == ()
    assert verify_sh(archive, tools).returncode == 0
    # a signer that nobody announced
    stranger = signing.make_signer(archive, passphrase=REFERENCE, at=AT, environ=ENVIRON)
    link = Link.read((after / "chain.json").read_bytes())
    text = link.text().replace(new.encode(), stranger.fingerprint.encode())
    (after / "chain.json").write_bytes(text)
    tags = sorted(path for path in after.iterdir() if path.is_file() and path.name != chain.TAGS)
    (after / chain.TAGS).write_text("".join(f"{disk.sha256(path.read_bytes())}  {path.name}\n" for path in tags))
    signature_of(after).write_bytes(stranger.sign((after / chain.TAGS).read_bytes()))
    (archive / ".head").unlink()
    stranger_signs = "its signer is not the one that the bag before it names"
    assert any(stranger_signs in one for one in verify_archive(archive).findings)
    assert stranger_signs in verify_sh(archive, tools).stdout


def test_a_bag_that_could_not_be_signed_is_a_finding_until_a_signed_one_follows(tmp_path: Path, archive: Path) -> None:
    small(archive, signed=True, bags=2)
    tools = bare_path(tmp_path / "bin")
    place = put(archive, at=AT, environ={})
    assert place.unsigned is not None
    assert place.unsigned.reason is Reason.NOT_SIGNED
    assert not signature_of(place.folder).exists()
    assert any("no signed bag follows" in one for one in verify_archive(archive).findings)
    assert verify_sh(archive, tools).returncode == 1
    assert put(archive, at=AT + timedelta(hours=1)).unsigned is None
    audit = verify_archive(archive)
    assert (audit.findings, audit.covered) == ((), 1)
    assert verify_sh(archive, tools).returncode == 0


def test_a_run_whose_bag_is_not_signed_is_kept_and_does_not_count_as_done(
    archive: Path, run: Callable[..., RunOutcome]
) -> None:
    sign(archive)
    outcome = run("1 + 1", env={})
    assert (outcome.status.value, int(outcome.exit)) == ("done", 1)
    assert outcome.unsigned is not None
    assert "SIGNER is not set" in outcome.unsigned["what"]
    assert outcome.bag.is_dir()
    assert int(run("1 + 1", env=ENVIRON).exit) == 0


def test_the_passphrase_of_the_signer_is_searched_for_in_what_is_archived(
    archive: Path, run: Callable[..., RunOutcome], tmp_path: Path
) -> None:
    sign(archive)
    (tmp_path / "left").write_text(ENVIRON["SIGNER"])  # no kernel gets it, but it may find it
    outcome = run(f"print(open({str(tmp_path / 'left')!r}).read())", env=ENVIRON)
    assert outcome.status.value == "withheld"
    secret = ENVIRON["SIGNER"].encode()
    assert not [path for path in archive.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_from_the_command_line(archive: Path, tools: Path) -> None:
    def runbook(*words: str, expect: int = 0) -> str:
        command = [sys.executable, "-m", "runbook_lib.cli", "archive", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environ_with_passphrase(), check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    made = runbook("init", "--archive", str(archive), "--passphrase", REFERENCE)
    assert Path(made.splitlines()[-1]) == places(archive)[0]
    key = next((archive / "certs").glob("*.key"))
    assert key.stat().st_mode & 0o077 == 0
    assert key.read_bytes().startswith(b"-----BEGIN ENCRYPTED")
    assert ENVIRON["SIGNER"] not in (archive / "certs/signer.json").read_text()
    runbook("init", "--archive", str(archive), "--passphrase", REFERENCE, expect=2)
    runbook("init", "--archive", str(archive), "--passphrase", REFERENCE, "--roll-over")
    number, head = runbook("head", str(archive)).split()
    assert number == "2"
    verified = runbook("verify", str(archive), "--head", head)
    assert "OK: 2 bags with " in verified
    assert set(verified.splitlines()) == set(verify_sh(archive, tools, "--head", head).stdout.splitlines())
    runbook("verify", str(archive), "--head", head[::-1], expect=1)
    assert Path(runbook("index", str(archive)).strip()).is_file()


def test_a_company_ca_certifies_the_signer(tmp_path: Path, archive: Path) -> None:
    archive.mkdir()
    csr = signing.request_signer(archive, passphrase=REFERENCE, at=AT, environ=ENVIRON)
    with pytest.raises(RunbookError) as caught:
        signing.request_signer(archive, passphrase=REFERENCE, at=AT, environ=ENVIRON)
    assert caught.value.reason is Reason.BUSY
    ca, ca_key, signer = (tmp_path / name for name in ("ca.pem", "ca.key", "signer.pem"))
    subject = ["-subj", "/O=Company/CN=Company CA"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(ca_key), "-out", str(ca)]
    subprocess.run([*make, *subject], check=True, capture_output=True)
    issue = ["openssl", "x509", "-req", "-in", str(csr), "-CA", str(ca), "-CAkey", str(ca_key), "-out", str(signer)]
    subprocess.run([*issue, "-CAcreateserial"], check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_bytes(ca.read_bytes() + ca.read_bytes())
    with pytest.raises(RunbookError) as caught:
        signing.accept(archive, both, ENVIRON)
    assert caught.value.reason is Reason.KEY_MISMATCH
    both.write_bytes(signer.read_bytes() + ca.read_bytes())
    signing.accept(archive, both, ENVIRON)  # and killed before its entry was sealed: the same is brought again
    entries.begin_signing(archive, signing.accept(archive, both, ENVIRON), at=AT, environ=ENVIRON)
    put(archive)
    assert verify_archive(archive).signed == 2
    assert verify_sh(archive, bare_path(tmp_path / "bin")).returncode == 0
    assert sorted(path.suffix for path in (archive / "certs").iterdir()) == [".json", ".key", ".pem", ".pem"]


def test_an_archive_without_a_bag_and_one_that_is_none_are_not_ok(tmp_path: Path) -> None:
    assert verify_archive(tmp_path).findings == ("no chained bag found: nothing was verified",)
    with pytest.raises(RunbookError):
        verify_archive(tmp_path / "nowhere")


def test_a_bag_from_before_there_were_chains_is_a_finding(tmp_path: Path, archive: Path) -> None:
    small(archive, signed=False, bags=3)
    (places(archive)[0] / "chain.json").unlink()
    assert any("not chained" in one for one in verify_archive(archive).findings)
    assert "not chained" in verify_sh(archive, bare_path(tmp_path / "bin")).stdout


def test_a_run_that_is_sealed_while_somebody_verifies_is_no_finding(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(archive, signed=True, bags=4)
    last, pointer = archive / chain.find_head(archive).bag, (archive / ".head").read_bytes()
    tools = bare_path(tmp_path / "bin")

    def unseal() -> None:
        last.rename(archive / ".last")
        signature_of(last).rename(archive / ".last.p7s")
        chain.write_pointer(archive, next(one for one in sealed if one.sequence == 3))

    def seal() -> None:
        (archive / ".last.p7s").rename(signature_of(last))
        (archive / ".last").rename(last)
        (archive / ".head").write_bytes(pointer)

    sealed = [one for one in (chain.sealed_bag(archive, bag) for bag in places(archive)) if one is not None]
    unseal()
    places_of = walk.bag_places

    def places_and_then_it_is_sealed(*given: Any) -> Any:
        seen = places_of(*given)
        if (archive / ".last").exists():
            seal()
        return seen

    monkeypatch.setattr(walk, "bag_places", places_and_then_it_is_sealed)
    audit = verify_archive(archive)
    assert (audit.findings, audit.bags) == ((), 4)
    # the same for the shell: it comes between the digests of all files and the list of all folders
    unseal()
    find = (tools / "find").resolve()
    (tools / "find").unlink()
    (tools / "find").write_text(
        f"""#!/bin/sh
        case " $* " in *" -type d "*) if [ -d .last ]; then
            {shutil.which("mv")} .last.p7s {signature_of(last).relative_to(archive)}
            {shutil.which("mv")} .last {last.relative_to(archive)}
            {shutil.which("cp")} .sealed .head
        fi ;; esac
        exec {find} "$@"
        """
    )
    (tools / "find").chmod(0o755)
    (archive / ".sealed").write_bytes(pointer)
    seen = verify_sh(archive, tools)
    assert (seen.returncode, seen.stdout[:10]) == (0, "OK: 4 bags"), seen.stdout + seen.stderr
    # what does not hold still does not, however often one looks
    (last / "data/run.json").write_bytes(b"")
    assert verify_archive(archive).findings != ()
    assert verify_sh(archive, tools).returncode == 1
