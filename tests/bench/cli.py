"""Starting the command line, and issuing from it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from runbook_lib.sandbox import start, stop
from tests.bench.engine import BIN, ROOT, sandbox
from tests.bench.ratio import Curve, Ratio
from tests.conftest import Sandbox, read_env

TUTORIAL = ROOT / "tests" / "interop" / "tutorial"
STEPS = ("step1_csr", "step2_request", "step3_extract", "step4_p12", "step5_verify")


def measure(quick: bool) -> Sequence[Ratio | Curve]:
    pairs = 1 if quick else 9
    with tempfile.TemporaryDirectory() as name, sandbox(Path(name)) as environ:
        found = [help_beside_python(pairs), issue_beside_the_tutorial(Path(name), environ, pairs)]
    for accounts in (2,) if quick else (20, 50):
        found.append(many_beside_the_tutorial(accounts, 1 if quick else 3))
    return found


def help_beside_python(pairs: int) -> Ratio:
    ours = [_seconds([BIN / "runbook", "--help"], os.environ) for _ in range(pairs)]
    theirs = [_seconds([sys.executable, "-c", "pass"], os.environ) for _ in range(pairs)]
    return Ratio(
        "`runbook --help`", tuple(ours), tuple(theirs), 25, "at most", "`python -c pass` in the same environment"
    )


def issue_beside_the_tutorial(folder: Path, environ: dict[str, str], pairs: int) -> Ratio:
    """A certificate from the shell: key, CSR, request, P12, first call over mTLS."""
    ours, theirs = [], []
    for number in range(pairs):
        given = _given(f"Bench {number}")
        command: list[str | Path] = [BIN / "runbook", "run", "issue", *given, "--archive", folder / "archive"]
        ours.append(_seconds(command, environ))
        home = folder / f"home {number}"
        home.mkdir()
        theirs.append(_seconds(["sh", "-c", _tutorial(number)], {**environ, **_reader(home, environ)}))
    note = "ours with controls, journal and archived report; the tutorial's openssl, jq and curl commands"
    return Ratio("`runbook run issue`", tuple(ours), tuple(theirs), 0.7, "at most", note)


def many_beside_the_tutorial(accounts: int, pairs: int) -> Ratio:
    """A certificate for each of many service users: one `runbook batch`, and the tutorial's commands in a loop.

    Seconds are for one account, the start of the batch and its sealed bag included.
    """
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = {**os.environ, **read_env(start(folder / "sandbox", populate=accounts))}
        try:
            users = Sandbox(folder / "sandbox", environ).admin("GET", "/users")
            keys = [user["api_key"] for user in users if user["role"] == "populated"]
            for number, key in enumerate(keys):
                (folder / f"key {number}").write_text(key, encoding="utf-8")
                (folder / f"key {number}").chmod(0o600)
            for pair in range(pairs):
                fleet = _fleet(folder, pair, len(keys))
                command: list[str | Path] = [BIN / "runbook", "batch", fleet, "--archive", folder / "archive"]
                ours.append(_seconds(command, environ) / len(keys))
                loop = [_by_hand(folder, environ, key, 1000 * pair + number) for number, key in enumerate(keys)]
                theirs.append(sum(loop) / len(loop))
        finally:
            stop(folder / "sandbox")
    note = "seconds for one account: ours a run a processor, with controls, reports and one sealed bag; theirs in turn"
    return Ratio(f"`runbook batch`, issue for {accounts} accounts", tuple(ours), tuple(theirs), 0.7, "at most", note)


def _fleet(folder: Path, pair: int, accounts: int) -> Path:
    listed = [
        {"account": f"a{number}", "api_key": f"file:{folder}/key {number}", "name": name, "confirm": name}
        for number in range(accounts)
        for name in [f"Bench {pair} {number}"]
    ]
    path = folder / f"fleet {pair}.yaml"
    budget = {"starts_per_second": 1000, "at_once": 100}
    settings = {"notebook": "issue", "parameters": {"environment": "sandbox"}, "budget": budget, "accounts": listed}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def _by_hand(folder: Path, environ: Mapping[str, str], key: str, number: int) -> float:
    home = folder / f"home {number}"
    home.mkdir()
    reader = {**environ, **_reader(home, environ), "SERVICE_USER_TOKEN": key}
    return _seconds(["sh", "-c", _tutorial(number)], reader)


def _given(name: str) -> list[str]:
    given = {"environment": "configured", "name": name, "confirm": name}
    return [word for pair in given.items() for word in ("-p", *pair)]


def _tutorial(number: int) -> str:
    """The tutorial's steps one after the other, the name made unique and the date one that is allowed."""
    steps = []
    for step in STEPS:
        text = (TUTORIAL / f"{step}.sh").read_text(encoding="utf-8")
        steps.append(text.replace("API Client Auth Certificate", f"Tutorial {number}").replace(*_DATE))
    return "\n".join(f"sh -c {shlex.quote(step)} || exit 1" for step in steps)


_DATE = ('"2026-10-20T23:59:59Z"', "\"$(date -u -d '+90 days' +%Y-%m-%dT23:59:59Z)\"")


def _reader(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    return {
        "HOME": str(home),
        "BASE_URL": environ["DIGICERT_ONE_URL"],
        "CLIENTAUTH_URL": environ["DIGICERT_ONE_CLIENTAUTH_URL"],
        "SERVICE_USER_TOKEN": environ["DIGICERT_ONE_API_KEY"],
        "YOUR_PASSWORD": "TutorialPassword0123456789",
        "MORE": "",
        "CURL_CA_BUNDLE": environ["DIGICERT_ONE_CA_FILE"],
    }


def _seconds(command: Sequence[str | Path], environ: Mapping[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(command, env=dict(environ), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began
