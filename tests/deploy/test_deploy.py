"""The recipes in deploy/: each is read by the program it is for, or against its schema, and its command is run."""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import types
import venv
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import ValidationError, validate

from runbook_lib.archive.expectation import declare
from runbook_lib.catalogue import Exit
from runbook_lib.fleet.file import Shard
from tests.archive import bags
from tests.archive.many import Told
from tests.fleet.conftest import Fleet, night
from tests.soak import SOAK

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.31"  # podFailurePolicy and backoffLimitPerIndex are stable by then
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))

__all__ = ["night"]
FLEET, ARCHIVE = "/etc/digicert-one/fleet.yaml", "/var/lib/digicert-one/archive"
Night = Callable[..., Fleet]


def here(text: str, fleet: Fleet) -> str:
    """A recipe's words with the places of this test in place of those of a machine."""
    fleet.command()  # writes the file
    text = re.sub(r"(/opt/digicert-one-runbooks/)?\.venv/bin/", f"{Path(sys.executable).parent}/", text)
    places = {"/opt/digicert-one-runbooks": ROOT, FLEET: fleet.file, ARCHIVE: fleet.archive}
    for place, other in places.items():
        text = text.replace(place, str(other))
    return text


# --- systemd ----------------------------------------------------------------------------------------------------------


def _verified(folder: Path, *changes: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    """What systemd says of the units. Their program is `true`: systemd looks whether it is there."""
    for unit in sorted((DEPLOY / "systemd").iterdir()):
        text = unit.read_text().replace("/opt/digicert-one-runbooks/.venv/bin/runbook", "/bin/true")
        for old, new in changes:
            text = text.replace(old, new)
        (folder / unit.name).write_text(text)
    units = sorted(folder.iterdir())
    return subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)


@pytest.mark.interop
def test_systemd_reads_the_unit_and_the_timer(tmp_path: Path):
    done = _verified(tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.interop
@pytest.mark.parametrize(
    "change", [("KillMode=mixed", "KillMode=gentle"), ("06:17:00 UTC", "06:77:00"), ("NoNewPrivileges", "NoPrivileges")]
)
def test_systemd_would_have_found_a_mistake_in_them(tmp_path: Path, change: tuple[str, str]):
    done = _verified(tmp_path, change)
    assert done.returncode != 0 or done.stderr


def test_what_systemd_starts_runs_the_fleet(night: Night):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(DEPLOY / "systemd" / "digicert-one-fleet.service")
    fleet = night(1)
    command = shlex.split(here(unit["Service"]["ExecStart"], fleet))
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == Exit.DONE
    assert fleet.bags()[0].link["produced"] == 1


def _seconds(text: str) -> int:
    units = {"s": 1, "min": 60, "h": 3600}
    found = re.fullmatch(r"(\d+)(s|min|h)", text)
    assert found
    return int(found[1]) * units[found[2]]


def test_systemd_does_not_begin_again_for_ever_what_fails_for_ever():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(DEPLOY / "systemd" / "digicert-one-fleet.service")
    service, limits = unit["Service"], unit["Unit"]
    assert service["Restart"] == "on-failure"
    prevented = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert prevented == {Exit.USAGE, Exit.DUE, Exit.CHECK_FAILED}
    burst, interval = int(limits["StartLimitBurst"]), _seconds(limits["StartLimitIntervalSec"])
    # reached by a batch that fails at once, and by the next morning's timer no longer in the way
    assert burst * _seconds(service["RestartSec"]) < interval < 24 * 3600


# --- cron -------------------------------------------------------------------------------------------------------------


def test_what_cron_starts_runs_the_fleet(night: Night):
    text = (DEPLOY / "cron" / "digicert-one").read_text()
    assert text.endswith("\n")  # cron ignores a last line without it
    jobs = [line for line in text.splitlines() if re.match(r"[0-9*]", line)]
    (minute, hour, day, month, weekday, user, command), *more = [line.split(None, 6) for line in jobs]
    assert (int(minute) < 60, int(hour) < 24, day + month + weekday, user, more) == (True, True, "***", "digicert", [])
    assert "%" not in command  # a newline to cron
    fleet = night(1)
    done = subprocess.run(["/bin/sh", "-c", here(command, fleet)], env={"PATH": "/usr/bin:/bin"}, capture_output=True)
    assert (done.returncode, done.stdout) == (Exit.DONE, b""), done.stderr
    assert fleet.bags()[0].link["produced"] == 1


# --- an alarm when nothing ran ----------------------------------------------------------------------------------------


def _gaps_commands() -> list[str]:
    """The commands of both recipes, as systemd and cron hand them to a shell."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(DEPLOY / "systemd" / "digicert-one-gaps.service")
    (*_, script) = shlex.split(unit["Service"]["ExecStart"])
    text = (DEPLOY / "cron" / "digicert-one-gaps").read_text()
    assert text.endswith("\n")
    (line,) = (line for line in text.splitlines() if re.match(r"[0-9*]", line))
    command = line.split(None, 6)[6]
    assert not re.search(r"(?<!\\)%", command)  # a newline to cron
    return [script.replace("%%", "%"), command.replace("\\%", "%")]


def test_a_night_without_a_run_ends_with_its_own_exit_code_and_one_with_all_runs_is_silent(night: Night):
    fleet = night(1)
    start = datetime.now(UTC).replace(hour=0, minute=0) - timedelta(days=4)
    file = fleet.file.with_name("expected.yaml")
    file.write_text(f"expected: [{{job: batch-fleet, every: day, from: {start:%Y-%m-%d}}}]\n")
    fleet.archive.mkdir(exist_ok=True)
    declare(fleet.archive, file, at=start, environ={})
    for present, code in ((3, Exit.CHECK_FAILED), (4, Exit.DONE)):
        for day in range(present):
            run = Told("batch-fleet", start + timedelta(days=day, hours=6))
            bags.put(fleet.archive, {"run.json": json.dumps(run.record()).encode()}, job=run.job, at=run.at)
        for command in _gaps_commands():
            done = subprocess.run(["/bin/sh", "-c", here(command, fleet)], capture_output=True, text=True)
            assert done.returncode == code, done
            assert ("MISSING" in done.stdout) is (code is Exit.CHECK_FAILED)


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def _container(manifest: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    job = yaml.safe_load(manifest.read_text())["spec"]["jobTemplate"]["spec"]
    return job, job["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_schema_takes_the_manifest(manifest: Path):
    found = yaml.safe_load(manifest.read_text())
    validate(found, KUBERNETES, strict=True)
    found["spec"]["jobTemplate"]["spec"]["backofLimit"] = 1
    with pytest.raises(ValidationError):
        validate(found, KUBERNETES, strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_what_a_manifest_mounts_exists_in_it_and_secrets_are_files(manifest: Path):
    job, container = _container(manifest)
    volumes = {one["name"]: one for one in job["template"]["spec"]["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} == set(volumes)
    assert volumes["secrets"]["secret"]["defaultMode"] & 0o007 == 0  # else the library refuses to read them
    assert not [one for one in container["env"] if "valueFrom" in one or "KEY" in one["name"]]
    never = {code for rule in job["podFailurePolicy"]["rules"] for code in rule["onExitCodes"]["values"]}
    assert never == {Exit.USAGE, Exit.DUE, Exit.CHECK_FAILED}  # the others are made good by running again


def test_the_pod_runs_the_fleet(night: Night):
    fleet = night(1)
    _, container = _container(DEPLOY / "kubernetes" / "cronjob.yaml")
    words = [here(" ".join([*container["command"], *container["args"]]), fleet)]
    assert subprocess.run(shlex.split(words[0]), capture_output=True).returncode == Exit.DONE
    assert fleet.bags()[0].link["produced"] == 1


def test_the_pods_of_an_indexed_job_run_the_fleet_together(night: Night):
    job, container = _container(DEPLOY / "kubernetes" / "shards.yaml")
    fleet = night(5)
    (script,) = container["args"]
    for index in range(job["completions"]):
        environ = {**os.environ, "JOB_COMPLETION_INDEX": str(index)}
        done = subprocess.run([*container["command"], here(script, fleet)], env=environ, capture_output=True)
        assert done.returncode == Exit.DONE, done.stderr
    assert len(fleet.bags()) == job["completions"] == job["parallelism"]
    assert fleet.marks() == Counter({f"a{number}": 1 for number in range(5)})


# --- Airflow ----------------------------------------------------------------------------------------------------------


def test_what_an_airflow_task_starts_runs_its_part_of_the_fleet(night: Night, monkeypatch: pytest.MonkeyPatch):
    """Airflow cannot be in this environment: here its names are stand-ins, and what the task runs is real."""
    sdk, exceptions, pendulum = (
        types.ModuleType(name) for name in ("airflow.sdk", "airflow.sdk.exceptions", "pendulum")
    )
    sdk.DAG = lambda *_, **__: open(os.devnull)  # type: ignore[attr-defined]  # noqa: PTH123, SIM115  a context manager
    sdk.task = lambda **_: _Task  # type: ignore[attr-defined]
    exceptions.AirflowException = RuntimeError  # type: ignore[attr-defined]
    exceptions.AirflowFailException = PermissionError  # type: ignore[attr-defined]
    pendulum.datetime = lambda *_, **__: None  # type: ignore[attr-defined]
    for module in (types.ModuleType("airflow"), sdk, exceptions, pendulum):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    recipe: Any = _recipe()
    assert (recipe.FLEET, recipe.ARCHIVE) == (FLEET, ARCHIVE)
    fleet = night(2)
    fleet.command()
    recipe.HOME, recipe.FLEET, recipe.ARCHIVE = ROOT, str(fleet.file), str(fleet.archive)
    monkeypatch.chdir(ROOT)
    parts = [Shard(number, recipe.PARTS) for number in range(1, recipe.PARTS + 1)]
    number = next(part.number for part in parts if part.has("a0"))
    recipe.part.function(number)
    assert fleet.marks()["a0"] == 1
    recipe.FLEET = str(fleet.folder / "none.yaml")
    with pytest.raises(PermissionError, match="wrong usage or parameters"):
        recipe.part.function(1)


def _recipe() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("recipe", DEPLOY / "airflow" / "digicert_one_fleet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Task:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def expand(self, number: list[int]) -> None:
        assert number == [1, 2, 3, 4]


if SOAK:

    def test_airflow_itself_imports_the_dag(tmp_path: Path):
        venv.create(tmp_path / "venv", with_pip=True)
        python = tmp_path / "venv/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "apache-airflow>=3"], check=True)
        program = (
            f"import runpy; print(runpy.run_path({str(DEPLOY / 'airflow/digicert_one_fleet.py')!r})['dag'].task_ids)"
        )
        environ = {"AIRFLOW_HOME": str(tmp_path)}
        done = subprocess.run([python, "-c", program], env=environ, capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "['part']", done.stderr
