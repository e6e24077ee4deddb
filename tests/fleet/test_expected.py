"""A batch is compared with the archive's expectations, account by account."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from runbook_lib.archive.expectation import declare
from runbook_lib.audit.completeness import DeviationKind, completeness
from runbook_lib.clock import SystemClock
from tests.fleet.conftest import Fleet
from tests.reports.reading import record


def test_an_account_that_failed_or_was_left_out_of_a_batch_is_a_gap(night: Callable[..., Fleet]) -> None:
    fleet = night(2)
    fleet.accounts[1]["fails"] = True
    today = f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%d}"
    file = fleet.folder / "expected.json"
    file.write_text(
        json.dumps(
            {"expected": [{"job": "batch-night", "from": today, "every": "week", "accounts": ["a0", "a1", "a2"]}]}
        )
    )
    declare(fleet.archive, file, at=SystemClock().now(), environ={})
    _, bag, _ = fleet.run()
    assert record(bag.place)["lock_sha256"]
    found = completeness(fleet.archive, now=SystemClock().now() + timedelta(days=7), until=SystemClock().now())
    assert [(gap.kind, gap.account) for gap in found.gaps] == [
        (DeviationKind.FAILED, "a1"),
        (DeviationKind.MISSING, "a2"),
    ]
    del fleet.accounts[1]["fails"]
    fleet.accounts.append({"account": "a2", "account_": "a2"})
    fleet.run()
    again = completeness(fleet.archive, now=SystemClock().now() + timedelta(days=7), until=SystemClock().now())
    assert again.complete
