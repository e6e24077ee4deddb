"""90 simulated days of `inventory` and `rotate`: exactly one message for each change of state, and none else.

The runs, their kernels, the sandbox and its clock, the SMTP server and the webhook are real. Bounded to the days on
which something changes, and the day after; RUNBOOK_SOAK=1 runs all 90.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from runbook_lib.clock import iso, parse_utc
from tests.conftest import Sandbox
from tests.notices.receivers import Hook, Mailbox
from tests.soak import SOAK

pytestmark = pytest.mark.slow

NAME, SHORT = "Daily", "Short"
BEGIN, OVER, FIRST_OUTAGE, AGAIN, SECOND_OUTAGE = 10, 11, 20, 23, 85
"""Days: Daily is due and rotated; its old certificate is disabled; nobody answers; they do; nobody answers again."""
ENDS = 66
"""The last day of Short, which nobody rotates."""
NOBODY_ANSWERS = [{"fault": "html_page"}]
LIMITS = ("-p", "due_days", "60", "-p", "urgent_days", "14")


def expected(short: dict[str, int]) -> list[tuple[int, str]]:
    """The messages in their order, given the days on which Short changes its state."""
    return sorted(
        [
            (BEGIN, "Due: Daily is due for renewal"),
            (BEGIN, "Rotated: A rotation changed the certificate in use of Daily"),
            (OVER, "Disabled: Daily is disabled"),
            (FIRST_OUTAGE, "Unreachable: DigiCert ONE (sandbox) does not respond properly"),
            (AGAIN, "Recovered: DigiCert ONE (sandbox) answers again"),
            (short["due"], "Due: Short is due for renewal"),
            (short["urgent"], "Urgent: Short ends very soon"),
            (short["expired"], "Expired: Short has expired"),
            (SECOND_OUTAGE, "Unreachable: DigiCert ONE (sandbox) does not respond properly"),
        ]
    )


@pytest.mark.timeout(0 if SOAK else 600)
def test_90_days_are_one_message_for_each_change_of_state(
    fresh_sandbox: Callable[..., Sandbox], tmp_path: Path, mailbox: Mailbox, hook: Hook
):
    sandbox, home, file = fresh_sandbox(), tmp_path / "home", tmp_path / "notices.yaml"
    home.mkdir()
    file.write_text(
        "recipients: {pki: ['env:MAIL'], on-call: ['env:HOOK']}\n"
        "send:\n"
        "  - {to: [pki], states: [due, urgent, expired, rotated, disabled]}\n"
        "  - {to: [on-call], states: [failed, unreachable, recovered]}\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DIGICERT_", "JUPYTER"))}
    environ |= sandbox.env | {"HOME": str(home), "HOOK": f"json://127.0.0.1:{hook.port}/"}
    environ["MAIL"] = f"mailto://127.0.0.1:{mailbox.port}/?from=a@example.com&to=b@example.com&mode=insecure"

    def run(job: str, *more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "runbook_lib.cli", "run", job, "--archive", str(tmp_path / "archive"), *more],
            env=environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert "Notices: " not in done.stderr.replace("Notices: 1 message sent.", "").replace(
            "Notices: 2 messages sent.", ""
        ), done.stderr
        return done.stderr

    def issue(name: str, *more: str) -> None:
        assert "issue: done" in run(
            "issue", "-p", "name", name, "-p", "confirm", name, "-p", "key_kind", "p-256", *more
        )

    start: datetime = parse_utc(sandbox.admin("GET", "/clock")["now"])
    issue(NAME)
    daily_ends = max(parse_utc(one["end_date"]) for one in sandbox.admin("GET", "/certificates") if one["name"] == NAME)
    first = daily_ends - timedelta(days=60 + BEGIN) + timedelta(minutes=1)
    sandbox.admin("PUT", "/clock", {"now": iso(first)})
    last = first + timedelta(days=ENDS)
    issue(SHORT, "-p", "expiration_date", f"{last:%Y-%m-%d}", "-p", "clock", iso(first))
    assert first > start
    (short,) = (one for one in sandbox.admin("GET", "/certificates") if one["name"] == SHORT)
    ends, life = parse_utc(short["end_date"]), parse_utc(short["end_date"]) - parse_utc(short["start_date"])
    limits = {"due": life / 3, "urgent": life / 9, "expired": timedelta(0)}  # both below the limits in days
    # the first run after the moment in question
    changes = {state: (ends - limit - first).days + 1 for state, limit in limits.items()}
    begin = (*changes.values(), BEGIN, FIRST_OUTAGE, AGAIN, SECOND_OUTAGE)
    days = sorted({0, 89, *(day + more for day in begin for more in (0, 1))})
    seen: list[tuple[int, str]] = []
    for day in range(90) if SOAK else days:
        now = first + timedelta(days=day)
        sandbox.admin("PUT", "/clock", {"now": iso(now)})
        down = FIRST_OUTAGE <= day < AGAIN or day >= SECOND_OUTAGE
        if down:
            sandbox.admin("PUT", "/faults", {"rules": NOBODY_ANSWERS, "seed": day})
        run("inventory", *LIMITS, "-p", "clock", iso(now), "--notices", str(file))
        run("rotate", "-p", "name", NAME, "-p", "confirm", NAME, "-p", "clock", iso(now), "--notices", str(file))
        sandbox.admin("DELETE", "/faults")
        seen += [(day, text) for text in (*mailbox.subjects, *hook.titles)]
        mailbox.mails.clear()
        hook.bodies.clear()
    print(*(f"day {day}: {text}" for day, text in seen), sep="\n")
    assert sorted(seen) == expected(changes)
