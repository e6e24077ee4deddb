"""`runbook init`, and that a wheel has what a checkout has."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runbook_lib.catalogue import Exit
from runbook_lib.cli.root import run_words

ROOT = Path(__file__).parents[2]
FOLDERS = ("notebooks", "parameters")


def content(folder: Path) -> dict[str, bytes]:
    """The files that git keeps below a folder's `notebooks` and `parameters`."""
    found = [path for name in FOLDERS for path in (folder / name).rglob("*") if path.is_file()]
    kept = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def test_notebooks_and_parameters_are_copied_and_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "work"
    assert run_words(["init", str(folder)]) == Exit.DONE
    assert content(folder) == content(ROOT)
    (folder / "parameters" / "sandbox.yaml").write_text("mine: true\n")
    (folder / "notebooks").rename(folder / "mine")
    assert run_words(["init", str(folder)]) == Exit.USAGE
    assert f"Already there: {folder / 'parameters'}. Nothing was copied." in capsys.readouterr().err
    assert (folder / "parameters" / "sandbox.yaml").read_text() == "mine: true\n"
    assert not (folder / "notebooks").exists()


def test_a_wheel_holds_them(tmp_path: Path) -> None:
    build = "wheel --quiet --no-deps --no-build-isolation --no-index --disable-pip-version-check -w"
    subprocess.run([sys.executable, "-m", "pip", *build.split(), tmp_path, ROOT], check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path)
    assert content(tmp_path / "runbook_lib" / "files") == content(ROOT)
    work = f"import runbook_lib.notebooks as n; assert str(n.__file__).startswith({str(tmp_path)!r}); "
    program = f"{work}from runbook_lib.cli.root import run_words; run_words(['init', 'work'])"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert content(tmp_path / "work") == content(ROOT)
