"""The two ways to the environment, `make env` and conda, lead to the same packages."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
CONDA = ROOT / "environment.yml"
BUILT_ON = ("jupyterlab", "papermill", "ipywidgets", "requests", "cryptography", "pandas", "nbval")


def conda() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(CONDA.read_text(encoding="utf-8"))
    return found


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def locked(text: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a lock file with its hashes."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    return [(Requirement(re.split(r"\s--hash=", line)[0]), re.findall(r"--hash=(\S+)", line)) for line in lines]


def pip_as_conda_would(folder: Path) -> subprocess.CompletedProcess[str]:
    """Give pip the `pip:` section, as conda does: written to a file beside environment.yml, so relative to it."""
    section = next(item["pip"] for item in conda()["dependencies"] if isinstance(item, dict))
    (folder / "conda.requirements.txt").write_text("\n".join(section) + "\n", encoding="utf-8")
    command = "install --dry-run --require-hashes --no-index --no-input --disable-pip-version-check -r"
    return subprocess.run(
        [sys.executable, "-m", "pip", *command.split(), "conda.requirements.txt"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_conda_s_pip_section_would_install_nothing_that_is_not_here_already(tmp_path: Path):
    (tmp_path / "requirements.lock").write_bytes(LOCK.read_bytes())
    done = pip_as_conda_would(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout
    assert done.stdout.count("Requirement already satisfied") >= len(BUILT_ON)


def test_a_lock_that_asks_for_another_version_is_noticed(tmp_path: Path):
    text = re.sub(r"^nbval==\S+", "nbval==0.0.1", LOCK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / "requirements.lock").write_text(text, encoding="utf-8")
    done = pip_as_conda_would(tmp_path)
    assert done.returncode != 0
    assert "nbval==0.0.1" in done.stderr


def test_conda_brings_python_and_pip_and_takes_everything_else_from_the_lock():
    found = conda()
    assert found["name"] == project()["name"]
    assert found["channels"] == ["conda-forge"]
    plain = [item for item in found["dependencies"] if isinstance(item, str)]
    assert [re.split(r"[<>=]", item)[0] for item in plain] == ["python", "pip"]
    assert [item for item in found["dependencies"] if isinstance(item, dict)] == [{"pip": ["-r requirements.lock"]}]
    allowed = SpecifierSet(plain[0].removeprefix("python"))
    needed = SpecifierSet(project()["requires-python"])
    minors = [f"3.{minor}" for minor in range(8, 20)]
    assert next(one for one in minors if one in allowed) == next(one for one in minors if one in needed)
    assert ".".join(map(str, sys.version_info[:2])) in allowed


def test_conda_s_file_names_what_the_project_is_built_on_and_the_step_after_it():
    comments = " ".join(line for line in CONDA.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    assert [name for name in BUILT_ON if name not in comments] == []
    install = "install --no-deps --no-build-isolation -e ."
    assert f"pip {install}" in comments
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert install.replace("install ", "") in makefile.replace("--quiet --disable-pip-version-check ", "")


def test_every_dependency_of_the_project_is_in_the_lock_and_installed_as_it_says():
    pinned = {canonicalize_name(one.name): one for one, _ in locked(LOCK.read_text(encoding="utf-8")) if applies(one)}
    declared = [
        Requirement(text)
        for text in chain(project()["dependencies"], *project()["optional-dependencies"].values())
        if applies(Requirement(text))
    ]
    assert {one.name for one in declared} >= set(BUILT_ON)
    for one in declared:
        pin = pinned[canonicalize_name(one.name)]
        (exact,) = pin.specifier
        assert exact.version in one.specifier
        assert version(one.name) == exact.version


def applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


def test_the_lock_pins_every_package_with_hashes_and_names_no_host():
    text = LOCK.read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", text)
    found = locked(text)
    assert len(found) > 100
    for requirement, hashes in found:
        assert requirement.url is None
        assert [one.operator for one in requirement.specifier] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes)


@pytest.mark.parametrize("line", ["nbval==0.11.0", "nbval>=0.11 --hash=sha256:" + "0" * 64])
def test_a_line_without_a_hash_or_an_exact_version_would_be_seen(line: str):
    ((requirement, hashes),) = locked(line)
    assert not hashes or [one.operator for one in requirement.specifier] != ["=="]
