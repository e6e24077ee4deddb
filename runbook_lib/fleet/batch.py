"""Runs the accounts of a batch: at the pace their hosts allow, again where that may help, until all is done or time is
up. Written against `concurrent.futures.Executor`: where the runs happen is the executor's business.
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

_LOG = logging.getLogger(__name__)

GRACE_SECONDS, CUT_SECONDS = 20.0, 15.0
"""How long runs under way may take to end by themselves when the batch is stopped, and then to be cut off. Together
less than systemd waits before it kills. A further signal ends each wait."""

POLL_SECONDS = 0.1
BACK_OFF_SECONDS = 5.0
"""Before the first repetition, on average; twice as long before each that follows."""

RETRY_SHARE, RETRY_FLOOR = 0.2, 10
"""Repetitions in the whole batch: so many, and this share of its accounts. Where a host is down for all of them,
asking again for each is a second storm, and tells nothing new."""

LOST = 3
"""So many workers may be lost under one account. After that the account is missing, and the next batch takes it."""

SEEN = 400
"""So many characters of what a run came to stand in the roll-up; its own report has them all."""

PASSING = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.TIMED_OUT,
        Reason.RATE_LIMITED,
        Reason.SERVER_ERROR,
        # the notebook's own journal finds out what became of the request, before anything is sent
        Reason.OUTCOME_UNKNOWN,
        Reason.BUSY,
    }
)
"""Why a run is repeated: what may be otherwise a moment later. A wrong key is as wrong then."""


@dataclass
class Item:
    """An account that is to be done.

    Args:
        work: makes what is sent to a worker, anew for each attempt: each is a run of its own.
        host: whom it asks; the budget counts by it.
        attempts: how many are in the ledger already.
    """

    account: str
    slug: str
    inputs: str
    host: str
    work: Callable[[], AccountWork]
    attempts: int = 0
    lost: int = 0


class ExecutorLost(RuntimeError):
    """Nothing more can be begun: whoever hands out the work is gone. `str` is why."""


class Watch(Protocol):
    """Whoever shows how far a batch is."""

    def begun(self, already: int) -> None:
        """It begins; so many accounts have their end from an earlier go."""

    def ended(self, entry: Kept) -> None:
        """An account has its end."""

    def again(self, entry: Kept, seconds: float) -> None:
        """It is to be run again, in so many seconds."""

    def lost(self, account: str, why: str) -> None:
        """A worker was lost under it."""

    def stopping(self, why: str, under_way: int) -> None:
        """Nothing more is begun."""


@dataclass(frozen=True)
class BatchEnd:
    """How the running went.

    Args:
        stopped: INTERRUPTED or TIMED_OUT where it was stopped; FAILED where workers were lost for good; DONE else.
        missing: accounts without an end, and why.
    """

    stopped: Status
    missing: dict[str, str]


@dataclass
class Batch:
    """One go at the accounts that are missing. Times in seconds.

    Args:
        cut_off: ends what is under way, where the executor can.
        width: how many runs the executor can have under way; asked again and again, since a cluster grows and shrinks.
            Raises ExecutorLost.
        deadline: for all of it.
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
        """Run them. Every run that ends is in the ledger at once. Raises OSError where the ledger cannot be written."""
        for item in self.items:
            self._hosts.setdefault(item.host, Host(self.budget)).waiting.append(item)
        until = time.monotonic() + self.deadline
        stopped = Status.DONE
        while self._running or self._later or any(host.waiting for host in self._hosts.values()):
            now = time.monotonic()
            if self.interruptions.signals:
                stopped, reason = Status.INTERRUPTED, f"{self.interruptions.signals[0].name} arrived"
            elif now >= until:
                stopped, reason = Status.TIMED_OUT, f"the batch's {self.deadline:g} s were over"
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
                item.account: f"{'lost, and not begun again' if item.lost else 'not begun'} when {reason}"
                for item in self._not_begun()
            }
            missing |= {item.account: f"under way when {reason}" for item in self._running.values()}
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
                except Exception as error:  # noqa: BLE001  the executor is broken or closed, whatever it calls that
                    host.ended()
                    self._lost(item, error)
            room -= len(ready)
            if not ready:
                return

    def _nap(self, now: float) -> float:
        """How long nothing can have to be done but to take in what has ended."""
        moments = [self._later[0][0] - now] if self._later else []
        if self.width() > len(self._running):
            moments += [seconds for host in self._hosts.values() if (seconds := host.opens_in(now)) is not None]
        return max(0.0, min([POLL_SECONDS, *moments]))

    def _settle(self, seconds: float, *, stopping: bool = False) -> None:
        """Take in what ended within so many seconds."""
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
        # whoever runs the batch again after a 40 wants to know what became of the request: that has not ended either
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
                else "cut off when the batch was stopped; its report says how far it had come"
                if cut_off
                else "to be run again when the batch was stopped"
            )

    def _again(self, item: Item, times: int, *, least: float = 0.0) -> float:
        """Queue it once more, at a moment of its own: what failed together is not repeated together."""
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
            self._given_up[item.account] = f"{item.lost} workers were lost under it: {why}"

    def _stop(self, why: str) -> None:
        """Begin nothing more. What is under way may end by itself; then, or at a second signal, it is cut off."""
        self.watch.stopping(why, len(self._running))
        seen = max(1, len(self.interruptions.signals))
        self._collect(GRACE_SECONDS, signals=seen)
        if self._running:
            self.cut_off()
            self._collect(CUT_SECONDS, signals=seen + 1)

    def _collect(self, seconds: float, *, signals: int) -> None:
        """Take in what ends, for so long, or until more signals than these have come."""
        until = time.monotonic() + seconds
        while self._running and time.monotonic() < until and len(self.interruptions.signals) <= signals:
            self._settle(POLL_SECONDS, stopping=True)

    def _not_begun(self) -> Iterator[Item]:
        for host in self._hosts.values():
            yield from host.waiting
        for _, _, item in self._later:
            yield item


def why(record: RunRecord) -> tuple[str, str]:
    """Why a run did not do what it should have, as the catalogue names it, and in words; empty where it did.

    A notebook that goes on although nobody answered ends as NOT_PROVEN; the step that asked knows more.
    """
    if record.error is None:
        return "", ""
    if record.error["reason"] == Reason.NOT_PROVEN:
        for step in record.steps:
            if step.reason in set(Reason):
                return step.reason, f"{CATALOGUE[Reason(step.reason)].title}: {step.headline}"
    return str(record.error["reason"]), f"{record.error['title']}: {record.error['what']}"


def asked_to_wait(record: RunRecord) -> float:
    """Seconds that a server asked to wait (Retry-After) before it is asked again; 0 where none did."""
    return max((step.retry_after for step in record.steps if step.retry_after is not None), default=0.0)


def kept(item: Item, produced: Produced, *, ended: bool) -> Kept:
    """The ledger's line about a run."""
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
    )


def _seen(record: RunRecord) -> str:
    """What a run came to, in a line: its error, or its most pressing step."""
    if record.error is not None:
        return _line(why(record)[1])
    told = [step for step in record.steps if step.verdict is not Verdict.NOTHING_TO_DO] or list(record.steps)
    return _line(max(told, key=lambda step: SEVERITY[step.verdict]).headline) if told else ""


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SEEN else f"{line[:SEEN]} …"
