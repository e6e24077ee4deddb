"""What it costs to verify an archive, against sha256sum over the same bytes and openssl for each seal."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from runbook_lib.archive import chain, entries, timestamp_authority
from tests.archive import many, tsa
from tests.archive.bags import AT, ENVIRON, put, sign
from tests.bench.ratio import Ratio

PAYLOAD = {"run.ipynb": 40_000, "report.html": 30_000, "run.json": 5_000}
"""Bytes, as in the bag of an inventory."""

BASELINE = """
find [0-9]* -type f -exec sha256sum {} + >/dev/null
for seal in $(find [0-9]* -name '*.p7s'); do
    openssl cms -verify -binary -inform DER -in "$seal" -content "${seal%.p7s}/tagmanifest-sha256.txt" \
        -CAfile certs/roots.pem -no_check_time -out /dev/null 2>/dev/null || exit 1
done
for seal in $(find [0-9]* -name '*.tsr'); do
    openssl ts -verify -data "${seal%.tsr}.p7s" -in "$seal" -CAfile certs/tsa-roots.pem >/dev/null 2>&1 || exit 1
done
"""


def measure(quick: bool) -> list[Ratio]:
    """CPU seconds, which other work on the machine hardly changes. The archive is on a warm cache for both."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        for what, bags, stamped in (("signed", 40 if quick else 1000, False), ("stamped", 20 if quick else 200, True)):
            archive = Path(name) / what
            _make(archive, bags, stamped=stamped)
            for tool, command in (
                ("verify.sh", ["sh", "verify.sh"]),
                (
                    "runbook archive verify",
                    [sys.executable, "-m", "runbook_lib.cli", "archive", "verify", str(archive)],
                ),
            ):
                pairs = [
                    (_cpu(command, archive), _cpu(["sh", "-c", BASELINE], archive)) for _ in range(2 if quick else 3)
                ]
                found.append(
                    Ratio(
                        name=f"{tool} over {bags} bags, {what}",
                        ours=tuple(ours for ours, _ in pairs),
                        theirs=tuple(theirs for _, theirs in pairs),
                        needed=1.5,
                        sense="at most",
                        note="CPU seconds; beside it sha256sum over every file and openssl for every seal",
                    )
                )
        found += [_night(Path(name), signed=signed, quick=quick) for signed in (True, False)]
    return found


def _night(folder: Path, *, signed: bool, quick: bool) -> Ratio:
    """What came in a night, against the whole archive: nine bags of 10,000."""
    bags, what = (500 if quick else 10_000), "signed" if signed else "unsigned"
    archive = folder / f"night {what}"
    signer = sign(archive, many.FIRST - timedelta(days=1)) if signed else None
    runs = list(many.service(bags))
    many.write(archive, runs[:-9], signer)
    head = chain.find_head(archive).digest
    many.write(archive, runs[-9:], signer)
    verify = [sys.executable, "-m", "runbook_lib.cli", "archive", "verify", str(archive)]
    pairs = [(_cpu([*verify, "--since", head], archive), _cpu(verify, archive)) for _ in range(2)]
    return Ratio(
        name=f"archive verify --since over the last 9 of {bags} bags, {what}",
        ours=tuple(ours for ours, _ in pairs),
        theirs=tuple(theirs for _, theirs in pairs),
        needed=1 if quick else 1 / 50 if signed else 1 / 30,  # without a signature the start of Python is most of it
        sense="at most",
        note="CPU seconds; beside it archive verify over all bags",
    )


def _make(archive: Path, bags: int, *, stamped: bool) -> None:
    sign(archive, AT - timedelta(days=1))
    files = {name: os.urandom(size) for name, size in PAYLOAD.items()}
    with tsa.authority(archive.with_name(f"{archive.name} tsa")) as source:
        if stamped:
            chosen = timestamp_authority.chosen(archive, source.url, source.roots)
            entries.begin_stamping(archive, chosen, at=AT - timedelta(days=1), environ=ENVIRON)
        for number in range(bags - 1 - stamped):
            put(archive, files, at=AT + timedelta(minutes=number))


def _cpu(command: list[str], archive: Path) -> float:
    """User and system seconds of a command and of all that it started."""
    before = os.times()
    subprocess.run(command, cwd=archive, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system
