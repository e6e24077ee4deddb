"""Which changes of state are a message, and what each says. Pure: the state before and what a bag says come in.

A certificate's state follows from its dates, or it is disabled. What could not be checked changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso
from runbook_lib.lifecycle.rotation import rotate_command
from runbook_lib.notices.notices_file import NoticeState
from runbook_lib.notices.run_facts import DISABLED, BagFacts, CertificateRow, RunFacts

OK, DOWN, BROKEN = "ok", "down", "broken"
"""The states of a job and of DigiCert ONE: a job is ok or broken, DigiCert ONE is ok or down."""

_RANK = {"healthy": 0, "not yet valid": 0, "due": 1, "urgent": 2, "expired": 3}


@dataclass(frozen=True)
class StateChange:
    """One change of state.

    Args:
        title: what happened, in a few words.
        facts: label and value, in reading order.
        job, environment: for the rules.
        now: when, by the run's clock; dates are shown relative to it.
        report: the path of the report, below the archive.
    """

    state: NoticeState
    title: str
    facts: tuple[tuple[str, str], ...]
    job: str
    environment: str
    now: datetime
    report: str


def certificate_change(before: str | None, after: str, *, in_use: bool) -> NoticeState | None:
    """The message for a certificate whose state was `before` (None: never seen) and is `after` now; None for none.

    At first sight a certificate that is due is news. One that has expired or is disabled is news only if programs use
    it: DigiCert ONE lists old certificates for ever.
    """
    if after in ("", before):
        return None
    if after == DISABLED:
        return NoticeState.DISABLED if before is not None or in_use else None
    if _RANK[after] == 0:
        return NoticeState.RECOVERED if before is not None and (before == DISABLED or _RANK[before] > 0) else None
    if before is None:
        return NoticeState(after) if after != "expired" or in_use else None
    before = "healthy" if before == DISABLED else before
    return NoticeState(after) if _RANK[after] > _RANK[before] else None


_TITLES = {
    NoticeState.DUE: "{} is due for renewal",
    NoticeState.URGENT: "{} ends very soon",
    NoticeState.EXPIRED: "{} has expired",
    NoticeState.DISABLED: "{} is disabled",
    NoticeState.RECOVERED: "{} needs no action any more",
}


def of_certificate(
    state: NoticeState, row: CertificateRow, run: RunFacts, actions: Mapping[tuple[str, str], str]
) -> StateChange:
    """The change of a certificate, as its row and the inventory's list of actions describe it."""
    todo = actions.get((row.name, row.state), "")
    if not todo and row.in_use and state in (NoticeState.DUE, NoticeState.URGENT):
        todo = rotate_command(row.place.partition("/")[0])
    return _change(
        state,
        _TITLES[state].format(row.name),
        run,
        ends=row.end,
        place=row.place,
        owner=row.owner,
        why=row.why if state is not NoticeState.RECOVERED else "",
        todo=todo,
    )


def of_step(state: NoticeState, name: str, run: RunFacts, headline: str = "") -> StateChange:
    """The change that a rotation or notebook 03 made to a certificate."""
    title = (
        f"A rotation changed the certificate in use of {name}"
        if state is NoticeState.ROTATED
        else _TITLES[state].format(name)
    )
    following = run.next_step()
    after = f"{following.words}, from {iso(following.start)}" if following is not None else ""
    return _change(state, title, run, why=headline, todo=after)


def of_runs(
    bag: BagFacts, jobs: Mapping[str, str], sources: Mapping[str, str]
) -> tuple[list[StateChange], dict[str, str], dict[str, str]]:
    """The changes of the jobs of a bag and of DigiCert ONE.

    If no run of the bag got an answer from an environment, it is down, and its jobs are as they were. If one did, a
    run without an answer failed like any other.

    Args:
        jobs, sources: the states before, by `RunFacts.key` and by environment.

    Returns:
        the changes; the states after, of the jobs and the environments of this bag alone.
    """
    changes: list[StateChange] = []
    runs = list(bag.runs)
    if bag.batch and (bag.bag.run.error or {}).get("reason") != Reason.ACCOUNTS_FAILED:
        runs.append(bag.bag)  # else the batch failed only since accounts did, and they are here themselves
    up = {run.environment for run in runs if run.environment and run.answered and not run.outage}
    down: dict[str, RunFacts] = {}
    for run in runs:
        if run.outage and run.environment and run.environment not in up:
            down.setdefault(run.environment, run)
    new_sources = dict.fromkeys(up, OK) | dict.fromkeys(down, DOWN)
    for environment, state in sorted(new_sources.items()):
        before = sources.get(environment, OK)
        if state == DOWN and before != DOWN:
            changes.append(_down(down[environment]))
        if state == OK and before == DOWN:
            first = next(run for run in runs if run.environment == environment)
            changes.append(_change(NoticeState.RECOVERED, f"DigiCert ONE ({environment}) answers again", first))
    new_jobs: dict[str, str] = {}
    for run in runs:
        if run.environment in down and run.outage:
            continue
        state, before = OK if run.done else BROKEN, jobs.get(run.key, OK)
        new_jobs[run.key] = state
        if state != before:
            changes.append(_of_job(run, ok=run.done))
    return changes, new_jobs, new_sources


def _of_job(run: RunFacts, *, ok: bool) -> StateChange:
    if ok:
        return _change(NoticeState.RECOVERED, f"{_called(run)} is done again", run)
    error = run.run.error or {}
    title = f"{_called(run)} {'failed' if run.run.status == 'failed' else 'was ' + run.run.status}"
    return _change(NoticeState.FAILED, title, run, why=_said(error), todo=str(error.get("remedy", "")))


def _down(run: RunFacts) -> StateChange:
    error = run.run.error or {}
    title = f"DigiCert ONE ({run.environment}) does not respond properly"
    return _change(NoticeState.UNREACHABLE, title, run, why=_said(error), todo=str(error.get("remedy", "")))


def _said(error: Mapping[str, object]) -> str:
    return ": ".join(str(error[part]) for part in ("title", "what") if error.get(part))


def _called(run: RunFacts) -> str:
    """What a reader calls the job: `rotate of “CI”`, `inventory for signing-emea`."""
    credential = f" of “{run.credential}”" if run.credential else ""
    return f"{run.run.job}{credential}" + (f" for {run.account}" if run.account else "")


def _change(
    state: NoticeState,
    title: str,
    run: RunFacts,
    *,
    ends: str = "",
    place: str = "",
    owner: str = "",
    why: str = "",
    todo: str = "",
) -> StateChange:
    target = run.run.target
    facts = (
        ("Ends", ends),
        ("Where", " · ".join(_unique((run.environment, target.api_url if target else "", run.account)))),
        ("In the store", place if not place.startswith("/") else ""),
        ("File", place if place.startswith("/") else ""),
        ("Belongs to", owner),
        ("Why", why),
        ("Do", todo),
        ("Run", f"{run.run.job} on {run.run.who.host}, {iso(run.now)}"),
    )
    kept = tuple((label, value) for label, value in facts if value)
    return StateChange(state, title, kept, run.run.job, run.environment, run.now, run.report)


def _unique(parts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, parts)))
