"""The ledger of a batch: completed runs are on disk, so running the batch again does only what is missing.

`<archive>/.batches/<job>/ledger.jsonl` has a line for each run that ended, appended and fsynced once the run's files
are on disk in `kept/` next to it. The files stay there until a bag contains them. When every account has finished, the
ledger is removed.

    begun     a batch starts
    kept      a run ended; its files are in kept/
    sealing   the bag of this batch is about to be made
    sealed    the bag is in the archive, with everything kept so far
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
    """`batch` is the UUID of the batch's own run, `at` is UTC, `file` is the path of the fleet file."""

    line: Literal["begun"] = "begun"
    batch: str
    at: datetime
    file: str = ""


class Kept(_Line):
    """A run of an account that ended, as in the roll-up.

    Args:
        account, slug: the account's name, and that of its folder.
        inputs: digest of the notebook and the parameters; it changes with them.
        attempt: from 1.
        ended: the account has finished; otherwise the run is to be repeated.
        run, status, verdict, exit, needs_action, started, duration: from run.json (UTC, seconds).
        host: where it ran.
        reason: why it failed; empty if it did not.
        seen: its result in one line.
        files: the files in its folder.
        ticket, change_reason, approved_by: from run.json.
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
    ticket: str | None = None
    change_reason: str | None = None
    approved_by: str | None = None

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

    `begun` is the batch and its first start; None if there is no batch to resume. `unsealed` are the runs whose files
    are in `kept/`, oldest first. `sealed_in` maps an account to its sealed run and the bag. `sealing` is a batch that
    was killed while it made its bag.
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
        """Lock and read the job's ledger. Raises RunbookError (BUSY); OSError."""
        folder = archive / BATCHES / job
        folder.mkdir(parents=True, exist_ok=True)
        with disk.locked(folder / LOCK, busy=f"Another process runs the batch {job} into {archive}:"):
            yield cls(folder)

    def begin(self, batch: Begun) -> None:
        """Start a new batch. Everything that the previous one kept must be sealed."""
        self.end()
        self._append(batch)
        self.begun = batch

    def keep(self, entry: Kept, files: Mapping[str, bytes]) -> None:
        """Write a run's files to disk, then its line."""
        for name, content in files.items():
            disk.write_file(self._folder / KEPT / entry.folder / name, content)
        self._append(entry)
        self._take(entry)

    def files(self, entry: Kept) -> dict[str, Path]:
        """The files of an unsealed run, by name."""
        return {name: self._folder / KEPT / entry.folder / name for name in entry.files}

    def done(self, account: str, inputs: str) -> Kept | None:
        """The run with which the account finished in this batch with these inputs; None if it has not."""
        found = self._last.get(account)
        return found if found is not None and found.ended and found.inputs == inputs else None

    def attempts(self, account: str) -> int:
        """How many runs of the account this batch has kept or sealed."""
        return self._last[account].attempt if account in self._last else 0

    def about_to_seal(self, batch: str) -> None:
        self._append(Sealing(batch=batch))

    def sealed(self, batch: str, bag: str) -> None:
        """Everything kept is in a bag now: remove the files here."""
        self._append(Sealed(batch=batch, bag=bag))
        self._take(Sealed(batch=batch, bag=bag))
        shutil.rmtree(self._folder / KEPT, ignore_errors=True)

    def end(self) -> None:
        """Every account has finished and is sealed: remove the ledger. The next batch starts from the beginning."""
        with suppress(FileNotFoundError):
            (self._folder / LEDGER).unlink()
        shutil.rmtree(self._folder / KEPT, ignore_errors=True)
        self.begun, self.sealing = None, None
        self.unsealed, self.sealed_in, self._last = [], {}, {}

    # --- the file -----------------------------------------------------------------------------------------------------

    def _append(self, line: _Line) -> None:
        disk.append(self._folder / LEDGER, line.model_dump_json().encode() + b"\n")

    def _read(self) -> None:
        """Read every complete line. A crash can leave a torn last line; it counts as not written."""
        path = self._folder / LEDGER
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        complete, _, torn = content.rpartition(b"\n")
        if torn:
            os.truncate(path, len(content) - len(torn))
        for number, text in enumerate(complete.splitlines(), 1):
            try:
                self._take(_READ.validate_json(text))
            except ValidationError:
                raise RunbookError(
                    Reason.JOURNAL_DAMAGED,
                    f"Line {number} of {path} is not a valid ledger line.",
                    remedy=f"Move {self._folder} away and run again; every account then runs again. Keep the folder: "
                    "it may hold runs that are not in the archive.",
                ) from None
        # an account whose files are missing runs again
        self.unsealed = [entry for entry in self.unsealed if all(map(Path.is_file, self.files(entry).values()))]
        self._last = {name: entry for name, (entry, _) in self.sealed_in.items()}
        self._last |= {entry.account: entry for entry in self.unsealed}

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
                self.sealed_in |= {entry.account: (entry, line.bag) for entry in self.unsealed}
                self.unsealed, self.sealing = [], None
