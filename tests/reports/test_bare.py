"""What a run leaves that ended in an unexpected error."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.reports import bare
from runbook_lib.reports.job import Job, Produced, Source

AT = datetime(2026, 11, 28, tzinfo=UTC)
PASSWORD = "hanna-and-the-seven-lakes"


def told(what: str, environ: dict[str, str] | None = None) -> Produced:
    job = Job(
        source=Source("nb.ipynb", b"{}", None),
        name="issue",
        parameters={"p12_password": "env:PASSWORD"},
        environ={"PASSWORD": PASSWORD} if environ is None else environ,
    )
    error = RunbookError(Reason.ENGINE_FAILED, what)
    return bare.failed_unexpectedly(job, error, started=AT, finished=AT, clock="test", executed=True)


def test_an_error_is_told_in_its_words() -> None:
    assert b"It broke at 7." in told("It broke at 7.").files["run.json"]


@pytest.mark.parametrize("spelling", [PASSWORD, PASSWORD.encode("utf-16").hex(), PASSWORD.replace("-", "&#45;")])
def test_not_where_they_hold_a_secret_of_the_run(spelling: str) -> None:
    files = told(f"It broke at {spelling}.").files
    assert not [name for name, content in files.items() if spelling.encode() in content]
    assert b"withheld" in files["run.json"]
    assert b"withheld" in files["report.html"]


def test_nor_where_they_could_not_be_searched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError(PASSWORD)

    monkeypatch.setattr("runbook_lib.reports.scan.references_in", broken)
    assert b"It broke" not in told("It broke at 7.").files["run.json"]
    assert PASSWORD not in caplog.text
