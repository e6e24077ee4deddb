"""Reads the bags of an archive, for the index, the comparison and the audit.

A reader outlives the writers: it takes only the fields of run.json that it needs, and keeps words it does not know.
A bag that cannot be read is an entry that says so. Nothing is verified here; `archive.verify` does that.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from runbook_lib import disk
from runbook_lib.archive import chain
from runbook_lib.archive.chain import Link
from runbook_lib.result import Kind, Verdict

_PLACE = re.compile(r"(\d{8}T\d{6}Z)-(.+?)(?:-\d+)?")

_RUN, _TABLE, _ROWS = 16 << 20, 32 << 20, 200_000
"""Bytes of a run.json and of a table, and rows of a table: a batch of a hundred thousand accounts has fewer."""

_ENTRIES = {
    "signer": "New signer.",
    "authority": "New time-stamp authority.",
    "expectation": "New expectation.",
    "hold": "Legal hold placed.",
    "release": "Legal hold released.",
    "purge": "Bags purged; this is their tombstone.",
    "export": "Excerpt exported; this lists the bags left out.",
    "restamp": "Time stamps renewed.",
}
"""How archive entries are described."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ToldWho(_Told):
    """The user and the host of a run."""

    user: str = "unknown"
    host: str = "unknown"


class ToldStep(_Told):
    """A step of a run."""

    slug: str
    title: str
    kind: str
    verdict: str
    headline: str
    finished: datetime
    reason: str = ""

    @property
    def changed(self) -> bool:
        """Whether it changed something or tried to: a failed change may have done a part."""
        return self.kind == Kind.CHANGE and self.verdict not in (Verdict.NOTHING_TO_DO, Verdict.PLANNED)


class ToldClick(_Told):
    """A press of a button in a clicked session."""

    at: datetime
    title: str
    kind: str
    verdict: str | None = None
    asked: bool = True

    @property
    def lost(self) -> bool:
        """Whether it is unknown what it changed."""
        return self.kind == Kind.CHANGE and self.asked and self.verdict is None


class ToldTable(_Told):
    """A table of a run, as a file below `data/`."""

    file: str
    title: str
    rows: int
    unchecked: int | None = None


class ToldTarget(_Told):
    """The DigiCert ONE of a run."""

    environment: str = ""
    api_url: str = ""


class ToldUser(_Told):
    """A service user of a run."""

    id: str
    name: str = ""


class ToldSeen(_Told):
    """The service users that a run saw, and the connections that were answered."""

    service_users: tuple[ToldUser, ...] = ()
    connections: tuple[dict[str, Any], ...] = ()


class ToldRun(_Told):
    """The fields of run.json that are read."""

    run: str
    job: str
    account: str = ""
    status: str
    verdict: str | None = None
    needs_action: int = 0
    error: dict[str, Any] | None = None
    started: datetime
    finished: datetime
    duration: float = 0.0
    who: ToldWho = ToldWho()
    parameters: dict[str, Any] = {}
    defaults: dict[str, Any] | None = None
    target: ToldTarget | None = None
    ticket: str | None = None
    approved_by: str | None = None
    seen: ToldSeen | None = None
    steps: tuple[ToldStep, ...] = ()
    tables: tuple[ToldTable, ...] = ()
    mode: str = "headless"
    clicks: tuple[ToldClick, ...] = ()


@dataclass(frozen=True)
class ArchivedBag:
    """A bag of an archive.

    Args:
        archive: the archive's folder.
        place: the bag's folder below it.
        link: the content of its chain.json; None if that is missing or malformed.
        run: the content of its run.json; None if that is missing or cannot be read.
        problem: why it cannot be read; empty if it can.
    """

    archive: Path
    place: str
    link: Link | None
    run: ToldRun | None
    problem: str = ""

    @property
    def folder(self) -> Path:
        return self.archive / self.place

    @property
    def name(self) -> str:
        """The last part of its place: start and job."""
        return self.place.rpartition("/")[2]

    @cached_property
    def at(self) -> datetime:
        """Its start, UTC."""
        if self.run is not None:
            return self.run.started.astimezone(UTC)
        try:
            return datetime.strptime(self._named[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:  # a forged name: `archive.verify` finds it
            return datetime.min.replace(tzinfo=UTC)

    @property
    def job(self) -> str:
        return self.run.job if self.run is not None else self._named[1]

    @property
    def status(self) -> str:
        """How it ended; `unreadable` if the bag does not say."""
        if self.problem:
            return "unreadable"
        return self.run.status if self.run is not None else self.link.status if self.link is not None else "unreadable"

    @property
    def done(self) -> bool:
        return self.status == "done"

    @property
    def _named(self) -> tuple[str, str]:
        found = _PLACE.fullmatch(self.name)
        assert found  # noqa: S101  (`chain.bags` names no other)
        return found[1], found[2]

    @property
    def seen(self) -> str:
        """Its result in a line."""
        if self.run is None:
            return self.problem or _ENTRIES.get(self.job, "Archive entry, without a run.")
        if self.run.error is not None:
            return f"{self.run.error.get('title', '')}. {self.run.error.get('what', '')}"
        headlines = [step.headline for step in self.run.steps if step.verdict != Verdict.NOTHING_TO_DO]
        return (headlines or [step.headline for step in self.run.steps] or [""])[-1]


def archived_bags(archive: Path) -> Iterator[ArchivedBag]:
    """Every bag of an archive, newest day first. Raises OSError if the archive cannot be listed."""
    for bag in chain.bags(archive):
        yield entry(archive, bag)


def entries_of(archive: Path, day: date) -> Iterator[ArchivedBag]:
    """The bags of runs that started on a day (UTC)."""
    folder = archive / f"{day:%Y}" / f"{day:%m}" / f"{day:%d}"
    if folder.is_dir():
        for bag in sorted(folder.iterdir()):
            if re.fullmatch(chain.PLACE, str(bag.relative_to(archive))) and bag.is_dir():
                yield entry(archive, bag)


def bag_at(archive: Path, text: str) -> ArchivedBag | None:
    """The bag at a path, relative to the current folder or to the archive, or with this name; None if there is none."""
    named = re.fullmatch(r"(\d{4})(\d\d)(\d\d)T\d{6}Z-[^/]+", text)
    own = [archive.joinpath(*named.groups(), text)] if named else []
    for folder in (Path(text), archive / text, *own):
        try:
            found = (folder / "data").is_dir()
        except (OSError, ValueError):  # too long for a path, or not a path
            continue
        if found:
            bag = folder.absolute()
            return entry(bag.parents[3] if len(bag.parents) > 3 else bag.parent, bag)
    return None


def entry(archive: Path, bag: Path) -> ArchivedBag:
    """One bag of an archive."""
    place = str(bag.relative_to(archive))
    try:
        link = Link.read(disk.read_file(bag / chain.LINK))
    except (OSError, ValueError):
        link = None
    try:
        run = read_run(bag / "data" / "run.json")
    except FileNotFoundError:
        return ArchivedBag(archive, place, link, None, "" if _holds_no_run(bag) else "its run.json is missing")
    except OSError as error:
        return ArchivedBag(archive, place, link, None, f"its run.json cannot be read: {error.strerror}")
    except ValidationError as error:
        return ArchivedBag(archive, place, link, None, f"its run.json cannot be read: {type(error).__name__}")
    return ArchivedBag(archive, place, link, run)


def read_run(file: Path) -> ToldRun:
    """Read run.json. Raises OSError or ValidationError."""
    return ToldRun.model_validate_json(disk.read_file(file, _RUN))


def table_rows(file: Path) -> tuple[list[str], list[dict[str, str]]] | None:
    """The columns and the rows of a table (CSV); None if it is missing, malformed or too long."""
    try:
        content = disk.read_file(file, _TABLE)
        with io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            columns = list(table.fieldnames or ())
            found = [{name: text or "" for name, text in row.items() if name} for row in islice(table, _ROWS + 1)]
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    return (columns, found) if len(found) <= _ROWS else None


def _holds_no_run(bag: Path) -> bool:
    """Whether a bag's manifest lists no run.json, as that of an archive entry."""
    try:
        manifest = disk.read_file(bag / "manifest-sha256.txt").decode("utf-8", "replace")
    except OSError:
        return False
    return not re.search(r"^\S+ {1,2}data/run\.json$", manifest, re.MULTILINE)
