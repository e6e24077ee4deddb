"""The one way from a sealed bag to everybody who is to know: messages, metrics, calendar.

`inform` is what the commands and a clicked session call once a bag is in the archive. It never raises and changes
nothing about the run: what did not work is in its answer, and the next call tries again.
"""

from __future__ import annotations

import csv
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import chain
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError, unexpected
from runbook_lib.notices import messages, state_changes
from runbook_lib.notices.notice_state import DATABASE, FOLDER, NoticesState
from runbook_lib.notices.notices_file import Notices, NoticeState, read_notices
from runbook_lib.notices.run_facts import FILES, LISTED, BagFacts, RunFacts, read_bag
from runbook_lib.notices.sender import send_waiting
from runbook_lib.notices.state_changes import StateChange
from runbook_lib.words import quantity

POLICY = "policy.json"
_BRIEFLY = 5.0
"""Seconds to wait for a sentence of a report."""

_LOG = logging.getLogger(__name__)


@dataclass
class Informed:
    """What became of the notices after a run.

    Args:
        sent: how many messages were sent, of this run and of earlier ones.
        waiting: how many the next run sends.
        problems: what did not work, a sentence each; no secret.
    """

    sent: int = 0
    waiting: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{quantity(self.sent, 'message')} sent"] if self.sent else []
        parts += [f"{self.waiting:,} not sent yet: the next run tries again"] if self.waiting else []
        return "; ".join(parts)


def use(archive: Path, file: Path | None) -> None:
    """Make a notices file the archive's policy: every run into this archive follows it. None ends that.

    Raises:
        RunbookError: as `read_notices`. OSError: from the file system.
    """
    path = archive / FOLDER / POLICY
    if file is None:
        path.unlink(missing_ok=True)
        return
    read_notices(file)
    disk.replace(path, json.dumps({"notices": str(file.absolute())}).encode())


def policy(archive: Path) -> Path | None:
    """The notices file that the archive names; None if it names none. Raises RunbookError (BAD_PARAMETER)."""
    path = archive / FOLDER / POLICY
    try:
        return Path(json.loads(disk.read_file(path, 1 << 16))["notices"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{path} cannot be read.",
            remedy="Name the file again: runbook notices use FILE --archive DIR.",
            title="The archive's policy for notices cannot be read",
        ) from None


def wanted(archive: Path, file: Path | None, metrics: Path | None, calendar: Path | None) -> Notices | None:
    """What the options ask for, else what the archive's policy does; None for nothing.

    Raises:
        RunbookError: as `read_notices`.
    """
    file = file or policy(archive)
    given = read_notices(file) if file is not None else Notices()
    given = given.model_copy(update={"metrics": metrics or given.metrics, "calendar": calendar or given.calendar})
    return given if given != Notices() else None


def waiting(archive: Path) -> str:
    """A sentence about messages that could not be sent so far; empty if none wait. Raises nothing."""
    if not (archive / FOLDER / DATABASE).exists():
        return ""
    try:
        with NoticesState.held(archive, wait=_BRIEFLY) as state:
            number = state.unsent()
    except (RunbookError, OSError, sqlite3.Error) as error:
        return f"Unknown whether messages of earlier runs wait ({type(error).__name__})."
    words = f"{quantity(number, 'message')} of earlier runs could not be sent so far"
    return f"{words}. `runbook notices test FILE` shows why." if number else ""


def inform(bag: Path, notices: Notices | None = None, *, environ: Mapping[str, str] | None = None) -> Informed:
    """Send the messages about a sealed bag, and about earlier ones that no run got to; write metrics and calendar.

    Args:
        bag: its folder in the archive.
        notices: what to do; by default what the archive's policy says.
        environ: resolves the references, in place of the process's environment.

    Returns:
        what became of it. Nothing is raised: the run is archived, whatever becomes of its notices.
    """
    archive = bag.absolute().parents[3]
    found = Informed()
    try:
        notices = notices or wanted(archive, None, None, None)
        if notices is None:
            return found
        with NoticesState.held(archive) as state:
            now = _take(state, archive, bag.absolute(), notices, found)
            sent = send_waiting(state, notices.references, environ)
            found.sent, found.waiting = sent.sent, sent.waiting
            found.problems += sent.problems
            _write(state, archive, notices, now, found)  # afterwards, since a metric counts what waits
    except RunbookError as error:
        found.problems.append(f"{error.what} {error.remedy}")
    except Exception as error:  # noqa: BLE001 - a notice never changes how a run ended
        found.problems.append(unexpected(error).what)
        _LOG.debug("Notices", exc_info=True)
    return found


def _write(state: NoticesState, archive: Path, notices: Notices, now: datetime, found: Informed) -> None:
    """Write metrics and calendar. A failure of either stops nothing else."""
    writers: list[tuple[Path, Callable[[], None]]] = []
    if notices.metrics is not None:
        from runbook_lib.notices.metrics import write_metrics

        folder = notices.metrics
        writers.append((folder, lambda: write_metrics(state, archive, folder, now)))
    if notices.calendar is not None:
        from runbook_lib.notices.calendar import write_calendar

        file = notices.calendar
        writers.append((file, lambda: write_calendar(state, file, now)))
    for path, write in writers:
        try:
            write()
        except OSError as error:
            found.problems.append(f"{path} cannot be written: {error.strerror or error}.")
        except RunbookError as error:
            found.problems.append(f"{error.what} {error.remedy}")


# --- reading ----------------------------------------------------------------------------------------------------------


def _take(state: NoticesState, archive: Path, bag: Path, notices: Notices, found: Informed) -> datetime:
    """Read the bags that are new, oldest first. Each is one transaction: its states, its messages, the position.

    Returns: when the last run that was read ended, by its own clock.
    """
    now = state.now
    for sequence, place in _new(state, archive, bag):
        facts = read_bag(archive, place)
        with state.transaction():
            if facts is not None:
                now = facts.bag.now
                changed = _changes(state, facts, found)
                state.post(messages.messages(changed, notices, archive))
                found.problems += facts.problems
            state.advance(sequence, str(place.parent.relative_to(archive)), now)
    return now


def _new(state: NoticesState, archive: Path, bag: Path) -> list[tuple[int, Path]]:
    """The bags to read: at first this one, then each that came into the chain after the last that was read."""
    own = chain.Link.read(disk.read_file(bag / chain.LINK)).sequence
    position = state.position
    head, _ = chain.read_pointer(archive)
    last = max(own, head.sequence) if head is not None else own
    if position is None or last < position[0]:  # the archive began again
        return [(own, bag)]
    missing = set(range(position[0] + 1, last + 1))
    bags: dict[int, Path] = {}
    for place, sequence in _links(archive) if missing else ():
        # a long run's bag is named after its start; its day may lie before that of the last one
        if not missing or str(place.parent.relative_to(archive)) < _days_before(position[1]):
            break
        if sequence in missing:
            missing.remove(sequence)
            bags[sequence] = place
    return sorted(bags.items())


def _links(archive: Path) -> Iterator[tuple[Path, int]]:
    for place in chain.bags(archive):
        try:
            yield place, chain.Link.read(disk.read_file(place / chain.LINK)).sequence
        except (OSError, ValueError):  # `archive verify` reports it
            continue


def _days_before(day: str) -> str:
    return f"{date(*map(int, day.split('/'))) - timedelta(days=7):%Y/%m/%d}"


# --- changes ----------------------------------------------------------------------------------------------------------


def _changes(state: NoticesState, facts: BagFacts, found: Informed) -> list[StateChange]:
    """The changes of a bag. Keeps the new states."""
    result, jobs, sources = state_changes.of_runs(facts, state.jobs(), state.sources())
    state.set_runs(jobs, sources, {run.place: run for run in (facts.bag, *facts.runs)}.values())
    for run in facts.runs:
        for table in (LISTED, FILES):
            if run.has(table):
                result += _certificates(state, run, table, found)
        result += _steps(state, run)
    return result


def _certificates(state: NoticesState, run: RunFacts, table: str, found: Informed) -> Iterator[StateChange]:
    actions = run.actions()
    try:
        for row, before in state.compare(run.certificates(table)):
            kind = state_changes.certificate_change(before, row.dated, in_use=row.in_use)
            if kind is not None:
                yield state_changes.of_certificate(kind, row, run, actions)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, IndexError) as error:
        found.problems.append(f"{run.place}/{table} cannot be read: {type(error).__name__}.")
        return
    state.keep(f"{run.key}|{table}", complete=run.complete(table), now=run.now)


def _steps(state: NoticesState, run: RunFacts) -> Iterator[StateChange]:
    """What a rotation or notebook 03 changed, and what the rotation does next."""
    if run.rotated:
        yield state_changes.of_step(NoticeState.ROTATED, run.credential, run, run.rotated)
    name = run.disabled
    if name and state.disable(run.environment, name):
        yield state_changes.of_step(NoticeState.DISABLED, name, run)
    if run.run.job == "rotate" and run.done:
        state.plan(run.environment, run.credential, run.next_step())
