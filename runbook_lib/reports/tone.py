"""The tone of a word on a page of the archive. A colour never stands alone: it repeats what a word says."""

from __future__ import annotations

from runbook_lib.reports.outcome import Status
from runbook_lib.result import Verdict

_TONES: dict[str, set[str]] = {
    "good": {Status.DONE, Verdict.OK, Verdict.NOTHING_TO_DO},
    "warn": {Verdict.ATTENTION, Status.INTERRUPTED, Verdict.UNCHECKED, "unknown"},
    "calm": {Verdict.PLANNED, "never ran", "skipped"},
}


def tone(word: str) -> str:
    """`good`, `calm`, `warn`, or `bad` for every word that is none of these."""
    return next((name for name, words in _TONES.items() if word in words), "bad")
