"""No program that we start has a secret in its arguments, or in its environment that it does not need: by strace."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from tests.conftest import Sandbox

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
RUNBOOK = str(Path(sys.executable).with_name("runbook"))
PASSPHRASE, ANOTHER = "the-archive-s-passphrase-0123456789", "another-account-s-key-0123456789"


@dataclass(frozen=True)
class Started:
    """A program that was started: the name to know it by, its arguments, and its environment."""

    name: str
    words: str
    environ: str


def started(trace: Path) -> Iterator[Started]:
    for line in trace.read_text(errors="replace").splitlines():
        found = re.search(r'execve\("([^"]*)", \[(.*?)\], \[(.*)\]\) += 0$', line)
        if found:
            module = re.search(r'"-m", "([a-z_.]+)"', found[2])
            yield Started(module[1] if module else Path(found[1]).name, found[2], found[3])


@pytest.fixture
def secrets(sandbox: Sandbox) -> dict[str, str]:
    return {
        "api key": sandbox.api_key,
        "P12 password": sandbox.env["DIGICERT_ONE_P12_PASSWORD"],
        "passphrase": PASSPHRASE,
        "another's": ANOTHER,
    }


@pytest.mark.parametrize("engine", ["runbook", pytest.param("papermill", marks=pytest.mark.soak)])
def test_a_rotation_with_its_hook_and_signed_archive(
    sandbox: Sandbox, secrets: dict[str, str], tmp_path: Path, engine: str
) -> None:
    environ = os.environ | sandbox.env | {"DIGICERT_ONE_ARCHIVE_PASSPHRASE": PASSPHRASE, "KEY_OF_ANOTHER": ANOTHER}
    environ["DIGICERT_ONE_STORE"] = str(tmp_path / "store")
    archive, name = tmp_path / "archive", f"Children {engine}"
    for job in ("issue", "rotate"):
        notebook = nbformat.read(next((ROOT / "notebooks").glob(f"*_{job}.ipynb")), as_version=4)
        notebook.metadata["runbook"] = {"engine": engine}
        nbformat.write(notebook, tmp_path / f"{job}.ipynb")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run([RUNBOOK, "archive", "init", "--archive", archive], env=environ, check=True, capture_output=True)
    common = ["-f", str(ROOT / "parameters/sandbox.yaml"), "-p", "name", name, "-p", "confirm", name]
    common += ["-p", "mode", "headless", "--archive", str(archive)]
    rotate = ["-p", "rotate_now", "true", "-p", "hook", f"sh -c 'env > {tmp_path}/hook-got'"]
    found: list[Started] = []
    jobs: dict[str, list[str]] = {"issue": [], "rotate": rotate}
    for job, more in jobs.items():
        command = [str(RUNBOOK), "run", str(tmp_path / f"{job}.ipynb"), *common, *more]
        trace = ["strace", "-f", "-v", "-s", "100000", "-e", "trace=execve", "-o", str(tmp_path / job)]
        done = subprocess.run([*trace, *command], env=environ, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr
        found += started(tmp_path / job)
    ours = {"papermill": {"runbook_lib.reports.execute", "ipykernel_launcher"}, "runbook": set()}[engine]
    holders: dict[str, set[str]] = {}
    for one in found:
        for what, secret in secrets.items():
            assert secret not in one.words, (one.name, what)
            if secret in one.environ:
                holders.setdefault(one.name, set()).add(what)
    caller = holders.pop("runbook")  # what we were started with ourselves
    assert caller == set(secrets)
    notebooks = holders.pop("runbook_lib.reports.execute", set()) | holders.pop("ipykernel_launcher", set())
    assert notebooks == ({"api key", "P12 password", "another's"} if ours else set())
    if ours:  # a stock kernel's debugger (debugpy) asks `uname`, in the environment of its kernel
        assert holders.pop("uname", set()) <= notebooks
    assert holders == {}
    assert {"git", "sh", "runbook_lib.left_running"} <= {one.name for one in found}
    got = (tmp_path / "hook-got").read_text()
    assert f"RUNBOOK_NAME={name}\n" in got
    assert not [what for what, secret in secrets.items() if secret in got]


def test_a_kernel_does_not_have_the_archive_s_passphrase(sandbox: Sandbox, tmp_path: Path) -> None:
    """A forked kernel starts no program: it is asked itself, by a foreign notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os; print(sorted(os.environ))")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    environ = os.environ | {"DIGICERT_ONE_ARCHIVE_PASSPHRASE": PASSPHRASE, "MINE": PASSPHRASE, "KEY": "mine"}
    subprocess.run(
        [RUNBOOK, "archive", "init", "--passphrase", "env:MINE", "--archive", tmp_path / "archive"],
        env=environ,
        check=True,
        capture_output=True,
    )
    for engine in ("runbook", "papermill"):
        notebook.metadata["runbook"] = {"engine": engine}
        nbformat.write(notebook, tmp_path / "nb.ipynb")
        command = [RUNBOOK, "run", str(tmp_path / "nb.ipynb"), "--archive", str(tmp_path / "archive")]
        done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
        told = (Path(done.stdout.strip()) / "data/run.ipynb").read_text()
        assert "'KEY'" in told
        assert "ARCHIVE_PASSPHRASE'" not in told
        assert "'MINE'" not in told
