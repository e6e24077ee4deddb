"""Evidence does not depend on what a notebook shows: what ran is recorded once and sealed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from runbook_lib.catalogue import Reason
from runbook_lib.clock import FixedClock, SystemClock, parse_utc
from runbook_lib.job_server import JobServer
from runbook_lib.reports import artefacts, html
from runbook_lib.reports.job import Job, Produced, Source
from runbook_lib.reports.produce import produce
from runbook_lib.reports.runrecord import RunRecord
from tests.soak import SOAK

SEND = (
    "kernel = get_ipython().kernel\n"
    "def send(kind, content): kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent())\n"
)
SHOW = "from IPython.display import display, HTML, Markdown, Latex\n"

SHOWN = {
    "an attachment that is not there": ("", ["![x](attachment:missing.png)"], "attachment: missing.png"),
    "an attachment of an odd name": ("", ["![x](attachment:../%00 <b>.png)", "![](attachment:)"], "missing attachment"),
    "an attachment in an output": (f"{SHOW}display(Markdown('![x](attachment:y.png)'))", [], "missing attachment"),
    "a marked section": ("", ["<![foo[", "<![CDATA[x", "<!DOCTYPE x [", "<?php"], ""),
    "a marked section in HTML": (f"{SHOW}display(HTML('<p>kept<![foo['))", [], "unknown status keyword"),
    "broken SVG": ("display({'image/svg+xml': '<svg><![foo['}, raw=True)", [], ""),
    "a picture that is none": ("display({'image/png': '<no base64>'}, raw=True)", [], ""),
    "broken LaTeX": (f"{SHOW}display(Latex(r'$\\frac{{'))", ["$$\\frac{", "\\begin{x}"], ""),
    "not a number in JSON": ("display({'application/json': {'a': float('nan')}}, raw=True)", [], ""),
    "a widget of no model": (
        "display({'application/vnd.jupyter.widget-view+json': {'model_id': 5}}, raw=True)",
        [],
        "",
    ),
    "nothing at all": ("display({}, raw=True)", [], ""),
    "an unknown type": ("display({'x/unknown': 'x'}, raw=True)", [], ""),
    "half of a surrogate pair": ("print('\\ud800')", [], ""),
    "control characters": ("print('a\\0b\\x1b[31m\\x1b[')", [], ""),
    "deep Markdown": ("", ["> " * 5000 + "x", "[" * 20_000, "*" * 5000 + "a"], ""),
    "deep HTML": (f"{SHOW}display(HTML('<div>' * 5000))", [], ""),
    "a record of ours that is none": (
        "M = 'application/vnd.digicert-one-runbooks+json'\n"
        "display({M: 5}, raw=True); display({M: {'record': 'step'}}, raw=True)",
        [],
        "",
    ),
}
"""A code cell, Markdown cells, and words of the reason why they cannot be shown."""

SENT = {
    "an unknown type of nothing": "display({'x/unknown': None}, raw=True)",
    "text that is a number": "display({'text/plain': 5}, raw=True)",
    "lines that are numbers": "display({'text/html': ['<b>', 7]}, raw=True)",
    "HTML that is an object": "display({'text/html': {'a': 1}}, raw=True)",
    "Markdown that is a number": "display({'text/markdown': 5}, raw=True)",
    "a picture that is a number": "display({'image/png': 5}, raw=True)",
    "no metadata": f"{SEND}send('display_data', {{'data': {{'text/plain': 'x'}}, 'metadata': None}})",
    "no data": f"{SEND}send('display_data', {{}})",
    "a stream of numbers": f"{SEND}send('stream', {{'name': 'x', 'text': 5}})",
    "an error of numbers": f"{SEND}send('error', {{'ename': 5, 'evalue': None, 'traceback': [1, None]}})",
    "an error of nothing": f"{SEND}send('error', {{}})",
    "JSON without end": (
        "x = []\nfor _ in range(900): x = [x]\ndisplay({'application/json': x, 'text/plain': '-'}, raw=True)"
    ),
}
"""Outputs on which papermill fails; the run is archived nevertheless."""

FEW = ("an attachment that is not there", "a marked section in HTML", "half of a surrogate pair")
RUNS = [("runbook", name) for name in SHOWN] + [("papermill", name) for name in (SHOWN if SOAK else FEW)]
GIVEN_UP = [("runbook", name) for name in SENT]
GIVEN_UP += [("papermill", name) for name in (SENT if SOAK else ["text that is a number"])]


def _notebook(source: str, prose: list[str], marks: Path) -> bytes:
    cells = [new_code_cell(f"with open({str(marks)!r}, 'a') as file:\n    file.write('ran ')"), new_code_cell(source)]
    nb = new_notebook(cells=[*cells, *map(new_markdown_cell, prose)])
    nb.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return str(nbformat.writes(nb)).encode()


def _by_papermill(job: Job) -> Produced:
    with tempfile.TemporaryDirectory() as folder:
        return produce(job, folder=Path(folder), clock=SystemClock())


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which each run leaves a mark."""
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def told(marks: Path) -> Iterator[dict[tuple[str, str], Future[Produced]]]:
    """The record and files of each notebook, by engine and name."""
    with JobServer() as server, ThreadPoolExecutor(4) as pool:
        found: dict[tuple[str, str], Future[Produced]] = {}
        for engine, name in (*RUNS, *GIVEN_UP):
            source, prose = SHOWN[name][:2] if name in SHOWN else (SENT[name], [])
            content = _notebook(source, prose, marks / f"{engine} {name}")
            job = Job(Source("nb.ipynb", content, None), "demo", {}, cell_timeout=60)
            if engine == "papermill":
                found[engine, name] = pool.submit(_by_papermill, job)
            else:
                found[engine, name] = pool.submit(server.run, job, clock=SystemClock())
        yield found


@pytest.mark.parametrize(("engine", "name"), RUNS)
def test_what_cannot_be_drawn_is_said_and_costs_no_record(
    told: dict[tuple[str, str], Future[Produced]], marks: Path, engine: str, name: str
) -> None:
    made = told[engine, name].result()
    assert (made.record.status.value, made.record.error) == ("done", None)
    assert SHOWN[name][2] in " ".join(made.record.not_drawn.values())
    assert bool(made.record.not_drawn) == bool(SHOWN[name][2])
    assert set(made.files) == {"run.json", "run.ipynb", "report.html"}
    page = made.files["report.html"].decode()
    assert ("Shown as plain text: " in page) == bool(SHOWN[name][2])
    assert "<![foo[" not in page
    assert (marks / f"{engine} {name}").read_text() == "ran "  # once


@pytest.mark.parametrize(("engine", "name"), GIVEN_UP)
def test_what_papermill_gives_up_over_is_a_failed_run_with_a_report(
    told: dict[tuple[str, str], Future[Produced]], marks: Path, engine: str, name: str
) -> None:
    made = told[engine, name].result()
    assert (made.record.status.value, (made.record.error or {})["reason"]) == ("failed", Reason.NOTEBOOK_ERROR)
    assert "in code cell 2 of 2" in (made.record.error or {})["what"]
    assert made.record.cells.states == ("executed", "unknown")
    assert set(made.files) >= {"run.json", "run.ipynb", "report.html"}
    assert (marks / f"{engine} {name}").read_text() == "ran "


# --- the nets below -------------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(Source("nb.ipynb", _notebook("print('done')", [], tmp_path / "ran"), None), "demo", {})


def test_a_page_that_fails_is_made_without_the_cells(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "_take_title", lambda nb: 1 // len(nb.cells) if nb.cells else "")
    made = _by_papermill(job)
    assert made.record.status.value == "done"
    monkeypatch.setattr(html, "_shown", lambda cell: 1 / 0)
    made = _by_papermill(job)
    assert made.record.status.value == "done"
    assert "ZeroDivisionError" in made.record.not_drawn["the notebook's cells"]
    assert "Not shown: the notebook&#39;s cells: ZeroDivisionError" in made.files["report.html"].decode()
    assert b"done" in made.files["run.ipynb"]
    monkeypatch.setattr(html, "exporter", lambda: 1 / 0)
    made = _by_papermill(job)
    assert set(made.record.not_drawn) == {"the notebook's cells", "the page"}
    assert "Not shown: the page" in made.files["report.html"].decode()


def test_whatever_fails_behind_the_execution_is_a_failed_run_and_no_second_one(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a secret value")

    monkeypatch.setattr(artefacts, "make_artefacts", fail)
    made = _by_papermill(job)
    record: RunRecord = made.record
    assert (record.status.value, record.exit, (record.error or {})["reason"]) == ("failed", 1, Reason.UNEXPECTED)
    assert "KeyError at runbook_lib/reports/produce.py:" in (record.error or {})["what"]
    assert b"a secret value" not in b"".join(made.files.values())
    assert set(made.files) == {"run.json", "report.html", "unexpected.log"}
    assert (tmp_path / "ran").read_text() == "ran "


def test_the_page_of_last_resort_is_data_and_no_markup() -> None:
    from runbook_lib.reports import bare

    at = parse_utc("2026-11-23T14:15:00Z")
    job = Job(Source("<b>.ipynb", b"", None), "demo", {}, account="<script>")
    made = bare.failed_unexpectedly(
        job, ValueError("x"), started=at, finished=FixedClock(at).now(), clock="test", executed=True
    )
    page = made.files["report.html"].decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;.ipynb" in page
