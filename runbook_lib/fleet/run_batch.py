"""One batch from the fleet file to the sealed bag. An interrupted batch is resumed, or sealed first if too old."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from runbook_lib.archive import bag, chain, seal, signing
from runbook_lib.archive.expectation import declared_policy
from runbook_lib.archive.ticket_policy import TicketPolicy
from runbook_lib.catalogue import Reason
from runbook_lib.clock import Clock, iso
from runbook_lib.digicert.environments import Environment
from runbook_lib.errors import RunbookError
from runbook_lib.fleet import rollup
from runbook_lib.fleet.batch import Batch, BatchEnd, Item, Watch
from runbook_lib.fleet.executors import BatchExecutor
from runbook_lib.fleet.file import Fleet, FleetAccount, Shard, inputs_digest
from runbook_lib.fleet.ledger import Begun, Ledger
from runbook_lib.fleet.worker import AccountWork
from runbook_lib.reports import artefacts
from runbook_lib.reports.job import Job, Source
from runbook_lib.reports.outcome import RunOutcome
from runbook_lib.reports.runrecord import Found, RunRecord, who
from runbook_lib.reports.scan import Scanner, references_in, refuse_names
from runbook_lib.reports.software import lock_sha256
from runbook_lib.reports.supervise import Interruptions
from runbook_lib.result import Status
from runbook_lib.words import quantity

RESUME = timedelta(hours=12)
"""How long an interrupted batch can be resumed. Later, reports of different days would count as one batch."""


@dataclass(frozen=True)
class BatchOrder:
    """A batch to run.

    Args:
        name: of the bag and the ledger: lower-case letters, digits and dashes.
        job: the notebook's name in each account's run.json.
        file: the fleet file.
        preload: modules that the notebook imports.
        notices: messages of earlier runs that wait, for the report.
        environ: this process's environment; the workers have their own.
    """

    fleet: Fleet
    file: Path
    source: Source
    name: str
    job: str
    shard: Shard
    archive: Path
    environ: Mapping[str, str]
    preload: tuple[str, ...] = ()
    notices: str = ""

    @property
    def accounts(self) -> tuple[FleetAccount, ...]:
        return tuple(account for account in self.fleet.accounts if self.shard.has(account.account))

    def inputs(self, account: FleetAccount) -> str:
        return inputs_digest(self.source.sha256, self.fleet.given(account))


def run_batch(order: BatchOrder, engine: BatchExecutor, *, clock: Clock, watch: Watch) -> RunOutcome:
    """Run the accounts of a batch that are missing, and seal what was done, whatever becomes of the rest.

    Returns:
        The outcome of the batch, with the exit code of `rollup.verdict_on`.

    Raises:
        RunbookError: BUSY if another process runs this batch; ARCHIVE_FAILED or DISK_FULL if archive or ledger cannot
            be written; JOURNAL_DAMAGED for an invalid ledger; BAD_PARAMETER if a batch of another fleet file with this
            name is unfinished.
    """
    archive = order.archive
    names = [order.name, order.source.name, str(order.file.absolute())]
    names += [account.account for account in order.accounts]
    refuse_names(names, _references(order), order.environ)
    with (
        Interruptions().collected() as interruptions,
        bag.archive_errors(archive),
        Ledger.held(archive, order.name) as ledger,
    ):
        batch = _Batch(order, ledger, clock, engine.name)
        batch.refuse_the_ledger_of_another_file()
        batch.finish_sealing()
        if ledger.begun is not None and batch.started - ledger.begun.at >= RESUME:
            batch.seal_what_is_left()
        with bag.staging(archive, batch.started_record()) as folder:
            if ledger.begun is None:
                ledger.begin(Begun(batch=batch.run, at=batch.started, file=str(order.file.absolute())))
            items = batch.items()
            watch.begun(len(order.accounts) - len(items))
            ran = Batch(
                items=items,
                executor=engine.executor,
                width=engine.width,
                cut_off=engine.cut_off,
                ledger=ledger,
                budget=order.shard.share(order.fleet.budget),
                retries=order.fleet.retries,
                deadline=order.fleet.deadline,
                interruptions=interruptions,
                watch=watch,
            ).run()
            outcome = batch.seal(folder, ran)
        if not ran.missing:
            ledger.end()
        return outcome


class _Batch:
    """One attempt at a batch: a run with its own staging folder and bag."""

    def __init__(self, order: BatchOrder, ledger: Ledger, clock: Clock, engine: str) -> None:
        self.order, self.ledger, self.clock, self.engine = order, ledger, clock, engine
        self.run, self.started, self._ticks = str(uuid.uuid4()), clock.now(), time.monotonic()

    def started_record(self) -> bag.Started:
        source = self.order.source
        return bag.Started(
            run=self.run,
            job=self.order.name,
            at=self.started,
            notebook=source.name,
            sha256=source.sha256,
            who=who(),
            git=source.git,
            git_unknown=source.git_unknown,
            lock_sha256=lock_sha256(),
            fault_seed=self.order.environ.get("DIGICERT_ONE_FAULT_SEED", ""),
        )

    def items(self) -> list[Item]:
        """The accounts that are missing."""
        order = self.order
        hide = _variables(order.fleet)
        keep_out = signing.references(order.archive)
        policy = declared_policy(order.archive)
        return [
            self._item(account, hide, keep_out, policy)
            for account in order.accounts
            if self.ledger.done(account.account, order.inputs(account)) is None
        ]

    def _item(
        self, account: FleetAccount, hide: frozenset[str], keep_out: tuple[str, ...], policy: TicketPolicy
    ) -> Item:
        order, fleet = self.order, self.order.fleet
        given = fleet.given(account)

        def work() -> AccountWork:
            job = Job(
                source=order.source,
                name=order.job,
                account=account.account,
                parameters=given,
                cell_timeout=fleet.cell_timeout,
                deadline=fleet.account_deadline,
                keep_out=keep_out,
                refuse=policy.refusal,
            )
            return AccountWork(job, hide - _variables_of(given), order.preload)

        return Item(
            account=account.account,
            slug=account.slug,
            inputs=order.inputs(account),
            host=_host(given, order.environ),
            work=work,
            attempts=self.ledger.attempts(account.account),
        )

    def seal(self, folder: Path, ran: BatchEnd) -> RunOutcome:
        """Put all unsealed runs into one bag."""
        order, ledger = self.order, self.ledger
        rows = rollup.account_rows([account.account for account in order.accounts], ledger, ran.missing)
        status, verdict, code, error = rollup.verdict_on(rows, ran.stopped)
        entry, content = rollup.table(rows)
        here = [row for row in rows if row.missing or not row.bag]
        needs_action = sum(row.needs_action for row in rows)
        record = RunRecord.of(
            self.started_record(),
            status=status,
            verdict=verdict,
            exit=code,
            needs_action=needs_action,
            error=error,
            finished=self.clock.now(),
            duration=round(time.monotonic() - self._ticks, 3),
            clock=self.clock.source,
            parameters=to_jsonable_python(order.fleet.parameters, fallback=str),
            tables=(entry,),
            notices=order.notices,
            **rollup.note_of(rows),
        )
        facts = {"Engine": self.engine, "Clock": self.clock.source, "Fleet file": str(order.file.absolute())}
        if order.notices:
            facts["Notices"] = order.notices
        if order.shard.of > 1:
            whole = quantity(len(order.fleet.accounts), "account")
            facts["Part"] = f"{order.shard.number} of {order.shard.of}; {whole} in all parts"
        record, own = self._searched(record, rows, facts, content)
        files: dict[str, bytes | Path] = {**own, **rollup.kept_files(ledger)}
        work = bag.BagSummary(
            order.name,
            self.started,
            record.status.value,
            expected=len(here),
            produced=sum(row.done for row in here),
            group=ledger.begun.batch if ledger.begun is not None else "",
        )
        ledger.about_to_seal(self.run)
        place = bag.put(order.archive, folder, work, run=self.run, files=files, environ=order.environ)
        ledger.sealed(self.run, str(place.folder.relative_to(order.archive)))
        outcome = RunOutcome.of(record, place.folder, unsigned=place.unsigned, unstamped=place.unstamped)
        return replace(outcome, needs_action=needs_action)  # a redacted record may not have the number

    def _searched(
        self, record: RunRecord, rows: list[rollup.AccountRow], facts: dict[str, str], table: bytes
    ) -> tuple[RunRecord, dict[str, bytes]]:
        """The batch's own files, searched for secrets as they would be sealed; the workers searched the others.

        If a secret is found, the rows and the record are redacted and searched again; if that fails, only the least
        remains.
        """
        scanner = Scanner(_references(self.order), self.order.environ)

        def files(record: RunRecord, rows: list[rollup.AccountRow], table: bytes) -> dict[str, bytes]:
            record, page = rollup.drawn(record, rows, facts)
            shown = page.encode("utf-8", "backslashreplace")
            return {rollup.RECORD: artefacts.as_json(record), rollup.REPORT: shown, rollup.TABLE: table}

        def found(made: dict[str, bytes]) -> list[Found]:
            return [finding for name, content in made.items() for finding in scanner.in_file(name, content)]

        made = files(record, rows, table)
        holds = found(made)
        if not holds:
            return record, made
        rows = [rollup.redacted(row, scanner) for row in rows]
        entry, table = rollup.table(rows)
        facts = scanner.redact(facts)
        try:
            record = artefacts.redacted_record(record.model_copy(update={"tables": (entry,)}), holds, set(), scanner)
        except ValidationError:  # a field that cannot be redacted
            return artefacts.least(record)
        made = files(record, rows, table)
        return (record, made) if not found(made) else artefacts.least(record)

    def refuse_the_ledger_of_another_file(self) -> None:
        """Refuse the ledger of another fleet file with the same name: its accounts are others."""
        begun = self.ledger.begun
        if begun is None or not begun.file or begun.file == str(self.order.file.absolute()):
            return
        if Path(begun.file).exists():  # otherwise it was moved
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"The batch {self.order.name} of {iso(begun.at)} is unfinished. It belongs to {begun.file}, not to "
                f"{self.order.file}.",
                remedy="Rename this fleet file, or first run the batch with the other file until it finishes.",
            )

    def finish_sealing(self) -> None:
        """Find out whether a batch that was killed while sealing has a bag, so that nothing is sealed twice."""
        if self.ledger.sealing is None:
            return
        archive = self.order.archive
        with chain.archive_lock(archive):
            seal.recover(archive)
            for place in chain.bags(archive):
                if self._is_ours(place, self.ledger.sealing):
                    self.ledger.sealed(self.ledger.sealing, str(place.relative_to(archive)))
                    return

    def _is_ours(self, place: Path, run: str) -> bool:
        """Whether a bag is that run's and contains what the ledger kept; it may only record that the run was killed."""
        try:
            info = (place / "bag-info.txt").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        held = (place / "data" / name for name in rollup.kept_files(self.ledger))
        return f"urn:uuid:{run}\n" in info and all(path.is_file() for path in held)

    def seal_what_is_left(self) -> None:
        """Seal what a batch did that was interrupted too long ago to resume."""
        if self.ledger.unsealed:
            old = _Batch(self.order, self.ledger, self.clock, self.engine)
            with bag.staging(self.order.archive, old.started_record()) as folder:
                missing = {
                    account.account: "the batch was interrupted and not resumed in time"
                    for account in self.order.accounts
                    if self.ledger.done(account.account, self.order.inputs(account)) is None
                }
                old.seal(folder, BatchEnd(Status.INTERRUPTED, missing))
        self.ledger.end()


def _references(order: BatchOrder) -> tuple[str, ...]:
    """All references of a batch: those of the accounts and of the signer."""
    given = [order.fleet.given(account) for account in order.fleet.accounts]
    return references_in({"": [given, order.fleet.parameters, signing.references(order.archive)]})


def _host(given: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """The host that a run asks, by its parameters. Runs of one host share its budget."""
    text = str(given.get("environment", ""))
    try:
        return Environment.named(text or "sandbox", environ=environ).api_url
    except RunbookError:
        return text  # the run reports the mistake


def _variables(fleet: Fleet) -> frozenset[str]:
    """The environment variables with the accounts' secrets."""
    return frozenset().union(*(_variables_of(account.parameters) for account in fleet.accounts))


def _variables_of(given: Mapping[str, Any]) -> frozenset[str]:
    found: Iterable[str] = references_in(given)
    return frozenset(text.removeprefix("env:") for text in found if text.startswith("env:"))
