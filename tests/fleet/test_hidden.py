"""Secrets hidden in a batch's runs are never in a file of its archive, and each account reports it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import pytest

from runbook_lib.catalogue import Exit
from tests.fleet.conftest import Fleet
from tests.reports import reading
from tests.reports.hidden import PLACES, SECRET, VARIABLE

Hiding = Callable[..., Fleet]
KNOWN = {VARIABLE: SECRET}


def test_wherever_accounts_hide_it_it_is_withheld(hiding: Hiding) -> None:
    fleet = hiding(*PLACES, "nowhere")
    code, bag, said = fleet.run(env=KNOWN)
    *hid, honest = bag.rows.values()
    assert Counter(row["status"] for row in hid) == {"withheld": len(PLACES)}, said
    assert (honest["status"], code) == ("done", Exit.CHECK_FAILED)
    assert reading.holds(fleet.archive, SECRET) == []
    assert SECRET not in said
    assert said.count(": withheld: ") == len(PLACES)
    assert fleet.holds() == []


def test_nor_is_it_in_what_waits_for_the_bag(hiding: Hiding) -> None:
    fleet = hiding("a traceback", "nowhere", seconds=1.0)
    process = fleet.start("--jobs", "1", env=KNOWN)
    ledger = fleet.archive / ".batches/batch-night/ledger.jsonl"
    until = time.monotonic() + 120
    while not ledger.exists() or '"withheld"' not in ledger.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    assert reading.holds(fleet.archive, SECRET) == []
    process.send_signal(signal.SIGINT)
    code, _, said = fleet.ended(process)
    assert code != Exit.DONE
    assert reading.holds(fleet.archive, SECRET) == []
    assert SECRET not in said


NAMES: dict[str, Callable[[Fleet], None]] = {
    "an account's name": lambda fleet: fleet.accounts.append({"account": f"of {SECRET}"}),
    "a parameter's key": lambda fleet: fleet.settings["parameters"].update(place={SECRET: 1}),
    "a parameter's value": lambda fleet: fleet.accounts[0].update(marks=SECRET),
    "an unknown parameter": lambda fleet: fleet.accounts[0].update({f"x_{SECRET}": 1}),
}


@pytest.mark.parametrize("where", NAMES)
def test_where_the_fleet_file_hides_it_it_is_not_told(hiding: Hiding, where: str) -> None:
    fleet = hiding("nowhere")
    NAMES[where](fleet)
    env = {**os.environ, **KNOWN, "DIGICERT_ONE_API_KEY": SECRET}
    done = subprocess.run(fleet.command(), capture_output=True, text=True, env=env)
    assert done.returncode != Exit.DONE
    assert SECRET not in done.stdout + done.stderr
    assert not fleet.archive.exists() or reading.holds(fleet.archive, SECRET) == []
