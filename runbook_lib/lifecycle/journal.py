"""The journal of one credential: each state is on disk before the step that it announces.

`planned → key_sealed → posted → received | ambiguous → reconciled → linted → bundled → verified → current`. A later run
reads the journal and resumes from its last line. Each line holds the digest of the line before, so an edit shows.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from runbook_lib import disk
from runbook_lib.clock import SLACK, Clock, iso
from runbook_lib.credentials.files import oserror
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.timestamp import Timestamp


class State(StrEnum):
    """The state of an issuance or a rotation."""

    PLANNED = "planned"
    KEY_SEALED = "key_sealed"
    POSTED = "posted"
    AMBIGUOUS = "ambiguous"
    RECONCILED = "reconciled"
    RECEIVED = "received"
    LINTED = "linted"
    BUNDLED = "bundled"
    VERIFIED = "verified"
    CURRENT = "current"
    ABANDONED = "abandoned"
    # a rotation; the states above tell of the certificate that it issues
    ROTATION_BEGUN = "rotation_begun"
    HOOK_FAILED = "hook_failed"
    HOOKED = "hooked"
    IN_SERVICE = "in_service"
    OLD_DISABLED = "old_disabled"
    OLD_REFUSED = "old_refused"
    RETIRED = "retired"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    # disabling a certificate for a while, and enabling it again
    ACCESS_TAKEN = "access_taken"
    ACCESS_GIVEN_BACK = "access_given_back"


class JournalEntry(BaseModel):
    """One line: sequence number, time, state, generation, details, and the digest of the line before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int
    at: Timestamp
    state: State
    generation: int
    data: dict[str, str] = {}
    previous: str


class Journal:
    """The journal in one file. The caller holds the credential's lock."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def entries(self) -> list[JournalEntry]:
        """All entries, oldest first.

        A last line without its newline is left by a crash during writing. The step that it announces had not started,
        so it counts as not written.

        Raises:
            RunbookError: JOURNAL_DAMAGED for anything else that this class does not write.
        """
        entries: list[JournalEntry] = []
        previous = ""
        for number, line in enumerate(self._whole().splitlines(), start=1):
            try:
                entry = JournalEntry.model_validate_json(line)
            except ValidationError:
                raise self._damaged(number, "malformed entry") from None
            if entry.seq != number or entry.previous != previous:
                raise self._damaged(number, "does not match the line before it")
            previous = _digest(line)
            entries.append(entry)
        return entries

    def last(self) -> JournalEntry | None:
        """The newest entry, or None."""
        entries = self.entries()
        return entries[-1] if entries else None

    def check_clock(self) -> None:
        """Refuse a clock that is behind the newest entry. Raises RunbookError (CLOCK_WENT_BACK)."""
        last, now = self.last(), self._clock.now()
        if last is not None and now < last.at - SLACK:
            raise RunbookError(
                Reason.CLOCK_WENT_BACK, f"The clock says {iso(now)}, but the last journal entry is from {iso(last.at)}."
            )

    def append(self, state: State, generation: int, **data: str) -> None:
        """Add an entry; it is on disk on return. Raises RunbookError, as `oserror`, if the disk refuses it."""
        whole = self._whole()
        lines = whole.splitlines()
        entry = JournalEntry(
            seq=len(lines) + 1,
            at=self._clock.now(),
            state=state,
            generation=generation,
            data=data,
            previous=_digest(lines[-1]) if lines else "",
        )
        line = json.dumps(entry.model_dump(mode="json"), sort_keys=True, separators=(",", ":")) + "\n"
        try:
            disk.append(self._path, line.encode(), keep=len(whole.encode()))  # drops a torn last line
            disk.sync_folder(self._path.parent)
        except OSError as error:
            raise oserror(error, self._path) from None

    def _whole(self) -> str:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise oserror(error, self._path) from None
        except UnicodeDecodeError:
            raise self._damaged(0, "is not text") from None
        return text[: text.rfind("\n") + 1]

    def _damaged(self, line: int, how: str) -> RunbookError:
        return RunbookError(Reason.JOURNAL_DAMAGED, f"{self._path}, line {line}: {how}.")


ISSUANCE = (
    State.PLANNED,
    State.KEY_SEALED,
    State.POSTED,
    State.AMBIGUOUS,
    State.RECONCILED,
    State.RECEIVED,
    State.LINTED,
    State.BUNDLED,
    State.VERIFIED,
    State.CURRENT,
    State.ABANDONED,
)
"""The states of an issuance, in order. A request with an unknown outcome comes before a received response."""


def unfinished_issuance(entries: list[JournalEntry]) -> JournalEntry | None:
    """The last entry of an unfinished issuance, or None."""
    last = next((entry for entry in reversed(entries) if entry.state in ISSUANCE), None)
    return None if last is None or last.state in (State.CURRENT, State.ABANDONED) else last


def has_reached(entry: JournalEntry, state: State) -> bool:
    """Whether an issuance has reached `state`."""
    return ISSUANCE.index(entry.state) >= ISSUANCE.index(state)


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
