"""In CI, what was not run was not shown: a skipped test makes the run fail and is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SKIPS = (
    "import pytest\n@pytest.mark.skip(reason='no browser')\ndef test_needs_a_browser(): pass\ndef test_runs(): pass\n"
)
SKIPS_AT_IMPORT = "import pytest\npytest.importorskip('no_such_module')\n"
PASSES = "import pytest\ndef test_runs(): pass\n@pytest.mark.xfail\ndef test_known_to_fail(): assert False\n"


def pytest_run(folder: Path, program: str, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(program)
    (folder / "test_other.py").write_text("def test_runs(): pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.skipping", "-p", "no:cacheprovider", "-c", os.devnull]
    environ = os.environ | {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [*command, f"--rootdir={folder}", str(folder)],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("program", [SKIPS, SKIPS_AT_IMPORT])
def test_in_ci_a_skipped_test_fails_the_run_and_is_named(tmp_path: Path, program: str) -> None:
    run = pytest_run(tmp_path, program, "true")
    assert run.returncode == 1, run.stdout
    assert "In CI nothing may be skipped" in run.stdout
    assert "test_it.py" in run.stdout


def test_at_a_desk_a_skipped_test_is_only_reported(tmp_path: Path) -> None:
    assert pytest_run(tmp_path, SKIPS, "").returncode == 0


def test_in_ci_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    run = pytest_run(tmp_path, PASSES, "true")
    assert run.returncode == 0, run.stdout
    assert "nothing may be skipped" not in run.stdout
