"""The ledger of a batch: what is done is on the disk, so running again does only what is missing.

`<archive>/.batches/<job>/ledger.jsonl` holds a line for each run that ended, appended and fsynced after the run's
files are on the disk in `kept/` beside it. They lie there until a bag holds them. When every account
has its end, the ledger ends.

    begun     a batch starts
    kept      a run ended; its files are in kept/
    sealing   the bag of this batch is about to be made
    sealed    it is in the archive: what was kept so far is in it
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from runbook_lib import disk
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.result import Status, Verdict

BATCHES = ".batches"
LEDGER, KEPT, LOCK = "ledger.jsonl", "kept", "lock"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Begun(_Line):
    """`batch` is the UUID of the batch's own run, `at` UTC, `file` the fleet file's place."""

    line: Literal["begun"] = "begun"
    batch: str
    at: datetime
    file: str = ""


class Kept(_Line):
    """A run of an account that ended, as the roll-up tells it.

    Args:
        account, slug: its name, and its folder's.
        inputs: digest of the notebook and the parameters: another is another run.
        attempt: from 1.
        ended: this is the account's end; else it is to be run again.
        run, status, verdict, exit, needs_action, started, duration: of its run.json (seconds, UTC).
        host: where it ran.
        reason: why it did not do what it should have; empty where it did.
        seen: what it came to, in a line.
        files: what lies in its folder.
    """

    line: Literal["kept"] = "kept"
    account: str
    slug: str
    inputs: str
    attempt: int
    ended: bool
    run: str
    status: Status
    verdict: Verdict | None
    exit: int
    needs_action: int
    started: datetime
    duration: float
    host: str
    reason: str
    seen: str
    files: tuple[str, ...]

    @property
    def folder(self) -> str:
        return f"{self.slug}/{self.attempt}"


class Sealing(_Line):
    line: Literal["sealing"] = "sealing"
    batch: str


class Sealed(_Line):
    """`bag` is its folder below the archive."""

    line: Literal["sealed"] = "sealed"
    batch: str
    bag: str


_READ: TypeAdapter[Begun | Kept | Sealing | Sealed] = TypeAdapter(
    Annotated[Begun | Kept | Sealing | Sealed, Field(discriminator="line")]
)


class Ledger:
    """The ledger of one job in one archive. One process has it at a time.

    `begun` says which batch it is about, and when that was first started; None where there is none to go on with.
    `unsealed` are the runs whose files are in `kept/`, oldest first; `sealed_in` says where the run of each account is
    that is in a bag already. `sealing` is a batch that was killed while it made its bag.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.begun: Begun | None = None
        self.unsealed: list[Kept] = []
        self.sealed_in: dict[str, tuple[Kept, str]] = {}
        self.sealing: str | None = None
        self._last: dict[str, Kept] = {}
        self._read()

    @classmethod
    @contextmanager
    def held(cls, archive: Path, job: str) -> Iterator[Ledger]:
        """The job's ledger, and nobody else has it meanwhile. Raises RunbookError (BUSY); OSError."""
        folder = archive / BATCHES / job
        folder.mkdir(parents=True, exist_ok=True)
        with disk.locked(folder / LOCK, busy=f"Another process runs the batch {job} into {archive}:"):
            yield cls(folder)

    def begin(self, batch: Begun) -> None:
        """A new batch. What the one before left must be sealed by now."""
        self.end()
        self._append(batch)
        self.begun = batch

    def keep(self, entry: Kept, files: Mapping[str, bytes]) -> None:
        """Have a run's files on the disk, and then the line that says so."""
        for name, content in files.items():
            disk.write_file(self._folder / KEPT / entry.folder / name, content)
        self._append(entry)
        self._take(entry)

    def files(self, entry: Kept) -> dict[str, Path]:
        """The files of a run that is not sealed yet, by name."""
        return {name: self._folder / KEPT / entry.folder / name for name in entry.files}

    def done(self, account: str, inputs: str) -> Kept | None:
        """The account's end in this batch, if it has one with these inputs."""
        found = self._last.get(account)
        return found if found is not None and found.ended and found.inputs == inputs else None

    def attempts(self, account: str) -> int:
        """How many runs of the account are kept or sealed in this batch."""
        return self._last[account].attempt if account in self._last else 0

    def about_to_seal(self, batch: str) -> None:
        self._append(Sealing(batch=batch))

    def sealed(self, batch: str, bag: str) -> None:
        """What was kept is in a bag: its files here are no longer needed."""
        self._append(Sealed(batch=batch, bag=bag))
        self._take(Sealed(batch=batch, bag=bag))
        shutil.rmtree(self._folder / KEPT, ignore_errors=True)

    def end(self) -> None:
        """Every account has its end and is sealed: the next batch begins anew."""
        with suppress(FileNotFoundError):
            (self._folder / LEDGER).unlink()
        shutil.rmtree(self._folder / KEPT, ignore_errors=True)
        self.begun, self.sealing = None, None
        self.unsealed, self.sealed_in, self._last = [], {}, {}

    # --- the file -----------------------------------------------------------------------------------------------------

    def _append(self, line: _Line) -> None:
        disk.append(self._folder / LEDGER, line.model_dump_json().encode() + b"\n")

    def _read(self) -> None:
        """Take every whole line. A torn last one is what a crash leaves: what it was to say counts as not done."""
        path = self._folder / LEDGER
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        whole, _, torn = content.rpartition(b"\n")
        if torn:
            os.truncate(path, len(content) - len(torn))
        for number, text in enumerate(whole.splitlines(), 1):
            try:
                self._take(_READ.validate_json(text))
            except ValidationError:
                raise RunbookError(
                    Reason.JOURNAL_DAMAGED,
                    f"Line {number} of {path} is not what this software writes.",
                    remedy=f"Move {self._folder} away and run again: what it holds is not in the archive yet, and "
                    "every account is done anew.",
                ) from None
        # an account whose files the disk has lost is done again
        self.unsealed = [one for one in self.unsealed if all(path.is_file() for path in self.files(one).values())]
        self._last = {name: one for name, (one, _) in self.sealed_in.items()}
        self._last |= {one.account: one for one in self.unsealed}

    def _take(self, line: Begun | Kept | Sealing | Sealed) -> None:
        match line:
            case Begun():
                self.begun = line
            case Kept():
                self.unsealed.append(line)
                self._last[line.account] = line
            case Sealing():
                self.sealing = line.batch
            case Sealed():
                self.sealed_in |= {one.account: (one, line.bag) for one in self.unsealed}
                self.unsealed, self.sealing = [], None
