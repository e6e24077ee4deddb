"""A clicked session: what a person did at a notebook's buttons, and the files of its bag.

The keeper (`session_keeper`) writes each message to `session.jsonl` without the secrets in it, and keeps the rest in
memory. The keeper or, after a crash, the next run makes the bag here, with the same record, the same report and the
same search for secrets as those of a headless run.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from runbook_lib import disk
from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import Clock, FixedClock, iso
from runbook_lib.errors import RunbookError
from runbook_lib.reports import bare
from runbook_lib.reports.job import Job, Produced, RunStart, Source
from runbook_lib.reports.outcome import CellState, Judgement, not_proven, recorded_error, verdict_of
from runbook_lib.reports.runrecord import Click, Found, Started
from runbook_lib.reports.scan import Scanner
from runbook_lib.result import (
    MIME,
    FinishRecord,
    Kind,
    ParametersRecord,
    Status,
    StepRecord,
    Table,
    Verdict,
    read_record,
)
from runbook_lib.session_messages import Begin, Close, Did, Line, Pressed, Ran, StepOf

SESSION, NOTEBOOK = "session.jsonl", "in.ipynb"
"""In a staging folder: the lines of a clicked session, and its notebook as it was at Start."""

KERNEL_GONE = "the kernel ended"
KEEPER_GONE = "the kernel and the process that kept the evidence were killed, or their machine went down"


@dataclass
class ClickedSession:
    """What happened in a session, in order.

    Args:
        started: who, where, when, which notebook.
        begun: what was started.
        last: when the last message came.
        closed: why the session is over; empty while it is not.
        asked: the person asked for a bag.
        withheld: secrets that session.jsonl leaves out, if the session was read from it.
    """

    started: Started
    begun: Begin
    last: datetime
    clicks: list[Click] = field(default_factory=list)
    ended: list[Did] = field(default_factory=list)
    ran: list[Ran] = field(default_factory=list)
    closed: str = ""
    asked: bool = False
    withheld: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, started: Started, folder: Path) -> ClickedSession | None:
        """Read session.jsonl; None if it holds no complete line. A torn last line was never acknowledged."""
        session: ClickedSession | None = None
        try:
            content = disk.read_file(folder / SESSION)
        except FileNotFoundError:
            return None
        for text in content.splitlines():
            try:
                line = Line.model_validate_json(text)
            except ValidationError:
                break
            if isinstance(line.message, Begin):
                session = cls(started, line.message, line.at)
            elif session is not None:
                session.take(line.message, line.at)
            if session is not None:
                session.withheld.update(line.withheld)
        return session

    def take(self, message: Pressed | Did | Ran | Close, at: datetime) -> None:
        """Note what the notebook said."""
        self.last = at
        match message:
            case Pressed():
                step, self.closed = self._step(message.step), ""
                self.clicks.append(
                    Click(
                        at=at,
                        step=step.slug,
                        title=step.title,
                        kind=step.kind,
                        verdict=None,
                        asked=message.asked,
                        without_evidence=message.without_evidence,
                    )
                )
            case Did():
                self.ended.append(message)
                record = step_record(message)
                headline = record.result.headline if record.result else (record.error or {}).get("what", "")
                known = {"verdict": record.verdict, "headline": headline}
                if self.clicks:
                    self.clicks[-1] = self.clicks[-1].model_copy(update=known)
            case Ran():
                self.ran = [*(ran for ran in self.ran if ran.number != message.number), message]
            case Close():
                self.closed, self.asked = message.why, self.asked or message.asked

    def _step(self, slug: str) -> StepOf:
        return next(step for step in self.begun.steps if step.slug == slug)

    @property
    def changes(self) -> bool:
        """Whether the notebook has a step that changes something."""
        return any(step.kind is Kind.CHANGE for step in self.begun.steps)

    @property
    def deserves_bag(self) -> bool:
        """Whether the session is archived: a change was pressed, or the person asked for it."""
        return self.asked or any(click.kind is Kind.CHANGE and click.asked for click in self.clicks)

    @property
    def open_click(self) -> Click | None:
        """The press whose outcome is unknown, if there is one."""
        return self.clicks[-1] if self.clicks and self.clicks[-1].verdict is None else None

    @property
    def standing(self) -> dict[str, StepRecord | None]:
        """The steps that are done, with their records: a repeated step undoes those after it, as in `perform`.

        A step of an earlier session has no record here.
        """
        order = [step.slug for step in self.begun.steps]
        done: dict[str, StepRecord | None] = dict.fromkeys(self.begun.earlier)
        for message in self.ended:
            done = {slug: known for slug, known in done.items() if order.index(slug) < order.index(message.step)}
            done[message.step] = step_record(message)
        return done

    @property
    def finish(self) -> FinishRecord | None:
        """The summary after the last step."""
        record = read_record(self.ended[-1].summary[MIME]) if self.ended else None
        return record if isinstance(record, FinishRecord) else None

    def judge(self, cells: tuple[CellState, ...]) -> Judgement:
        """How the session ended, by the rules of a headless run (`outcome.judge`)."""
        finish, standing = self.finish, self.standing
        current = [record for record in standing.values() if record is not None]
        left = [step for step in self.begun.steps if step.slug not in standing]
        status, error = Status.DONE, recorded_error(tuple(current))
        if self.open_click is not None:
            click = self.open_click
            what = f"“{click.title}” was pressed at {iso(click.at)}, and its outcome is unknown: {self.closed}."
            status, error = Status.INTERRUPTED, RunbookError(Reason.INTERRUPTED, what).as_dict()
        elif error is not None:
            status = Status.FAILED
        elif left:
            after = f"after “{self.clicks[-1].title}”" if self.clicks else "before the first step"
            what = f"The session ended {after}: {self.closed}. The next step was “{left[0].title}”."
            status, error = Status.INTERRUPTED, RunbookError(Reason.INTERRUPTED, what).as_dict()
        elif finish is not None and finish.verdict in (Verdict.FAILED, Verdict.UNCHECKED):
            status, error = Status.FAILED, not_proven(tuple(current))
        return Judgement(
            status=status,
            exit=Exit(error["exit"]) if error else Exit.DONE,
            error=error,
            verdict=verdict_of(status, finish),
            needs_action=finish.needs_action if finish else 0,
            cells=cells,
            records=(*self._parameters(), *self._steps(), *([finish] if finish else ())),
        )

    def _parameters(self) -> list[ParametersRecord]:
        records = [read_record(bundle[MIME]) for bundle in self.begun.shown if MIME in bundle]
        return [record for record in records if isinstance(record, ParametersRecord)]

    def _steps(self) -> list[StepRecord]:
        """Every record, in order of time. The files of a repeated step's long tables were replaced."""
        latest = {message.step: number for number, message in enumerate(self.ended)}
        records = []
        for number, message in enumerate(self.ended):
            record = step_record(message)
            if record.result is not None and number != latest[message.step]:
                record = record.model_copy(update={"result": record.result.model_copy(update={"beside": ()})})
            records.append(record)
        return records

    def table(self) -> Table:
        """The presses as a table."""
        rows = tuple(
            (
                iso(click.at),
                click.title,
                click.kind.value,
                click.verdict.value if click.verdict else "unknown",
                click.headline,
                "without evidence" if click.without_evidence else "",
            )
            for click in self.clicks
        )
        columns = ("at", "step", "kind", "verdict", "what was seen", "agreed to")
        return Table(name="clicks", title="Presses of buttons", columns=columns, rows=rows)


def step_record(message: Did) -> StepRecord:
    """The record in a step's output."""
    record = read_record(message.shown[MIME])
    if not isinstance(record, StepRecord):
        raise TypeError("not the record of a step")
    return record


def as_line(message: Begin | Pressed | Did | Close, at: datetime, scanner: Scanner) -> bytes:
    """A line of session.jsonl. Secrets in it are replaced by their references."""
    line = Line(at=at, message=message)
    labels = scanner.labels_in(line.model_dump_json())
    if labels:
        redacted = scanner.redact(message.model_dump(mode="json"))
        line = Line.model_validate(
            {"at": at, "message": {**redacted, "do": message.do}, "withheld": tuple(sorted(labels))}
        )
    return line.model_dump_json().encode() + b"\n"


def produce_session(
    session: ClickedSession,
    source: Source,
    *,
    folder: Path,
    clock: Clock,
    secrets: Mapping[str, str],
    environ: Mapping[str, str],
    keep_out: tuple[str, ...],
) -> Produced:
    """Make the record and the files of a session's bag.

    Args:
        source: the notebook as it was at Start.
        folder: the staging folder, with the files of long tables.
        secrets: what was typed, by its reference.
        environ: `env:` references are resolved in it.
        keep_out: references to more secrets, such as the signer's passphrase.

    Returns:
        The record and the files, searched for secrets; after an unexpected error the least that is safe.
    """
    begun, started = session.begun, session.started
    job = Job(
        source=source,
        name=started.job,
        parameters=begun.parameters,
        environ=environ,
        keep_out=keep_out,
        run=started.run,
        known=started,
    )
    now = clock.now()
    try:
        return _produced(session, job, secrets, folder, clock)
    except Exception as error:  # noqa: BLE001  (it is archived)
        return bare.failed_unexpectedly(
            job, error, started=started.at, finished=now, clock=clock.source, executed=bool(session.ended)
        )


def produce_left_over(
    started: Started, folder: Path, *, environ: Mapping[str, str], keep_out: tuple[str, ...]
) -> Produced | None:
    """What is known of a session whose keeper was killed; None if it deserves no bag, or its folder holds no session.

    Raises OSError.
    """
    session = ClickedSession.read(started, folder)
    if session is None or not session.deserves_bag:
        return None
    session.closed = session.closed or KEEPER_GONE
    source = Source(started.notebook, disk.read_file(folder / NOTEBOOK), started.git, started.git_unknown)
    clock = FixedClock(session.last, "system clock, when the last message came")
    return produce_session(session, source, folder=folder, clock=clock, secrets={}, environ=environ, keep_out=keep_out)


def _produced(session: ClickedSession, job: Job, secrets: Mapping[str, str], folder: Path, clock: Clock) -> Produced:
    # they import papermill and nbconvert, which only a sealing keeper needs
    from runbook_lib.reports import annotate, artefacts
    from runbook_lib.reports.produce import Clicks, Judged, make_record, open_job
    from runbook_lib.reports.session_notebook import session_notebook

    opened = open_job(job)
    for reference, value in secrets.items():
        opened.scanner.add(reference, value)
    defaults = opened.defaults or {}
    given = {name: value for name, value in opened.given.items() if name not in defaults or defaults[name] != value}
    opened = replace(opened, given=given)
    nb, cells = session_notebook(session, copy.deepcopy(opened.nb), given)
    judgement = session.judge(cells)
    annotate.correct(nb, judgement, run=job.run, notebook=job.source.name)
    seconds = (clock.now() - session.started.at).total_seconds()
    found = tuple(Found(file=SESSION, where="", what=label) for label in sorted(session.withheld))
    return make_record(
        opened,
        Judged(nb, judgement, ""),
        folder=folder,
        clock=clock,
        begun=RunStart(session.started.at, time.monotonic() - seconds),
        engine=None,
        clicks=Clicks(tuple(session.clicks), artefacts.More((session.table(),), found)),
    )
