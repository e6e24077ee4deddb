"""What a run leaves behind is ended; what may not be ended keeps nobody from telling of the run."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_a_child_that_became_another_user_is_left_and_the_others_end() -> None:
    # in a process of its own: it gives up being root. What it needs is read before, root's folders are closed to it
    program = """
        import os, time
        from runbook_lib.descendants import children, end_children
        children()
        def sleeper(seconds):
            child = os.fork()
            if child == 0:
                os.closerange(0, 3)  # else who reads what we print waits for it
                time.sleep(seconds)
                os._exit(0)
            return child
        theirs = sleeper(15)
        os.setresuid(10001, 10001, 10001)
        sleeper(600)
        end_children()
        print(children() == [theirs])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=10, check=False
    )
    assert done.stdout == "True\n", done.stderr
