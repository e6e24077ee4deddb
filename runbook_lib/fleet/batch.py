"""Runs the accounts of a batch at the pace their hosts allow, with repetitions, until all are done or time is up.

It is written against `concurrent.futures.Executor`; the executor decides where the runs execute.
"""

from __future__ import annotations

import heapq
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Protocol

from runbook_lib.catalogue import CATALOGUE, Exit, Reason
from runbook_lib.fleet.file import HostBudget
from runbook_lib.fleet.ledger import Kept, Ledger
from runbook_lib.fleet.pace import Host
from runbook_lib.fleet.worker import AccountWork, perform_work
from runbook_lib.reports.job import Produced
from runbook_lib.reports.runrecord import RunRecord
from runbook_lib.reports.supervise import Interruptions
from runbook_lib.result import SEVERITY, Status, Verdict
from runbook_lib.visible import visible
from runbook_lib.words import quantity

_LOG = logging.getLogger(__name__)

GRACE_SECONDS, CUT_SECONDS = 20.0, 15.0
"""How long runs in progress may take to end when the batch is stopped, and then to be cut off. Together this is less
than systemd waits before it kills. Another signal ends each wait."""

POLL_SECONDS = 0.1
BACK_OFF_SECONDS = 5.0
"""The average wait before the first repetition; it doubles with each one."""

RETRY_SHARE, RETRY_FLOOR = 0.2, 10
"""Most repetitions in a batch: this number, plus this share of the accounts. If a host is down for all accounts,
repeating each run is a second storm and reveals nothing new."""

LOST = 3
"""After the loss of so many workers, an account is missing and left for the next batch."""

SEEN = 400
"""Characters of a run's result in the roll-up; the run's own report has all of them."""

PASSING = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.TIMED_OUT,
        Reason.RATE_LIMITED,
        Reason.SERVER_ERROR,
        # the journal finds out what became of the request before anything is sent again
        Reason.OUTCOME_UNKNOWN,
        Reason.BUSY,
    }
)
"""The reasons for repeating a run: a moment later it can succeed. A wrong key stays wrong."""


@dataclass
class Item:
    """An account to do.

    Args:
        work: makes the work for a worker; each attempt is a new run.
        host: the host that the run asks; the budget applies per host.
        attempts: attempts that are in the ledger already.
    """

    account: str
    slug: str
    inputs: str
    host: str
    work: Callable[[], AccountWork]
    attempts: int = 0
    lost: int = 0


class ExecutorLost(RuntimeError):
    """No run can start any more: the executor's scheduler is gone. `str` says why."""


class Watch(Protocol):
    """Shows the progress of a batch."""

    def begun(self, already: int) -> None:
        """The batch starts; so many accounts finished earlier."""

    def ended(self, entry: Kept) -> None:
        """An account finished."""

    def again(self, entry: Kept, seconds: float) -> None:
        """An account's run is repeated in so many seconds."""

    def lost(self, account: str, why: str) -> None:
        """An account's worker was lost."""

    def stopping(self, why: str, under_way: int) -> None:
        """The batch stops: no more runs start."""


@dataclass(frozen=True)
class BatchEnd:
    """How the batch ended.

    Args:
        stopped: INTERRUPTED or TIMED_OUT if it was stopped; FAILED if accounts are missing otherwise; else DONE.
        missing: accounts that did not finish, and why.
    """

    stopped: Status
    missing: dict[str, str]


@dataclass
class Batch:
    """One attempt at the accounts that are missing. Times are in seconds.

    Args:
        cut_off: ends the runs in progress, if the executor can.
        width: how many runs the executor can do at once; called repeatedly, as a cluster grows and shrinks. Raises
            ExecutorLost.
        deadline: for the whole batch.
    """

    items: Sequence[Item]
    executor: Executor
    width: Callable[[], int]
    cut_off: Callable[[], None]
    ledger: Ledger
    budget: HostBudget
    retries: int
    deadline: float
    interruptions: Interruptions
    watch: Watch
    back_off: float = BACK_OFF_SECONDS
    _hosts: dict[str, Host[Item]] = field(default_factory=dict)
    _running: dict[Future[Produced], Item] = field(default_factory=dict)
    _later: list[tuple[float, int, Item]] = field(default_factory=list)
    _given_up: dict[str, str] = field(default_factory=dict)
    _repeated: int = 0

    def run(self) -> BatchEnd:
        """Run the accounts. Each run that ends goes into the ledger. Raises OSError if that cannot be written."""
        for item in self.items:
            self._hosts.setdefault(item.host, Host(self.budget)).waiting.append(item)
        until = time.monotonic() + self.deadline
        stopped = Status.DONE
        while self._running or self._later or any(host.waiting for host in self._hosts.values()):
            now = time.monotonic()
            if self.interruptions.signals:
                stopped, reason = Status.INTERRUPTED, f"{self.interruptions.signals[0].name} arrived"
            elif now >= until:
                stopped, reason = Status.TIMED_OUT, f"the batch's deadline of {self.deadline:g} s passed"
            if stopped is not Status.DONE:
                self._stop(reason)
                break
            try:
                self._start(now)
                self._settle(self._nap(now))
            except ExecutorLost as error:
                stopped, reason = Status.FAILED, str(error)
                self._stop(reason)
                break
        missing = dict(self._given_up)
        if stopped is not Status.DONE:
            missing |= {
                item.account: f"{'worker lost, not restarted' if item.lost else 'not started'} when {reason}"
                for item in self._not_begun()
            }
            missing |= {item.account: f"in progress when {reason}" for item in self._running.values()}
        elif missing:
            stopped = Status.FAILED
        return BatchEnd(stopped, missing)

    def _start(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            item = heapq.heappop(self._later)[2]
            self._hosts[item.host].waiting.append(item)
        room = self.width() - len(self._running)
        while room > 0:
            ready = [host for host in self._hosts.values() if host.may_start(now)]
            for host in ready[:room]:
                item = host.start(now)
                try:
                    self._running[self.executor.submit(perform_work, item.work())] = item
                except Exception as error:  # noqa: BLE001  the executor is broken or closed
                    host.ended()
                    self._lost(item, error)
            room -= len(ready)
            if not ready:
                return

    def _nap(self, now: float) -> float:
        """Seconds in which nothing needs doing except collecting runs that end."""
        moments = [self._later[0][0] - now] if self._later else []
        if self.width() > len(self._running):
            moments += [seconds for host in self._hosts.values() if (seconds := host.opens_in(now)) is not None]
        return max(0.0, min([POLL_SECONDS, *moments]))

    def _settle(self, seconds: float, *, stopping: bool = False) -> None:
        """Collect the runs that end within so many seconds."""
        if not self._running:
            time.sleep(seconds)
            return
        for future in wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED).done:
            item = self._running.pop(future)
            self._hosts[item.host].ended()
            try:
                produced = future.result()
            except Exception as error:  # noqa: BLE001  whatever ended the worker, the account is not done
                self._lost(item, error)
            else:
                self._keep(item, produced, stopping=stopping)

    def _keep(self, item: Item, produced: Produced, *, stopping: bool) -> None:
        item.attempts += 1
        passing = produced.record.status is Status.FAILED and why(produced.record)[0] in PASSING
        allowed = self._repeated < RETRY_FLOOR + RETRY_SHARE * len(self.items) and item.attempts <= self.retries
        again = passing and allowed
        cut_off = stopping and produced.record.status is Status.INTERRUPTED
        # after exit code 40, running the batch again finds out what became of the request: the account has not finished
        unknown = produced.record.exit == Exit.OUTCOME_UNKNOWN
        ended = not (again or cut_off or unknown)
        entry = kept(item, produced, ended=ended)
        self.ledger.keep(entry, produced.files)
        _LOG.info("%s, attempt %d: %s", visible(item.account), item.attempts, produced.record.status)
        asked = asked_to_wait(produced.record)
        self._hosts[item.host].pause(time.monotonic(), asked)
        if ended:
            self.watch.ended(entry)
        elif again and not stopping:
            self._repeated += 1
            self.watch.again(entry, self._again(item, item.attempts, least=asked))
        else:
            self._given_up[item.account] = (
                "the outcome of its request is unknown"
                if unknown
                else "cut off when the batch was stopped; its report says how far it got"
                if cut_off
                else "waiting for its repetition when the batch was stopped"
            )

    def _again(self, item: Item, times: int, *, least: float = 0.0) -> float:
        """Queue a repetition at a random moment: runs that failed together are not repeated together."""
        seconds: float = least + self.back_off * 2 ** (times - 1) * random.uniform(0.5, 1.5)  # noqa: S311  no secret
        heapq.heappush(self._later, (time.monotonic() + seconds, id(item), item))
        return seconds

    def _lost(self, item: Item, error: BaseException) -> None:
        item.lost += 1
        why = visible(f"{type(error).__name__}: {error}".strip(": ")[:300])
        self.watch.lost(item.account, why)
        if item.lost < LOST:
            self._again(item, item.lost)
        else:
            self._given_up[item.account] = f"it lost {quantity(item.lost, 'worker')}: {why}"

    def _stop(self, why: str) -> None:
        """Start no more runs. Those in progress may end; after that, or at a second signal, they are cut off."""
        self.watch.stopping(why, len(self._running))
        seen = max(1, len(self.interruptions.signals))
        self._collect(GRACE_SECONDS, signals=seen)
        if self._running:
            self.cut_off()
            self._collect(CUT_SECONDS, signals=seen + 1)

    def _collect(self, seconds: float, *, signals: int) -> None:
        """Collect runs that end, for so many seconds or until more signals than these arrive."""
        until = time.monotonic() + seconds
        while self._running and time.monotonic() < until and len(self.interruptions.signals) <= signals:
            self._settle(POLL_SECONDS, stopping=True)

    def _not_begun(self) -> Iterator[Item]:
        for host in self._hosts.values():
            yield from host.waiting
        for _, _, item in self._later:
            yield item


def why(record: RunRecord) -> tuple[str, str]:
    """Why a run failed: its reason code and its words; empty if it did not fail.

    A notebook that goes on without an answer ends as NOT_PROVEN; the step that asked knows the cause.
    """
    if record.error is None:
        return "", ""
    if record.error["reason"] == Reason.NOT_PROVEN:
        for step in record.steps:
            if step.reason in set(Reason):
                return step.reason, f"{CATALOGUE[Reason(step.reason)].title}: {step.headline}"
    return str(record.error["reason"]), f"{record.error['title']}: {record.error['what']}"


def asked_to_wait(record: RunRecord) -> float:
    """Seconds that a server asked to wait (Retry-After); 0 if none did."""
    return max((step.retry_after for step in record.steps if step.retry_after is not None), default=0.0)


def kept(item: Item, produced: Produced, *, ended: bool) -> Kept:
    """The ledger's line for a run."""
    record = produced.record
    return Kept(
        account=item.account,
        slug=item.slug,
        inputs=item.inputs,
        attempt=item.attempts,
        ended=ended,
        run=record.run,
        status=record.status,
        verdict=record.verdict,
        exit=record.exit,
        needs_action=record.needs_action,
        started=record.started,
        duration=record.duration,
        host=record.who.host,
        reason=why(record)[0],
        seen=_seen(record),
        files=tuple(sorted(produced.files)),
        ticket=record.ticket,
        change_reason=record.change_reason,
        approved_by=record.approved_by,
    )


def _seen(record: RunRecord) -> str:
    """A run's result in one line: its error, or its most severe step."""
    if record.error is not None:
        return _line(why(record)[1])
    steps = [step for step in record.steps if step.verdict is not Verdict.NOTHING_TO_DO] or list(record.steps)
    return _line(max(steps, key=lambda step: SEVERITY[step.verdict]).headline) if steps else ""


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SEEN else f"{line[:SEEN]} …"
