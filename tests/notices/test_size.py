"""Very many certificates: what the notices write stays small, and costs a tenth of the inventory at most.

The inventory is `runbook run inventory` of a folder of PEM files that are all different; both costs are CPU time, which
other work on the machine changes little. RUNBOOK_SOAK=1 takes 100,000 files, else 1,000 without the limit on the cost.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runbook_lib.notices.metrics import file_name
from tests.bench.inventory import _write_pem
from tests.conftest import Sandbox
from tests.notices.conftest import Desk
from tests.notices.receivers import Mailbox
from tests.soak import SOAK

pytestmark = pytest.mark.slow

COUNT = 100_000 if SOAK else 1_000


def inventory(desk: Desk, sandbox: Sandbox, folder: Path) -> tuple[Path, float]:
    """The bag of an inventory of a folder, and its CPU time in seconds, all processes together."""
    before = os.times()
    command = [sys.executable, "-m", "runbook_lib.cli", "run", "inventory", "--archive", str(desk.archive)]
    environ = os.environ | sandbox.env | {"HOME": str(folder.parent)}
    given = folder.with_name("inventory.yaml")
    given.write_text(f"folders: ['{folder}']\n")
    done = subprocess.run([*command, "-f", str(given)], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return Path(done.stdout.splitlines()[-1]), spent


@pytest.mark.timeout(0 if SOAK else 300)
def test_metrics_and_calendar_of_many_certificates_are_small_and_cheap(
    desk: Desk, mailbox: Mailbox, sandbox: Sandbox, tmp_path: Path
):
    desk.set(metrics=str(tmp_path / "prom"), calendar=str(tmp_path / "certificates.ics"))
    _write_pem(tmp_path / "pem", COUNT)
    costs, shares = [], []
    for _ in range(3):
        bag, spent = inventory(desk, sandbox, tmp_path / "pem")
        assert f"{COUNT:,} row" in (bag / "data" / "run.json").read_text()
        began = time.process_time()
        found = desk.inform(bag)
        costs.append(time.process_time() - began)
        assert found.problems == []
        shares.append(costs[-1] / spent)
    assert len(mailbox.mails) == 1  # one for all that are due, and none in the next nights
    sizes = [(tmp_path / name).stat().st_size for name in (f"prom/{file_name(desk.archive)}", "certificates.ics")]
    print(
        f"{COUNT:,} certificates: the inventory {spent:.1f} s of CPU; state, metrics and calendar {costs[0]:.2f} s "
        f"({shares[0]:.1%}) at first, then {min(costs):.2f} s ({min(shares):.1%}); metrics {sizes[0]:,} bytes, "
        f"calendar {sizes[1]:,} bytes"
    )
    assert sizes[0] < 1_000_000
    assert sizes[1] < 200_000
    if SOAK:
        assert shares[-1] <= 0.10
