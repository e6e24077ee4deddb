"""Deploy hooks that a click calls: each ends, and lives on, as docs/deploy-hook.md says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import STEP_SECONDS, Desk
from tests.browser.test_rotation import STEPS_OF_05, Days
from tests.browser.test_walk import walk
from tests.conftest import Sandbox
from tests.test_left_running import DAEMON, HOOKS, _alive

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.soak
@pytest.mark.parametrize("name", HOOKS)
def test_a_click_calls_the_hook_and_the_end_of_the_kernel_spares_what_it_started(
    desk: Callable[[str], Desk], lab_sandbox: Sandbox, name: str
):
    command, ok, how, lives = HOOKS[name]
    days = Days(lab_sandbox, desk("05_rotate"), f"Hook {name}")
    folder = days.desk.lab.folder
    (folder / "daemon.py").write_text(DAEMON)
    days.desk.rewrite(name=days.name)
    days.desk.run_all()
    days.desk.field("Rotate now").check()
    days.desk.fill(**{"Deploy hook": command, "Hook timeout (s)": "4"})
    days.desk.button("Start").click()
    walk(days.desk, STEPS_OF_05[:3])
    kind, title = STEPS_OF_05[3]
    result = days.desk.do(title, kind)
    expect(result.locator(".dor-badge").first).to_have_text("✓ ok" if ok else "✗ failed")
    expect(result).to_contain_text(how, timeout=STEP_SECONDS * 1000)
    days.desk.kill_kernel()
    marks = {name, "then-endless"} if name == "then endless" else {name}
    try:
        for mark in marks:
            if lives is not None or mark == "then-endless":
                assert _alive(folder / mark) is (lives is not False), mark
    finally:
        for mark in marks:
            with suppress(OSError, ValueError):
                os.kill(int((folder / mark).read_text()), signal.SIGKILL)
