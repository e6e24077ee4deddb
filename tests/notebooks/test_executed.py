"""The notebooks, executed by plain papermill and by nbval, against a real sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.result import MIME, read_record
from tests.notebooks.conftest import NOTEBOOKS, ROOT, Desk

pytestmark = pytest.mark.slow

# nbval compares what a reader sees. The record of the same output holds times that no pattern can replace.
SKIP_RECORDS = f"""
def pytest_itemcollected(item):
    if "{MIME}" not in item.parent.skip_compare:
        item.parent.skip_compare += ("{MIME}",)
"""
SANITIZED = ("--nbval-sanitize-with", ROOT / "tests" / "notebooks" / "sanitize.cfg", "-p", "no:cacheprovider", "-q")


def outputs(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_every_notebook_runs_headlessly_with_one_parameter_file_and_leaves_its_records(executed: Path):
    for path in sorted(executed.glob("*.ipynb")):
        records = [read_record(one["data"][MIME]) for one in outputs(path) if MIME in one["data"]]
        assert [record.record for record in records][:: len(records) - 1] == ["parameters", "finish"], path
        assert records[-1].verdict in ("ok", "nothing to do"), path  # type: ignore[union-attr]
        for one in outputs(path):
            assert one["output_type"] == "display_data"
            assert {"text/html", "text/plain"} <= set(one["data"])


def test_a_headless_notebook_holds_no_widget_and_no_secret(executed: Path, desk: Desk):
    for path in executed.glob("*.ipynb"):
        whole = path.read_text(encoding="utf-8")
        assert "widget-view" not in whole
        assert "widgets" not in json.loads(whole)["metadata"]
        assert not [
            one for one in json.loads(whole)["cells"] if "explore" in one["metadata"]["tags"] and one.get("outputs")
        ]
        assert desk.sandbox["DIGICERT_ONE_API_KEY"] not in whole
        assert desk.sandbox["DIGICERT_ONE_P12_PASSWORD"] not in whole
        assert "PRIVATE KEY-----" not in whole


def test_a_change_that_was_not_confirmed_ends_the_notebook_with_its_remedy_and_no_traceback(desk: Desk, tmp_path: Path):
    out = tmp_path / "out.ipynb"
    ran = desk.papermill(ROOT / "notebooks" / "01_issue.ipynb", out, "-p", "name", "Unconfirmed")
    assert ran.returncode != 0
    error = next(one for one in outputs(out) if one["output_type"] == "error")
    assert error["ename"] == "RunbookError"
    shown = "\n".join(error["traceback"])
    assert "confirmation_missing" in shown
    assert "dry_run" in shown
    assert "Traceback" not in shown
    assert "procedure.py" not in shown
    assert not (Path(desk.sandbox["DIGICERT_ONE_STORE"]) / "sandbox" / "Unconfirmed").exists()


def test_nbval_accepts_the_committed_notebooks_without_any_sandbox(desk: Desk):
    lonely = Desk(desk.home, {k: v for k, v in desk.environ.items() if not k.startswith("DIGICERT_")}, {})
    ran = lonely.run("pytest", "--nbval", *SANITIZED, "notebooks")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout


def references(executed: Path, folder: Path, *names: str) -> Path:
    """Executed notebooks, changed so that nbval compares every output."""
    folder.mkdir()
    (folder / "conftest.py").write_text(SKIP_RECORDS)
    for name in names:
        notebook = json.loads((executed / name).read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["metadata"]["tags"] = []
        (folder / name).write_text(json.dumps(notebook), encoding="utf-8")
    return folder


def test_nbval_sees_the_same_results_again_in_executed_notebooks(desk: Desk, executed: Path, tmp_path: Path):
    folder = references(executed, tmp_path / "references", *(path.name for path in NOTEBOOKS))
    ran = desk.run("pytest", "--nbval", *SANITIZED, "--rootdir", folder, folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


def test_nbval_notices_one_changed_word_in_a_result(desk: Desk, executed: Path, tmp_path: Path):
    folder = references(executed, tmp_path / "references", "07_troubleshoot.ipynb")
    path = folder / "07_troubleshoot.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("A file cannot be read", "A file can be read"))
    ran = desk.run("pytest", "--nbval", *SANITIZED, "--rootdir", folder, folder)
    assert ran.returncode == 1
    assert "A file can be read" in ran.stdout
