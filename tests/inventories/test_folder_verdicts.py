"""Nothing that was not looked at is calm: each reason's row, verdict and exit code are those of docs/inventory.md."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from runbook_lib.catalogue import CATALOGUE, Exit, Reason
from runbook_lib.credentials.pkcs12 import Profile, write_p12
from runbook_lib.inventories.folder_worker import _HEALTH, UNCHECKED
from runbook_lib.inventories.folders import read_into_table, result_of
from runbook_lib.inventories.health import Health
from runbook_lib.inventories.schemas import FILES
from runbook_lib.result import Result, Verdict
from tests.cli.test_cli import runbook
from tests.conftest import Sandbox
from tests.credentials.pki import OTHER_PASSWORD, PASSWORD, ROOT, identity, name, sign
from tests.inventories.test_folders import DAY, KEY, LIMITS, pem
from tests.soak import SOAK

DOCUMENT = Path(__file__).parents[2] / "docs/inventory.md"
ROW = re.compile(r"^\| `(\w+)` \| ([a-z ]+) \| (\w+) \| (\d+) \| (\d+) \|$", re.MULTILINE)
DOCUMENTED = {Reason(reason): rest for reason, *rest in ROW.findall(DOCUMENT.read_text(encoding="utf-8"))}


def p12(path: Path) -> None:
    path.write_bytes(write_p12(identity(), PASSWORD, profile=Profile.MODERN, friendly_name="x"))


def large(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**40)


MAKERS: dict[Reason, Callable[[Path], object]] = {
    Reason.P12_NOT_OPENED: p12,
    Reason.WRONG_PASSWORD: p12,
    Reason.KEYSTORE_NOT_READ: lambda path: path.write_bytes(b"SQLite format 3\0"),
    Reason.CONTAINER_NOT_OPENED: lambda path: path.write_bytes(b"PK\x03\x04"),
    Reason.KEY_NOT_CHECKED: lambda path: path.write_bytes(b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n"),
    Reason.LINK_NOT_FOLLOWED: lambda path: path.symlink_to("nowhere"),
    Reason.FILE_NOT_READ: lambda path: path.symlink_to("/dev/zero"),
    Reason.FILE_TOO_LARGE: large,
    Reason.KEY_IN_PLAIN_TEXT: lambda path: path.write_bytes(
        KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    ),
}


RUN = tuple(MAKERS) if SOAK else (Reason.KEY_IN_PLAIN_TEXT,)
"""Those that are tried with a run of the whole notebook."""

NEW = sign(
    KEY.public_key(), name("new"), name("CA"), ROOT.key, start=datetime.now(UTC), end=datetime.now(UTC) + 300 * DAY
)


def exit_of(result: Result, *, fail_on_due: bool) -> int:
    """As `reports.outcome.judge` and `cli.outcome.report` decide it."""
    if result.verdict is Verdict.UNCHECKED:
        return CATALOGUE[Reason.NOT_PROVEN].exit
    return Exit.DUE if fail_on_due and result.needs_action else Exit.DONE


def test_the_table_has_every_reason_that_is_not_calm() -> None:
    assert set(DOCUMENTED) == {one for one, health in _HEALTH.items() if health in (Health.UNCHECKED, Health.EXPOSED)}
    assert set(UNCHECKED) < set(DOCUMENTED)
    assert set(MAKERS) == set(DOCUMENTED) - {
        Reason.FILE_GIVEN_UP
    }  # whose row tests/inventories/test_folder_limits.py makes


@pytest.mark.parametrize("reason", MAKERS)
def test_a_reason_reaches_row_verdict_and_exit_code_as_the_table_says(tmp_path: Path, reason: Reason) -> None:
    place = tmp_path / "certificates"
    place.mkdir()
    (place / "good.pem").write_bytes(pem(-10, 300))
    _, outcome = result(tmp_path / "before", place)
    assert (outcome.verdict, exit_of(outcome, fail_on_due=True)) == (Verdict.OK, Exit.DONE)
    MAKERS[reason](place / "a.bin")
    row, outcome = result(tmp_path / "after", place, wrong=reason is Reason.WRONG_PASSWORD)
    state, verdict, plain, due = DOCUMENTED[reason]
    assert (row["state"], row["reason"]) == (state, reason)
    assert outcome.verdict == verdict
    assert (exit_of(outcome, fail_on_due=False), exit_of(outcome, fail_on_due=True)) == (int(plain), int(due))


def result(where: Path, place: Path, *, wrong: bool = False) -> tuple[dict[str, str], Result]:
    """The row of the first file, and what the step tells."""
    summary, sidecar = read_into_table([str(place)], where, LIMITS, password=OTHER_PASSWORD if wrong else None)
    rows = [*summary.unchecked, *summary.flawed, *(row for _, row in summary.soonest)]
    return dict(zip(FILES.columns, rows[0], strict=True)), result_of(summary, sidecar, LIMITS)


@pytest.mark.parametrize("files", [{}, {"notes": b"some text"}])
def test_a_folder_in_which_no_certificate_was_found_is_not_calm(tmp_path: Path, files: dict[str, bytes]) -> None:
    place = tmp_path / "certificates"
    place.mkdir()
    for file, content in files.items():
        (place / file).write_bytes(content)
    outcome = result_of(*read_into_table([str(place)], tmp_path / "out", LIMITS, password=None), LIMITS)
    assert (outcome.verdict, outcome.needs_action) == (Verdict.ATTENTION, 1)
    assert "No certificates found in 1 of 1 folder" in outcome.headline


def test_a_run_ends_as_the_table_says(sandbox: Sandbox, tmp_path: Path) -> None:
    user = sandbox.env | {"DIGICERT_ONE_API_KEY": sandbox.admin("POST", "/users")["api_key"]}
    user |= {"DIGICERT_ONE_STORE": str(tmp_path / "store"), "OTHERS": OTHER_PASSWORD.reveal()}
    for number, reason in enumerate(RUN):
        place = tmp_path / reason
        place.mkdir()
        (place / "good.pem").write_bytes(NEW.public_bytes(Encoding.PEM))
        MAKERS[reason](place / "a.bin")
        words = ["run", "inventory", "-p", "environment", "sandbox", "-p", "folders", str(place)]
        words += ["-p", "folders_password", "env:OTHERS"] if reason is Reason.WRONG_PASSWORD else []
        state, verdict, *exits = DOCUMENTED[reason]
        for more, code in zip(([], ["--fail-on", "due"]), exits, strict=True):
            archive = tmp_path / f"archive {number} {len(more)}"
            done = runbook(*words, *more, "--archive", archive, environ=user, cwd=tmp_path)
            assert (reason, done.returncode) == (reason, int(code)), done.stderr
            (record,) = archive.rglob("data/run.json")
            assert json.loads(record.read_text())["verdict"] == verdict
            (table,) = archive.rglob("data/tables/files.csv")
            with table.open(encoding="utf-8-sig", newline="") as stream:
                row = next(csv.DictReader(stream))
            assert (row["state"], row["reason"]) == (state, reason)
