"""Each of our own notebooks leaves the same in both engines, whatever it does there: it plans, issues, finds, refuses.

For each engine a sandbox goes back to the same state, at the same ports, with the same service users; the store and
the clock of the runs are the same too. What then still differs is what is random or the sandbox's own time: the
certificates of this run. Those are numbered in the order in which a notebook names them, so that one in place of
another is found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from runbook_lib.clock import iso
from runbook_lib.sandbox import start, stop
from tests.conftest import Sandbox, read_env
from tests.engine.sameness import difference, told
from tests.notebooks.conftest import archived
from tests.soak import SOAK

ROOT = Path(__file__).parents[2]
NOW = iso(datetime.now(UTC).replace(microsecond=0))
NAME = "Demo API Service User"
OUTAGE = {"confirm": NAME, "allow_outage_of": NAME}

STORIES: dict[str, tuple[str, dict[str, Any]]] = {
    "a check before anything": ("00_start_here", {}),
    "an issue that is only planned": ("01_issue", {"dry_run": True}),
    "an issue nobody confirmed": ("01_issue", {"confirm": ""}),
    "an issue": ("01_issue", {}),
    "an inventory": ("04_inventory", {}),
    "an issue that is done already": ("01_issue", {}),
    "a check when all is there": ("00_start_here", {}),
    "a verification": ("02_verify", {}),
    "an outage that is only planned": ("03_access", {"dry_run": True, "action": "disable", **OUTAGE}),
    "an outage nobody allowed": ("03_access", {"action": "disable", "allow_outage_of": ""}),
    "disabled and enabled again": ("03_access", {"action": "disable and re-enable", **OUTAGE}),
    "a rotation that is only planned": ("05_rotate", {"dry_run": True, "rotate_now": True}),
    "a rotation that is not due": ("05_rotate", {}),
    "a rotation": ("05_rotate", {"rotate_now": True, "overlap_days": 0}),
    "a rotation rolled back": ("05_rotate", {"action": "roll back"}),
    "disabled": ("03_access", {"action": "disable", **OUTAGE}),
    "a verification that finds it disabled": ("02_verify", {}),
    "enabled": ("03_access", {"action": "enable"}),
    "an inventory of two service users and a folder": (
        "04_inventory",
        {"api_keys": ["env:SECOND_API_KEY"], "folders": ["folder"]},
    ),
    "an archive": ("06_archive", {"known_head": ""}),
    "an archive that was cut off": ("06_archive", {"known_head": "0" * 64}),
    "all that may be wrong": ("07_troubleshoot", {}),
    "what may be wrong": ("07_troubleshoot", {"symptom": "duplicate_error"}),
    "a parameter that does not exist": ("02_verify", {"due_dais": 1}),
    "a value that is wrong": ("04_inventory", {"due_days": 0}),
    "a secret as a value": ("01_issue", {"api_key": "0123456789abcdef0123456789"}),
    "a server that is not there": ("04_inventory", {"environment": "https://localhost:1"}),
    "a form": ("01_issue", {"mode": "interactive"}),
    "a form for a rotation": ("05_rotate", {"mode": "interactive"}),
    "nothing but the defaults": ("04_inventory", {"mode": "interactive", "clock": "system"}),
}
REFUSED = (
    "an issue nobody confirmed",
    "an outage nobody allowed",
    "a verification that finds it disabled",
    "a parameter that does not exist",
    "a value that is wrong",
    "a secret as a value",
)
"""Those that end with an error; every other comes to its last cell."""

FEW = ("an issue that is only planned", "an issue", "an inventory")
"""What `make test` compares; all of them with RUNBOOK_SOAK=1."""

TOLD = {name: STORIES[name] for name in (STORIES if SOAK else FEW)}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of executed notebooks, by engine: one after the other, as a user does it."""
    written = tmp_path_factory.mktemp("own")
    common = yaml.safe_load((ROOT / "parameters" / "sandbox.yaml").read_text()) | {"clock": NOW}
    for number, (notebook, given) in enumerate(TOLD.values()):
        nb = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4)
        nb.metadata.given = common | given
        nbformat.write(nb, written / f"{number:02}.ipynb")
    archive = archived(tmp_path_factory.mktemp("archived") / "archive")
    seed, here = tmp_path_factory.mktemp("seed"), tmp_path_factory.mktemp("here")
    start(here / "sandbox")
    stop(here / "sandbox")
    shutil.copytree(here, seed, dirs_exist_ok=True)
    found = {}
    for engine in ("papermill", "runbook"):
        folder = found[engine] = tmp_path_factory.mktemp(engine)
        shutil.rmtree(here)
        shutil.copytree(seed, here)
        (here / "folder").mkdir()
        (here / "folder" / "ca.pem").write_bytes((here / "sandbox" / "ca.pem").read_bytes())
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("DIGICERT_", "JUPYTER"))}
        try:
            sandbox = Sandbox(here / "sandbox", read_env(start(here / "sandbox")))
            environ |= sandbox.env | {"SECOND_API_KEY": sandbox.users()["second"]["api_key"]}
            environ |= {"HOME": str(here), "PYTHONPATH": str(ROOT), "DIGICERT_ONE_ARCHIVE": str(archive)}
            subprocess.run(
                [sys.executable, "-m", "tests.engine.both", engine, str(written), str(folder)],
                check=True,
                cwd=here,
                env=environ,
                timeout=1500,
                stderr=subprocess.DEVNULL,
            )
        finally:
            stop(here / "sandbox")
    return found


_RANDOM = re.compile(r"(?<![0-9a-zA-Z])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-fA-F]{30,64})\b")
"""Identifiers, serial numbers, digests, models of widgets."""
_DRAWN = re.compile(r"\b[mp][0-9a-f]{10}\b")
"""What a drawing calls its parts: matplotlib hashes what they are."""
_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\d[T ](\d\d):(\d\d):\d\d(?:\.\d+)?(?=Z| UTC)")
_SAID = re.compile(
    r"\b\d{1,2} [A-Z][a-z]{2} \d{4}, (\d\d):(\d\d):\d\d UTC(?:</time>)?(?: \((?:in )?\d+ \w+(?: ago)?\))?"
)
"""The same for people, with how far away it is."""
_BREAK = re.compile(r"(?<=[0-9a-fA-F-])<wbr>(?=[0-9a-fA-F-])")
_AHEAD = re.compile(r'(?<="clock_ahead": )\d+\.\d|(?<=agree within )\d+ s')
_OCTETS = re.compile(r"(RANDOM \d+), 1\d octets")
_PADDING = re.compile(r" {2,}|-{3,}")
"""A random serial number of 128 bits needs an octet more where its first bit is set, and one less in 256 times; a
table in plain text is as wide as it is long."""


def _pair(executed: dict[str, Path], name: str) -> tuple[str, str]:
    """What both engines left of a notebook, comparable: papermill's kernel, the fork engine."""
    theirs, ours = (told(nbformat.read(executed[one] / name, 4), _moments) for one in ("papermill", "runbook"))
    return _numbered(theirs, ours), _numbered(ours, theirs)


def _moments(text: str) -> str:
    """Without the sandbox's own time of the run, in whatever year a certificate ends. Its end of the day stays."""
    hour, minute = map(int, NOW[11:16].split(":"))

    def sanitised(found: re.Match[str]) -> str:
        later = (int(found[1]) * 60 + int(found[2]) - hour * 60 - minute) % (24 * 60)
        return found[0] if found[0].replace(" ", "T") == NOW[:19] or later > 30 else f"{found[0][:10]} TIME"

    return _AHEAD.sub("SECONDS", _SAID.sub(sanitised, _MOMENT.sub(sanitised, _BREAK.sub("", text))))


def _numbered(text: str, other: str) -> str:
    """Each random value that the other has not, as a number: in the order in which they are named."""
    for kind, pattern in (("RANDOM", _RANDOM), ("PART", _DRAWN)):
        known = set(pattern.findall(other))
        own = dict.fromkeys(one for one in pattern.findall(text) if one not in known)
        for number, one in enumerate(own, 1):
            text = text.replace(one, f"{kind} {number}")
    return _PADDING.sub(lambda found: found[0][:2], _OCTETS.sub(r"\1, OCTETS", text))


def test_a_random_number_that_is_shorter_is_no_difference() -> None:
    long = f"serial{' ' * 28}id\n{'-' * 32}  --\n{'A1' * 16}  x\n{'A1' * 16}, 17 octets"
    short = f"serial{' ' * 26}id\n{'-' * 30}  --\n{'B2' * 15}  x\n{'B2' * 15}, 15 octets"
    assert not difference(_numbered(long, short), _numbered(short, long))
    assert difference(_numbered(long, short), _numbered(short.replace("  x", "  y"), long))


@pytest.mark.parametrize("number", range(len(TOLD)), ids=list(TOLD))
def test_both_engines_leave_the_same_of_our_own_notebooks(executed: dict[str, Path], number: int) -> None:
    theirs, ours = _pair(executed, f"{number:02}.ipynb")
    assert not difference(theirs, ours)
    ended = nbformat.read(executed["runbook"] / f"{number:02}.ipynb", 4).metadata.ended
    assert ended == ("PapermillExecutionError" if list(TOLD)[number] in REFUSED else "")


def test_the_comparison_sees_one_certificate_in_place_of_another_and_a_later_end(executed: dict[str, Path]) -> None:
    theirs, ours = _pair(executed, f"{list(TOLD).index('an issue'):02}.ipynb")
    assert len(set(re.findall(r"RANDOM \d+", ours))) > 3  # what this run made
    for change in (("RANDOM 3", "RANDOM 2"), ("T23:59:59Z", "T23:59:58Z"), ('"count": 3', '"count": 4'), ("ok", "OK")):
        assert difference(theirs, ours.replace(*change, 1)), change
