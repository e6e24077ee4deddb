"""verify.sh where auditors sit: other shells, other tools, other versions of openssl.

RUNBOOK_OPENSSLS names more openssl programs, separated by colons; tests/archive/openssl_111.sh gets an old one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import entries
from tests.archive import tsa
from tests.archive.bags import AT, ENVIRON, bare_path, copy, places, put, script, small, stamp_from_now_on, verify_sh
from tests.soak import SOAK

pytestmark = pytest.mark.interop

SHELLS = ("dash", "bash", "busybox", "zsh", "ksh")
BUSYBOX = dict.fromkeys(("sh", "sha256sum", "find", "sort", "sed", "awk", "fold", "wc"), "busybox")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signed, time-stamped and renewed."""
    folder = tmp_path_factory.mktemp("shells")
    archive = small(folder / "archive", signed=True, bags=3)
    with tsa.authority(folder / "tsa") as source:
        stamp_from_now_on(archive, source)
        entries.restamp(archive, at=AT, environ=ENVIRON)
        put(archive, at=AT + timedelta(hours=1))
    return archive


@pytest.fixture(scope="module")
def expected(original: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    seen = verify_sh(original, bare_path(tmp_path_factory.mktemp("usual") / "bin"))
    assert seen.returncode == 0, seen.stdout + seen.stderr
    return seen.stdout


def verdicts(original: Path, tools: Path, tmp_path: Path, expected: str, shell: str = "sh") -> None:
    """The verdict is the usual one, without a word on stderr; a changed byte and a changed seal are found."""

    def run(archive: Path) -> subprocess.CompletedProcess[str]:
        words = ["busybox", "sh"] if shell == "busybox" else [shell]
        command = ["env", "-i", f"PATH={tools}", shutil.which(words[0]) or "", *words[1:], "verify.sh"]
        return subprocess.run(command, cwd=archive, capture_output=True, text=True, check=False)

    seen = run(original)
    assert (seen.returncode, seen.stdout, seen.stderr) == (0, expected, "")
    changed, resealed = copy(original, tmp_path / "changed"), copy(original, tmp_path / "resealed")
    (places(changed)[-1] / "data/run.json").write_bytes(b"changed")
    seal = next(resealed.glob("*/*/*/*.p7s"))
    seal.write_bytes(seal.read_bytes()[:-1] + b"\0")
    for archive in (changed, resealed):
        seen = run(archive)
        assert (seen.returncode, seen.stdout[:6], seen.stderr) == (1, "NOT OK", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gives_the_same_verdict(original: Path, expected: str, tmp_path: Path, shell: str) -> None:
    """Called by its own name, and as the `sh` with which verify.sh restarts."""
    tools = bare_path(tmp_path / "bin", but={"sh": shell})
    verdicts(original, tools, tmp_path, expected, shell)


@pytest.mark.parametrize("shell", SHELLS)
def test_from_standard_input_too(original: Path, expected: str, tmp_path: Path, shell: str) -> None:
    tools = bare_path(tmp_path / "bin")
    words = ["busybox", "sh"] if shell == "busybox" else [shell]
    command = ["env", "-i", f"PATH={tools}", shutil.which(words[0]) or "", *words[1:]]
    text = (original / "verify.sh").read_text()
    seen = subprocess.run(command, cwd=original, input=text, capture_output=True, text=True, check=False)
    assert (seen.returncode, seen.stdout) == (0, expected), seen.stderr


def test_zsh_does_not_look_for_programs_in_the_current_folder(original: Path, tmp_path: Path) -> None:
    archive = copy(original, tmp_path / "archive")
    (places(archive)[-1] / "data/run.json").write_bytes(b"changed")
    for tool in ("sha256sum", "openssl", "sh", "awk", "find"):
        script(archive / tool, "exit 0")
    command = ["env", "-i", "PATH=/usr/bin:.:/bin", shutil.which("zsh") or "", "verify.sh"]
    assert subprocess.run(command, cwd=archive, capture_output=True, check=False).returncode == 1


def test_where_all_tools_are_those_of_busybox(original: Path, expected: str, tmp_path: Path) -> None:
    verdicts(original, bare_path(tmp_path / "bin", but=BUSYBOX), tmp_path, expected)


def test_shasum_where_there_is_no_sha256sum(original: Path, expected: str, tmp_path: Path) -> None:
    tools = bare_path(tmp_path / "bin", but={"sha256sum": None, "shasum": "shasum"})
    verdicts(original, tools, tmp_path, expected)
    (tools / "shasum").unlink()
    seen = verify_sh(original, tools)
    assert (seen.returncode, seen.stdout, "shasum is missing: nothing was verified." in seen.stderr) == (2, "", True)


@pytest.mark.parametrize("openssl", ["openssl", *filter(None, os.environ.get("RUNBOOK_OPENSSLS", "").split(":"))])
def test_openssl(original: Path, expected: str, tmp_path: Path, openssl: str) -> None:
    tools = bare_path(tmp_path / "bin", but={"openssl": openssl})
    if "LibreSSL" not in subprocess.run([openssl, "version"], capture_output=True, text=True, check=True).stdout:
        verdicts(original, tools, tmp_path, expected)
        return
    assert_not_verified(original, tools)
    unsigned = small(tmp_path / "unsigned", signed=False, bags=3)
    assert verify_sh(unsigned, tools).returncode == 0
    (places(unsigned)[-1] / "data/run.json").write_bytes(b"changed")
    assert verify_sh(unsigned, tools).returncode == 1


def test_libressl_is_not_taken_for_a_verifier_of_seals(original: Path, tmp_path: Path) -> None:
    """It exits with 0 for options that it does not know. This one stands in for it: Debian has none."""
    tools = bare_path(tmp_path / "bin")
    real = shutil.which("openssl")
    script(tools / "openssl", f'[ "$1" = version ] && echo "LibreSSL 4.3.2" || exec {real} "$@"')
    assert_not_verified(original, tools)
    changed = copy(original, tmp_path / "changed")
    (places(changed)[-1] / "data/run.json").write_bytes(b"changed")
    assert verify_sh(changed, tools).returncode == 1


def assert_not_verified(archive: Path, tools: Path) -> None:
    seen = verify_sh(archive, tools)
    assert (seen.returncode, "NOT VERIFIED" in seen.stdout, "OK:" in seen.stdout) == (2, True, False)


@pytest.mark.soak
def test_openssl_1_1_1_of_an_older_debian(original: Path, expected: str, tmp_path: Path) -> None:
    assert SOAK
    getter = Path(__file__).with_name("openssl_111.sh")
    found = subprocess.run(["sh", str(getter), str(tmp_path / "old")], capture_output=True, text=True, check=True)
    program = found.stdout.splitlines()[-1]
    assert "OpenSSL 1.1.1" in subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    verdicts(original, bare_path(tmp_path / "bin", but={"openssl": program}), tmp_path, expected)
