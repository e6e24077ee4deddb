"""Bags without kernels, for the tests of the archive."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from runbook_lib.archive import bag, entries, signing, timestamp_authority
from runbook_lib.archive.seal import Place
from runbook_lib.archive.signing import Signer
from runbook_lib.reports.runrecord import Who
from tests.archive.tsa import Tsa

AT = datetime(2026, 11, 23, 14, 15, 0, 999999, tzinfo=UTC)
FILES = {"run.json": b"{}\n", "report.html": "é".encode(), "tables/a.csv": b"a\r\n1\r\n"}
REFERENCE, ENVIRON = "env:SIGNER", {"SIGNER": "a passphrase of the tests' own"}
TOOLS = ("sh", "sha256sum", "openssl", "find", "sort", "sed", "awk", "fold", "wc")


def started(job: str = "demo", at: datetime = AT) -> bag.Started:
    who = Who(user="tester", host="here")
    return bag.Started(run=str(uuid.uuid4()), job=job, at=at, notebook="nb.ipynb", sha256="0" * 64, who=who)


def put(
    archive: Path,
    files: Mapping[str, bytes | Path] | None = None,
    *,
    job: str = "demo",
    at: datetime = AT,
    status: str = "done",
    environ: Mapping[str, str] = ENVIRON,
    group: str = "",
) -> Place:
    told = started(job, at)
    work = bag.BagSummary(job, at, status, expected=1, produced=int(status == "done"), group=group)
    with bag.staging(archive, told) as folder:
        return bag.put(archive, folder, work, run=told.run, files=files or FILES, environ=environ)


def stamp_from_now_on(archive: Path, source: Tsa, at: datetime = AT) -> None:
    """Choose an authority, the first or the next."""
    archive.mkdir(exist_ok=True)
    chosen = timestamp_authority.chosen(archive, source.url, source.roots)
    entries.begin_stamping(archive, chosen, at=at, environ=ENVIRON)


def sign(archive: Path, at: datetime = AT) -> Signer:
    """Give the archive a signer, or the next one."""
    archive.mkdir(exist_ok=True)
    signer = signing.make_signer(archive, passphrase=REFERENCE, at=at, environ=ENVIRON)
    entries.begin_signing(archive, signer, at=at, environ=ENVIRON)
    return signer


def small(archive: Path, *, signed: bool, bags: int = 6) -> Path:
    """An archive of so many bags, over two days."""
    day = AT - timedelta(days=1)
    if signed:
        sign(archive, day)
    for number in range(bags - signed):
        put(archive, job=("demo", "inventory")[number % 2], at=day + timedelta(hours=7 * number))
    return archive


def bare_path(folder: Path, *, but: Mapping[str, str | None] = MappingProxyType({})) -> Path:
    """A PATH that holds what verify.sh says it needs, and nothing else.

    `but` names another program for a tool, None for no program.
    """
    folder.mkdir()
    for tool in (*TOOLS, *(but.keys() - set(TOOLS))):
        program = but.get(tool, tool)
        if program is not None:
            found = shutil.which(program)
            assert found, program
            (folder / tool).symlink_to(found)
    return folder


def script(file: Path, *lines: str) -> Path:
    """Write a program of the tests' own where another one was."""
    file.unlink(missing_ok=True)
    file.write_text("".join(f"{line}\n" for line in ("#!/bin/sh", *lines)), encoding="utf-8")
    file.chmod(0o755)
    return file


def verify_sh(archive: Path, tools: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """verify.sh as an auditor runs it, with an empty environment."""
    command = ["env", "-i", f"PATH={tools}", "sh", "verify.sh", *more]
    return subprocess.run(command, cwd=archive, capture_output=True, text=True, check=False)


def places(archive: Path) -> list[Path]:
    """Every bag, by name."""
    return sorted(path.parent for path in archive.glob("[0-9]*/*/*/*/bagit.txt"))


def copy(archive: Path, to: Path) -> Path:
    shutil.copytree(archive, to, symlinks=True)
    return to


def environ_with_passphrase() -> dict[str, str]:
    return {**os.environ, **ENVIRON}
