"""SIGKILL at any point of sending: the next run sends what is missing. At least once, at most twice, each."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.notices import runs
from tests.notices.conftest import Desk
from tests.notices.receivers import Hook, Mailbox
from tests.notices.runs import DAY, NOW, row
from tests.soak import SOAK

pytestmark = pytest.mark.slow

POINTS = 100 if SOAK else 10


def informer(bag: Path, file: Path, line: int, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.notices.informer", str(bag), str(file), str(line)]
    return subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.timeout(0 if SOAK else 300)
def test_a_message_is_sent_at_least_once_and_at_most_twice_wherever_its_sender_is_killed(
    desk: Desk, mailbox: Mailbox, hook: Hook, tmp_path: Path
):
    file = tmp_path / "notices.yaml"
    file.write_text("recipients: {pki: ['env:MAIL'], on-call: ['env:HOOK']}\nsend: [{to: [pki]}, {to: [on-call]}]\n")
    desk.run(row("CI"), row("Web"))
    before = tmp_path / "before"
    bag = runs.put(desk.archive, row("CI", "due"), row("Web", "urgent", ends=NOW + 3 * DAY))
    shutil.copytree(desk.archive, before)
    whole = informer(bag, file, 0, desk.environ)
    assert whole.returncode == 0, whole.stderr
    lines = int(whole.stdout)
    assert (len(mailbox.mails), len(hook.bodies)) == (2, 2)
    points = sorted(random.Random(16).sample(range(1, lines + 1), POINTS))  # noqa: S311
    twice = 0
    for point in points:
        shutil.rmtree(desk.archive)
        shutil.copytree(before, desk.archive)
        mailbox.mails.clear()
        hook.bodies.clear()
        assert informer(bag, file, point, desk.environ).returncode == -signal.SIGKILL, point
        after = informer(bag, file, 0, desk.environ)
        assert after.returncode == 0, (point, after.stderr)
        counts = Counter(mailbox.subjects) + Counter(f"hook {title}" for title in hook.titles)
        assert len(counts) == 4, (point, counts)
        assert set(counts.values()) <= {1, 2}, (point, counts)
        assert sum(counts.values()) <= 5, (point, counts)  # at most the one that was being sent
        twice += 2 in counts.values()
    print(f"{POINTS} points of {lines:,} lines: each message at least once; {twice} runs sent one of them twice")


def test_a_sender_that_is_killed_twice_at_one_message_gives_it_up_and_says_so(desk: Desk, mailbox: Mailbox):
    from runbook_lib.notices.notice_state import NoticesState

    mailbox.refuses = True
    desk.run(row("CI", "due"))
    mailbox.refuses = False
    for _ in range(2):  # as two processes that were killed while they sent leave it
        with NoticesState.held(desk.archive) as state:
            state.settle()
            ((number, _message),) = state.waiting()
            state.sending(number)
    found = desk.run(row("CI", "due"))
    assert mailbox.mails == []
    assert "unknown whether they were sent: 1" in found.problems[0]
