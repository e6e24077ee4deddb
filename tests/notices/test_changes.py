"""A message is about a change of state, and never about what is as it was or could not be checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.notices.notices_file import NoticeState
from runbook_lib.notices.run_facts import read_bag
from runbook_lib.notices.state_changes import BROKEN, DOWN, OK, certificate_change, of_runs
from tests.notices import runs


@pytest.mark.parametrize(
    ("before", "after", "in_use", "expected"),
    [
        ("healthy", "due", True, NoticeState.DUE),
        ("due", "due", True, None),
        ("due", "urgent", True, NoticeState.URGENT),
        ("urgent", "due", True, None),
        ("healthy", "expired", False, NoticeState.EXPIRED),
        ("disabled", "expired", False, NoticeState.EXPIRED),
        ("due", "disabled", False, NoticeState.DISABLED),
        ("disabled", "healthy", False, NoticeState.RECOVERED),
        ("urgent", "healthy", False, NoticeState.RECOVERED),
        ("due", "", True, None),  # not checked
        (None, "healthy", True, None),
        (None, "due", False, NoticeState.DUE),
        (None, "expired", False, None),
        (None, "expired", True, NoticeState.EXPIRED),
        (None, "disabled", False, None),
        (None, "disabled", True, NoticeState.DISABLED),
    ],
)
def test_a_certificate_s_change(before: str | None, after: str, in_use: bool, expected: NoticeState | None):
    assert certificate_change(before, after, in_use=in_use) is expected


def changes(archive: Path, jobs: dict[str, str], sources: dict[str, str], **about: object):
    facts = read_bag(archive, runs.put(archive, **about))  # type: ignore[arg-type]
    assert facts is not None
    found, new_jobs, new_sources = of_runs(facts, jobs, sources)
    return [change.state for change in found], new_jobs, new_sources


def test_an_outage_is_a_state_of_digicert_one_and_not_of_each_job(tmp_path: Path):
    states, jobs, sources = changes(tmp_path, {}, {}, error=runs.outage())
    assert (states, jobs, sources) == ([NoticeState.UNREACHABLE], {}, {"production": DOWN})
    states, jobs, _ = changes(tmp_path, jobs, sources, job="rotate", error=runs.outage())
    assert (states, jobs) == ([], {})
    states, jobs, sources = changes(tmp_path, jobs, sources)
    assert (states, set(jobs.values()), sources) == ([NoticeState.RECOVERED], {OK}, {"production": OK})


def test_a_job_that_fails_with_an_answer_is_broken_until_it_is_done(tmp_path: Path):
    states, jobs, sources = changes(tmp_path, {}, {}, job="rotate", error=runs.fault())
    assert (states, set(jobs.values()), sources) == ([NoticeState.FAILED], {BROKEN}, {"production": OK})
    states, jobs, _ = changes(tmp_path, jobs, sources, job="rotate", error=runs.fault())
    assert states == []
    states, jobs, _ = changes(tmp_path, jobs, sources, job="rotate")
    assert states == [NoticeState.RECOVERED]


def test_two_credentials_of_one_job_do_not_take_turns_at_failing(tmp_path: Path):
    _, jobs, sources = changes(tmp_path, {}, {}, job="rotate", parameters={"name": "A"}, error=runs.fault())
    states, more, _ = changes(tmp_path, jobs, sources, job="rotate", parameters={"name": "B"})
    assert states == []
    states, _, _ = changes(tmp_path, jobs | more, sources, job="rotate", parameters={"name": "A"}, error=runs.fault())
    assert states == []
