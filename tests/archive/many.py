"""An archive of many runs, made fast: real bags in a real chain, without kernels or fsync, signed if asked for.

    python -m tests.archive.many DIR RUNS

makes one to look at: nine runs a day of six jobs, some of which failed, were killed or never ran.
"""

from __future__ import annotations

import json
import random
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook_lib import disk, tables
from runbook_lib.archive import chain
from runbook_lib.archive.chain import NONE, Link, SealedBag
from runbook_lib.archive.signing import Signer
from runbook_lib.clock import iso
from runbook_lib.result import Table

FIRST = datetime(2023, 11, 1, 6, 17, tzinfo=UTC)
COLUMNS = (
    *("name", "state", "why", "days left", "ends", "effective end", "enabled"),
    *("in the store", "rotation", "owner", "serial", "id"),
)
"""As the inventory's; a test holds the two together."""


@dataclass(frozen=True)
class Told:
    """A run to be archived: what its run.json says, and the tables beside it."""

    job: str
    at: datetime
    status: str = "done"
    verdict: str | None = "ok"
    headline: str = "Everything holds."
    needs_action: int = 0
    parameters: tuple[tuple[str, Any], ...] = ()
    changes: tuple[tuple[str, str, str], ...] = ()  # title, verdict, headline
    tables: tuple[Table, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """run.json, as far as readers need it."""
        checks = [("Look", "check", self.verdict or "failed", self.headline)]
        steps = checks + [(title, "change", verdict, headline) for title, verdict, headline in self.changes]
        failed = self.status != "done"
        return {
            "schema_version": 1,
            "run": str(uuid.UUID(int=random.Random(f"{self.at}{self.job}").getrandbits(128))),  # noqa: S311
            "job": self.job,
            "status": self.status,
            "verdict": self.verdict,
            "needs_action": self.needs_action,
            "error": {"title": f"The run was {self.status}", "what": "It ended early."} if failed else None,
            "started": iso(self.at),
            "finished": iso(self.at + timedelta(minutes=1)),
            "who": {"user": "runbooks", "host": "build-7"},
            "parameters": dict(self.parameters),
            "steps": [
                {
                    **{"slug": title.lower().replace(" ", "-"), "title": title, "kind": kind, "verdict": verdict},
                    **{"headline": headline, "finished": iso(self.at + timedelta(seconds=30 + number))},
                }
                for number, (title, kind, verdict, headline) in enumerate(steps)
            ],
            "tables": [
                {"file": f"tables/{one.name}.csv", "title": one.title, "rows": len(one.rows)} for one in self.tables
            ],
            **self.more,
        }


def write(archive: Path, runs: Iterable[Told], signer: Signer | None = None) -> None:
    """Append runs to an archive's chain. Nothing else may write to it meanwhile; index.html is not made.

    `signer` is that of the archive, if it has one.
    """
    archive.mkdir(parents=True, exist_ok=True)
    head = chain.find_head(archive)
    for run in runs:
        head = _bag(archive, run, head, signer)
    chain.write_pointer(archive, head)


def _bag(archive: Path, run: Told, head: SealedBag, signer: Signer | None) -> SealedBag:
    name, number = f"{run.at:%Y/%m/%d/%Y%m%dT%H%M%SZ}-{run.job}", 1
    place = name
    while (archive / place).exists():
        number += 1
        place = f"{name}-{number}"
    folder = archive / place
    files = {f"data/tables/{table.name}.csv": tables.csv_of(table) for table in run.tables}
    files["data/run.json"] = (json.dumps(run.record(), indent=2) + "\n").encode()
    files["data/report.html"] = (
        f'<!DOCTYPE html><html lang="en"><title>{run.job}</title><h1>{run.job}: {run.status}</h1><p>{run.headline}'
    ).encode()
    link = Link(
        bag=place,
        sequence=head.sequence + 1,
        previous=head.digest,
        previous_signature=head.signature,
        status=run.status,
        expected=1,
        produced=int(run.status == "done"),
        signer=signer.fingerprint if signer else NONE,
        next_signer=signer.fingerprint if signer else NONE,
    )
    size = sum(map(len, files.values()))
    tags = {
        "bag-info.txt": f"Bagging-Date: {run.at:%Y-%m-%d}\nPayload-Oxum: {size}.{len(files)}\n",
        "bagit.txt": "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
        chain.LINK: link.text().decode(),
        "manifest-sha256.txt": "".join(f"{disk.sha256(content)}  {name}\n" for name, content in sorted(files.items())),
    }
    manifest = "".join(f"{disk.sha256(text.encode())}  {name}\n" for name, text in sorted(tags.items()))
    (folder / "data").mkdir(parents=True)
    if run.tables:
        (folder / "data" / "tables").mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for name, text in (tags | {chain.TAGS: manifest}).items():
        (folder / name).write_text(text, encoding="utf-8")
    signature = signer.sign(manifest.encode()) if signer else b""
    if signer:
        chain.signature_of(folder).write_bytes(signature)
    sealed = disk.sha256(signature) if signer else NONE
    return SealedBag(link.sequence, disk.sha256(manifest.encode()), sealed, link.next_signer, place)


def inventory(*rows: tuple[str, ...]) -> Table:
    """inventory.csv of these rows."""
    return Table(name="inventory", title="Certificates", columns=COLUMNS, rows=rows)


def row(
    name: str, state: str = "healthy", days: int | str = 200, *, serial: str = "", id: str = "", **more: str
) -> Any:
    """A row of an inventory; `more` are columns, with `_` for a space."""
    told = {"name": name, "state": state, "days left": str(days), "enabled": "yes", "serial": serial, "id": id}
    told |= {key.replace("_", " "): value for key, value in more.items()}
    return tuple(told.get(column, "") for column in COLUMNS)


def service(runs: int, first: datetime = FIRST) -> Iterator[Told]:
    """The runs of a service over the years: nine a day, a week in the summer without any."""
    chance = random.Random(1)  # noqa: S311
    certificates = [f"Service {number:02d}" for number in range(12)]
    made, day = 0, first
    while made < runs:
        if (day.month, day.day // 7) != (8, 1):
            for hour in range(9):
                if made < runs:
                    made += 1
                    yield _one(chance, day + timedelta(hours=hour), hour, certificates, (day - first).days)
        day += timedelta(days=1)


def _one(chance: random.Random, at: datetime, hour: int, certificates: list[str], age: int) -> Told:
    name = chance.choice(certificates)
    if chance.random() < 0.01:
        status = chance.choice(["killed", "timed out", "failed", "interrupted"])
        return Told("rotate", at, status, "failed", parameters=(("name", name),))
    if hour == 0:
        rows = [
            row(
                one,
                *("due", 80 - age % 50) if number == age % 60 else ("healthy", 200 + number),
                serial=f"{1000 + number + 12 * (age // 200):X}",
                id=f"id-{number + 12 * (age // 200)}",
            )
            for number, one in enumerate(certificates)
        ]
        needs = sum(one[1] == "due" for one in rows)
        verdict, headline = "attention" if needs else "ok", f"12 rows: {12 - needs} healthy, {needs} due."
        return Told("inventory", at, "done", verdict, headline, needs, tables=(inventory(*rows),))
    if hour == 1 and age % 30 == 0:
        issued = ("Request the client authentication certificate", "ok", f"DigiCert ONE issued “{name}”.")
        return Told("issue", at, headline="Ready to paste.", parameters=(("name", name),), changes=(issued,))
    if hour == 2 and age % 10 == 0:
        disabled = ("Disable the certificate", "ok", f"“{name}” is disabled; the answer and the list both say so.")
        return Told("access", at, headline="Refused.", parameters=(("name", name),), changes=(disabled,))
    if hour % 2:
        waits = ("Issue the new certificate", "nothing to do", "Not due before 2027-01-01T00:00:00Z.")
        parameters = (("name", name),)
        return Told("rotate", at, verdict="nothing to do", headline="Not due.", parameters=parameters, changes=(waits,))
    return Told("verify", at, headline="mTLS is proven by a success and two failures.", parameters=(("name", name),))


if __name__ == "__main__":
    write(Path(sys.argv[1]), service(int(sys.argv[2])))
