"""The keeper of a clicked session: `python -m runbook_lib.session_keeper`, started by a notebook's kernel.

    kernel ── a message a line ──▶ this process ──▶ <archive>/.staging/…/session.jsonl ──▶ a bag
           ◀── a reply a line ────

It writes down what was pressed before it replies, and the kernel waits for the reply before the step begins. It seals
the session when the notebook says so, and when the kernel is gone. If it is killed too, the next run seals what it
wrote. It has a process group of its own, so that what ends the kernel does not end it.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from pydantic import ValidationError

from runbook_lib import disk, given
from runbook_lib.archive import bag, seal, signing
from runbook_lib.archive.expectation import ticket_refusal
from runbook_lib.catalogue import Reason
from runbook_lib.clock import Clock, SystemClock
from runbook_lib.errors import RunbookError, unexpected
from runbook_lib.notebooks import NOTEBOOK_FOLDER
from runbook_lib.reports import clicked_session
from runbook_lib.reports.clicked_session import KERNEL_GONE, NOTEBOOK, SESSION, ClickedSession, step_record
from runbook_lib.reports.job import Job, Source
from runbook_lib.reports.scan import Scanner, references_in, refuse_names
from runbook_lib.session_messages import Begin, Close, Did, Message, Pressed, Ran, Reply, Secrets, read_message

_WAIT = 10.0
"""Most seconds that a press waits for another writer of the archive."""

_LOOK = 1000
"""Milliseconds between two looks at whether the kernel lives: what it has forked may keep the pipe open."""


class SessionKeeper:
    """One session, from Start to its bag.

    Args:
        environ: as the kernel's; the archive and `env:` references are looked up in it.
    """

    def __init__(self, clock: Clock, environ: Mapping[str, str]) -> None:
        self._clock = clock
        self._environ = environ
        self._secrets: dict[str, str] = {}
        self._session: ClickedSession | None = None
        self._unbegun = RunbookError(Reason.UNEXPECTED, "The session was not begun.")
        self._lines: list[bytes] = []
        self._on_disk = 0
        self._folder: Path | None = None
        self._bag: Path | None = None
        self._staging = ExitStack()
        self.over = False

    def take(self, message: Message) -> Reply:
        """Do what the notebook says. A failure is in the reply, and the session goes on.

        Raises RunbookError or OSError.
        """
        if isinstance(message, Secrets):
            self._secrets = message.secrets
            return Reply(number=0)
        if isinstance(message, Begin):
            return self._begin(message)
        session, now = self._known(), self._clock.now()
        session.take(message, now)
        if isinstance(message, Ran):
            return Reply(number=0)
        self._lines.append(clicked_session.as_line(message, now, self._scanner))
        if isinstance(message, Close):
            return self._seal()
        if not (session.changes or session.deserves_bag):
            return Reply(number=0)  # a notebook that changes nothing leaves nothing, not even a folder
        try:
            self._write()
        except RunbookError:
            if isinstance(message, Pressed) and not message.goes_on:  # the notebook does not begin it
                session.clicks.pop()
                self._lines = self._lines[: max(self._on_disk, len(self._lines) - 1)]
            raise
        if isinstance(message, Did):
            self._keep_tables(message)
        return Reply(number=0)

    def _known(self) -> ClickedSession:
        if self._session is None:
            raise self._unbegun
        return self._session

    def _begin(self, begun: Begin) -> Reply:
        try:
            self._archive = given.archive_folder(self._environ)
        except ValueError as error:
            self._unbegun = RunbookError(Reason.BAD_PARAMETER, f"DIGICERT_ONE_ARCHIVE: {error}.")
            raise self._unbegun from None
        refusal = ticket_refusal(self._archive, begun.parameters, self._environ)
        if refusal is not None:  # by the archive's policy, before any request
            return Reply(number=0, problem=refusal.as_dict(), refused=True)
        try:
            with bag.archive_errors(self._archive):
                self._prepare(begun)
        except RunbookError as problem:
            self._unbegun = problem
            raise
        if self._known().changes:
            self._write()  # that nothing can be archived must be known before a change
        return Reply(number=0)

    def _prepare(self, begun: Begin) -> None:
        self._source = _source(begun)
        self._keep_out = signing.references(self._archive)
        references = (*references_in(begun.parameters), *self._keep_out)
        refuse_names((self._source.name,), references, self._environ)
        self._scanner = Scanner(references, self._environ)
        for reference, value in self._secrets.items():
            self._scanner.add(reference, value)
        job = Job(self._source, begun.job, begun.parameters, environ=self._environ)
        now = self._clock.now()
        started = job.started(now).model_copy(update={"mode": "interactive"})
        self._session = ClickedSession(started, begun, now)
        self._lines.append(clicked_session.as_line(begun, now, self._scanner))

    # --- what is on the disk --------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Write every line that is not on the disk yet; an archive that was away may be back."""
        session = self._known()
        with bag.archive_errors(self._archive):
            if self._folder is None or not self._folder.is_dir():
                self._staging.close()
                self._folder, self._on_disk = None, 0
                self._folder = self._staging.enter_context(bag.staging(self._archive, session.started, wait=_WAIT))
                disk.write_file(self._folder / NOTEBOOK, self._source.content, mode=0o600)
                (self._folder / SESSION).touch(mode=0o600)
                for made in (self._folder, self._folder.parent, self._archive):
                    disk.sync_folder(made)
            for line in self._lines[self._on_disk :]:
                disk.append(self._folder / SESSION, line)
                self._on_disk += 1

    def _keep_tables(self, message: Did) -> None:
        """Keep the files of the step's long tables: the next step may replace them."""
        result = step_record(message).result
        assert self._folder is not None  # noqa: S101  (written just now)
        for kept in (file for table in (result.beside if result else ()) for file in table.files):
            source, target = Path(self._known().begun.tables) / Path(kept.file).name, self._folder / kept.file
            target.unlink(missing_ok=True)
            if source.is_file():  # a missing one is found when the bag is made
                disk.link(source, target)

    # --- the bag --------------------------------------------------------------------------------------------------

    def _seal(self) -> Reply:
        """Make the session's bag, if it deserves one."""
        session = self._known()
        if not session.deserves_bag:
            self._forget()
            return Reply(number=0)
        self._write()
        assert self._folder is not None  # noqa: S101  (written just now)
        for left in (seal.BAG, seal.SIGNATURE):  # of an attempt that failed
            shutil.rmtree(self._folder / left, ignore_errors=True)
            (self._folder / left).unlink(missing_ok=True)
        produced = clicked_session.produce_session(
            session,
            self._source,
            folder=self._folder,
            clock=self._clock,
            secrets=self._secrets,
            environ=self._environ,
            keep_out=self._keep_out,
        )
        record = produced.record
        place = bag.put(
            self._archive,
            self._folder,
            bag.summary_of(record),
            run=record.run,
            files=produced.files,
            environ=self._environ,
        )
        self._forget()
        self._bag = place.folder
        notes = [problem for problem in (place.unsigned, place.unstamped) if problem is not None]
        withheld = [record.error["what"]] if record.error is not None and record.scan.found else []
        return Reply(
            number=0,
            bag=str(place.folder),
            status=record.status.value,
            note=" ".join([*withheld, *(f"{problem.title}. {problem.what}" for problem in notes)]),
        )

    def _forget(self) -> None:
        """Remove the staging folder: the session is sealed, or left nothing."""
        if self._folder is not None:
            (self._folder / SESSION).unlink(missing_ok=True)
        self._staging.close()
        self.over = True

    def kernel_is_gone(self) -> None:
        """Seal the session. If that fails, the next run does it. Raises RunbookError or OSError."""
        if self._session is not None and not self.over:
            self.take(Close(why=self._session.closed or KERNEL_GONE))

    def inform(self) -> None:
        """Send messages about the sealed session as the archive says. What fails waits for the next run."""
        if self._bag is not None and (self._archive / ".notices").is_dir():
            from runbook_lib.notices.after_run import inform

            inform(self._bag, environ=self._environ)


def _source(begun: Begin) -> Source:
    """The open notebook; if its file is unknown or gone, the shipped one. Raises RunbookError (UNKNOWN_NOTEBOOK)."""
    file = Path(begun.file)
    if begun.file and file.suffix == ".ipynb" and file.is_file():
        return Source.read(file)
    return Source.read(NOTEBOOK_FOLDER / f"{begun.notebook}.ipynb")


def _lines(parent: int) -> Iterator[bytes]:
    """The lines on stdin, until it is closed or the kernel is gone."""
    waiting, poll = b"", select.poll()
    poll.register(0, select.POLLIN)
    while True:
        if not poll.poll(_LOOK):
            if os.getppid() != parent:
                return
            continue
        more = os.read(0, 1 << 20)
        if not more:
            return
        *complete, waiting = (waiting + more).split(b"\n")
        yield from complete


def main() -> None:
    parent = os.getppid()
    keeper = SessionKeeper(SystemClock(), os.environ)
    for line in _lines(parent):
        number = 0
        try:
            order = json.loads(line)
            number = order["number"]
            reply = keeper.take(read_message(order["message"]))
        except RunbookError as problem:
            reply = Reply(number=0, problem=problem.as_dict())
        except (OSError, ValidationError, ValueError, TypeError, KeyError, AttributeError) as error:
            reply = Reply(number=0, problem=unexpected(error).as_dict())
        _answer(reply.model_copy(update={"number": number}))
        if keeper.over:
            break
    else:
        keeper.kernel_is_gone()
    keeper.inform()  # after the reply: nobody waits for a mail server


def _answer(reply: Reply) -> None:
    try:
        sys.stdout.buffer.write(reply.model_dump_json().encode() + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the kernel is gone; the next read says so
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115  (Python flushes it at the end)


if __name__ == "__main__":
    main()
