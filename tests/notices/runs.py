"""Bags as runs leave them, without a kernel: run.json and the tables that the notices read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook_lib import tables
from runbook_lib.clock import iso
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.inventories.schemas import INVENTORY
from tests.archive import bags

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 23, 6, 17, tzinfo=UTC)
API = "https://one.digicert.com"

Row = tuple[str, ...]


def row(
    name: str = "CI",
    state: str = "healthy",
    *,
    ends: datetime = NOW + 100 * DAY,
    enabled: str = "yes",
    store: str = "CI/0001 (in use)",
    number: str = "",
    why: str = "",
    starts: datetime | None = NOW - 100 * DAY,
) -> Row:
    """A row of inventory.csv."""
    cells = {
        "name": name, "state": state, "why": why, "ends": iso(ends), "effective end": iso(ends), "enabled": enabled,
        "in the store": store, "owner": "this service user", "serial": "0A1B", "id": number or f"id of {name}",
        "starts": iso(starts) if starts else "",
    }  # fmt: skip
    return tuple(cells.get(column, "") for column in INVENTORY.columns)


def step(slug: str, headline: str, *, kind: str = "check", verdict: str = "ok", at: datetime = NOW, reason: str = ""):
    return {
        "slug": slug, "title": slug, "kind": kind, "verdict": verdict, "headline": headline, "finished": iso(at),
        "reason": reason,
    }  # fmt: skip


def record(
    job: str = "inventory",
    *,
    at: datetime = NOW,
    error: RunbookError | None = None,
    environment: str = "production",
    parameters: Mapping[str, Any] | None = None,
    steps: Sequence[Mapping[str, Any]] = (),
    files: Sequence[str] = (),
    account: str = "",
    status: str = "",
) -> dict[str, Any]:
    """The content of a run.json."""
    reached = error is None or error.reason not in (Reason.UNREACHABLE, Reason.SERVER_ERROR)
    return {
        "run": "0", "job": job, "account": account, "status": status or ("failed" if error else "done"),
        "error": error.as_dict() if error else None, "started": iso(at), "finished": iso(at),
        "who": {"user": "scheduler", "host": "build-7"},
        "parameters": {"environment": environment, **(parameters or {})},
        "target": {"environment": environment, "api_url": API},
        "seen": {"service_users": [], "connections": [{"url": API}] if reached else []},
        "steps": list(steps) or [step("last", "", at=at)],
        "tables": [{"file": name, "title": name, "rows": 1, "unchecked": 0} for name in files],
    }  # fmt: skip


def put(archive: Path, *rows: Row, at: datetime = NOW, more: Mapping[str, bytes] | None = None, **about: Any) -> Path:
    """Archive a run; gives its bag. An inventory has these rows."""
    files = dict(more or {})
    if rows:
        files["tables/inventory.csv"] = tables.csv_bytes([INVENTORY.columns, *rows])
    run = record(at=at, files=[name for name in files if name.startswith("tables/")], **about)
    files["run.json"] = json.dumps(run).encode()
    files.setdefault("report.html", b"<p>")
    return bags.put(archive, files, job=str(run["job"]), at=at, status=str(run["status"])).folder


def outage(what: str = "one.digicert.com did not respond.") -> RunbookError:
    return RunbookError(Reason.UNREACHABLE, what)


def fault(what: str = "The hook ended with exit code 3.") -> RunbookError:
    return RunbookError(Reason.HOOK_FAILED, what)
