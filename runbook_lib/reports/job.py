"""A job and what it leaves, as they travel between processes. Imports little, and reads no notebook."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook_lib.catalogue import Reason
from runbook_lib.clock import Clock
from runbook_lib.errors import RunbookError
from runbook_lib.reports.runrecord import Commit, Engine, NotebookFile, RunRecord, Started, who
from runbook_lib.reports.software import lock_sha256
from runbook_lib.reports.work_tree import commit_of

Refusal = Callable[[Mapping[str, Any], Mapping[str, str]], RunbookError | None]
"""Why a notebook must not run with these values of its own parameters and this environment; None if it may."""


@dataclass(frozen=True)
class Source:
    """A notebook file as it was read. Many runs can share it.

    Args:
        name: the file's name.
        content: its bytes, not yet parsed.
        git: the commit it belonged to at that moment.
        git_unknown: why the commit is unknown; empty if it is known, and outside a work tree.
    """

    name: str
    content: bytes = field(repr=False)
    git: Commit | None
    git_unknown: str = ""

    @classmethod
    def read(cls, path: Path) -> Source:
        """Raises RunbookError: UNKNOWN_NOTEBOOK."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RunbookError(Reason.UNKNOWN_NOTEBOOK, f"{path} cannot be read: {error.strerror}.") from None
        return cls(path.name, content, *commit_of(path))

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def file(self) -> NotebookFile:
        """The notebook as a record names it."""
        return NotebookFile(name=self.name, sha256=self.sha256, git=self.git, git_unknown=self.git_unknown)


@dataclass(frozen=True)
class Job:
    """A run to do.

    Args:
        source: the notebook.
        name: the job's name in run.json.
        parameters: for the cell tagged `parameters`; JSON-like values, secrets only as references.
        cell_timeout: seconds for one cell.
        deadline: seconds for the whole run.
        environ: the run's environment, instead of this process's. `env:` references are resolved in it.
        keep_out: more references whose secrets must not be archived, such as the signer's passphrase.
        run: the run's identifier, a UUID.
        engine: "papermill" starts a kernel; None chooses the engine that suits the notebook.
        account: the account in the fleet file for which a batch runs it.
        notices: messages of earlier runs that wait, for the report; empty if none do.
        known: what was known at the start, if another process has recorded it.
        refuse: asked before anything is executed. It travels, so it must be picklable.
    """

    source: Source
    name: str
    parameters: Mapping[str, Any]
    cell_timeout: int = 600
    deadline: int = 3600
    environ: Mapping[str, str] | None = field(default=None, repr=False)
    keep_out: tuple[str, ...] = ()
    run: str = field(default_factory=lambda: str(uuid.uuid4()))
    engine: Engine | None = None
    account: str = ""
    notices: str = ""
    known: Started | None = None
    refuse: Refusal | None = None

    def started(self, at: datetime) -> Started:
        """What is known when the run starts."""
        if self.known is not None:
            return self.known
        environ = os.environ if self.environ is None else self.environ
        return Started(
            run=self.run,
            job=self.name,
            at=at,
            notebook=self.source.name,
            sha256=self.source.sha256,
            who=who(),
            git=self.source.git,
            git_unknown=self.source.git_unknown,
            lock_sha256=lock_sha256(),
            fault_seed=environ.get("DIGICERT_ONE_FAULT_SEED", ""),
        )


@dataclass(frozen=True)
class Produced:
    """What a run leaves, searched for secrets: its record, and the files below `data/` in its bag by name."""

    record: RunRecord
    files: dict[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class RunStart:
    """When a run began: by its clock, and in seconds of the machine's monotonic clock."""

    at: datetime
    ticks: float

    @classmethod
    def now(cls, clock: Clock) -> RunStart:
        return cls(clock.now(), time.monotonic())
