"""What an auditor's environment says to the programs that verify, or a file beside them, changes no verdict."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from runbook_lib.archive.verify import verify_archive
from tests.archive.bags import places, small

pytestmark = pytest.mark.interop

CONFIGURED = {
    "OPENSSL_CONF": "{folder}/broken",
    "OPENSSL_MODULES": "/nowhere",
    "OPENSSL_ENGINES": "/nowhere",
    "SSL_CERT_FILE": "{folder}/broken",
    "GREP_OPTIONS": "-v",
    "LC_ALL": "tr_TR.UTF-8",
    "LANG": "xx",
    "CDPATH": "/:/tmp",
    "IFS": "a/",
    "TMPDIR": "/nowhere",
    "POSIXLY_CORRECT": "1",
    "GLOBIGNORE": "*",
    "SHELLOPTS": "noglob",
    "BASHOPTS": "failglob",
    "ENV": "{folder}/broken",
    "AWKPATH": "/nowhere",
    "BASH_FUNC_sha256sum%%": "() {{ echo 0; }}",
    "BASH_FUNC_openssl%%": "() {{ return 1; }}",
    "BASH_FUNC_find%%": "() {{ :; }}",
    "BASH_FUNC_echo%%": "() {{ :; }}",
    "BASH_FUNC_[%%": "() {{ return 1; }}",
    "BASH_FUNC_shift%%": "() {{ :; }}",
    "BASH_FUNC_exec%%": "() {{ :; }}",
    "BASH_FUNC_cd%%": "() {{ return 1; }}",
}
TOOLS = ("sha256sum", "openssl", "awk", "sort", "env", "sh")


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "broken").write_text("exit 3\n[[[\n")
    return {name: value.format(folder=tmp_path) for name, value in CONFIGURED.items()}


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_verify_sh_in_an_odd_environment(tmp_path: Path, broken: dict[str, str], shell: str) -> None:
    archive = small(tmp_path / "archive", signed=True, bags=2)

    def verdict(environ: dict[str, str]) -> tuple[int, str, str]:
        command = [f"/bin/{shell}", "verify.sh"]
        seen = subprocess.run(command, cwd=archive, env=environ, capture_output=True, text=True, check=False)
        said = [line for line in seen.stderr.splitlines() if "setlocale" not in line]  # bash, of LC_ALL, at its start
        return seen.returncode, seen.stdout, "".join(said)

    plain = {"PATH": os.environ["PATH"]}
    honest = verdict(plain)
    assert honest[0] == 0
    if shell == "bash":  # which does not even start with POSIXLY_CORRECT and functions of these names
        del broken["POSIXLY_CORRECT"]
    assert verdict(broken | plain) == honest
    for tool in TOOLS:  # where a relative PATH would find them; each is itself a finding
        (archive / tool).write_text("#!/bin/sh\nexit 0\n")
        (archive / tool).chmod(0o755)
    seen = verdict(broken | {"PATH": f".::{os.environ['PATH']}:."})
    assert (seen[0], seen[1].count("not part of an archive"), len(seen[1].splitlines())) == (1, len(TOOLS), 7)
    for tool in TOOLS:
        (archive / tool).unlink()
    (places(archive)[0] / "data/run.json").write_bytes(b"changed")
    assert verdict(broken | plain)[0] == 1


def test_verify_sh_from_standard_input(tmp_path: Path) -> None:
    archive = small(tmp_path / "archive", signed=True, bags=1)
    script = (archive / "verify.sh").read_bytes()
    for expected in (0, 1):
        environ = {"PATH": os.environ["PATH"], "OPENSSL_CONF": "/etc/hostname", "OPENSSL_MODULES": "/nowhere"}
        seen = subprocess.run(["sh"], cwd=archive, input=script, env=environ, capture_output=True, check=False)
        assert seen.returncode == expected, seen.stdout
        (places(archive)[0] / "data/run.json").write_bytes(b"changed")


def test_archive_verify_in_an_odd_environment(
    tmp_path: Path, broken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = small(tmp_path / "archive", signed=True, bags=2)
    for name in ("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES", "SSL_CERT_FILE", "IFS", "BASH_ENV"):
        monkeypatch.setenv(name, broken.get(name, "/nowhere"))
    (tmp_path / "openssl").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "openssl").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    audit = verify_archive(archive)
    assert (audit.bags, audit.signed, audit.findings) == (2, 2, ())
    signature = next(archive.glob("[0-9]*/*/*/*.p7s"))
    signature.write_bytes(signature.read_bytes()[:-1] + b"\0")
    assert verify_archive(archive).findings
