"""Very many certificates: what the notices write stays small, and costs a tenth of the inventory at most.

The inventory is of a folder of PEM files that are all different. RUNBOOK_SOAK=1 takes 100,000, else 5,000 without the
limit on the cost.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runbook_lib.clock import SystemClock
from runbook_lib.inventories.folders import read_into_table
from runbook_lib.inventories.health import Limits
from runbook_lib.notices.metrics import file_name
from tests.bench.inventory import _write_pem
from tests.notices import runs
from tests.notices.conftest import Desk
from tests.notices.receivers import Mailbox
from tests.soak import SOAK

pytestmark = pytest.mark.slow

COUNT = 100_000 if SOAK else 5_000


@pytest.mark.timeout(0 if SOAK else 300)
def test_metrics_and_calendar_of_many_certificates_are_small_and_cheap(desk: Desk, mailbox: Mailbox, tmp_path: Path):
    desk.set(metrics=str(tmp_path / "prom"), calendar=str(tmp_path / "certificates.ics"))
    _write_pem(tmp_path / "pem", COUNT)
    limits = Limits.days(SystemClock().now(), due=60, urgent=14)
    took, nights, costs = [], [], []
    for _ in range(3):
        began = time.perf_counter()
        summary, _ = read_into_table([str(tmp_path / "pem")], tmp_path / "out", limits, password=None)
        took.append(time.perf_counter() - began)
        assert summary.rows == COUNT
        table = (tmp_path / "out" / "files.csv").read_bytes()
        bag = runs.put(desk.archive, more={"tables/files.csv": table}, at=limits.now)
        began = time.perf_counter()
        found = desk.inform(bag)
        nights.append(time.perf_counter() - began)
        assert found.problems == []
        costs.append(nights[-1] / took[-1])
    assert len(mailbox.mails) == 1  # one for all that are due, and none in the next nights
    sizes = [(tmp_path / name).stat().st_size for name in (f"prom/{file_name(desk.archive)}", "certificates.ics")]
    print(
        f"{COUNT:,} certificates: the inventory {min(took):.2f} s; notices, metrics and calendar {nights[0]:.2f} s at "
        f"first, then {min(nights):.2f} s ({min(costs):.1%}); metrics {sizes[0]:,} bytes, calendar {sizes[1]:,} bytes"
    )
    assert sizes[0] < 500_000
    assert sizes[1] < 300_000
    if SOAK:
        assert min(costs) <= 0.10
