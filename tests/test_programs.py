"""A program that we start gets what it needs, and is looked for where only its owner puts programs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from runbook_lib import programs

ROOT = Path(__file__).parents[1]
STARTS = re.compile(
    r"subprocess\.(run|Popen|call|check_\w+)|os\.(system|popen|spawn\w*|exec\w*|posix_spawn\w*)|.*create_subprocess\w+"
)


def test_only_what_is_named_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DIGICERT_ONE_API_KEY", "DIGICERT_ONE_ARCHIVE_PASSPHRASE", "LD_PRELOAD", "GIT_DIR", "BASH_ENV"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("HOME", "/srv/somebody")
    got = programs.run_program("env", [], seconds=20).stdout.decode()
    names = {line.partition("=")[0] for line in got.splitlines()}
    assert "HOME=/srv/somebody\n" in got
    assert names <= {"PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME", "LC_ALL", "OPENSSL_CONF", "PWD", "SHLVL", "_"}


def test_a_program_is_not_looked_for_here_nor_where_everybody_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted").write_text("#!/bin/sh\n")
    (tmp_path / "planted").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".::{tmp_path}")
    assert programs.run_program("planted", [], seconds=20).returncode == 0
    tmp_path.chmod(0o777)
    with pytest.raises(FileNotFoundError):
        programs.run_program("planted", [], seconds=20)
    assert str(tmp_path) not in programs.for_hook({"PATH": f".:{tmp_path}:bin"})["PATH"].split(":")


def test_a_program_that_does_not_end_is_killed_with_what_it_started() -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        programs.run_program("sh", ["-c", "sleep 60 & sleep 60"], seconds=0.5)
    assert time.monotonic() - began < 30


def test_whoever_starts_a_process_says_what_it_gets() -> None:
    """Left to itself, it would get all of our environment."""
    without = {
        f"{path.name}:{call.lineno}"
        for path in (ROOT / "runbook_lib").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and STARTS.fullmatch(ast.unparse(call.func))
        and "env" not in {keyword.arg for keyword in call.keywords}
    }
    assert without == set()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
@pytest.mark.parametrize("ends", [True, False])
def test_a_program_ends_with_whoever_started_it_where_that_is_asked(tmp_path: Path, *, ends: bool) -> None:
    script = (
        "from runbook_lib import programs\n"
        "words = ['-c', 'echo $$ > pid.part; mv pid.part pid; exec sleep 20']\n"
        f"programs.run_program('sh', words, seconds=30, ends_with_us={ends})\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path) as starter:
        while not (tmp_path / "pid").exists():
            time.sleep(0.05)
        started = psutil.Process(int((tmp_path / "pid").read_text()))
        starter.kill()
    _, alive = psutil.wait_procs([started], timeout=5 if ends else 0.5)
    for one in alive:
        one.kill()
    assert bool(alive) is not ends


def test_a_program_reads_a_file_that_has_no_name() -> None:
    with tempfile.TemporaryFile() as stream:
        stream.write(b"held")
        stream.flush()
        done = programs.run_program("cat", [f"/dev/fd/{stream.fileno()}"], seconds=10, files=(stream.fileno(),))
    assert done.stdout == b"held"
