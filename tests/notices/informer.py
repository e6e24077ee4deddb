"""`python -m tests.notices.informer BAG NOTICES LINE`: informs about a bag, and is killed at that line of its way.

The lines are those that run in our notices, in apprise, smtplib and http.client. Without a line it prints how many
there are.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from runbook_lib.notices.after_run import inform
from runbook_lib.notices.notices_file import read_notices

WATCHED = (
    "runbook_lib/notices/",
    "/apprise/apprise.py",
    "/apprise/url.py",
    "/apprise/plugins/",
    "/smtplib.py",
    "/http/client.py",
)


def main() -> None:
    bag, file, line = sys.argv[1:]
    import apprise.plugins.custom_json
    import apprise.plugins.email  # noqa: F401  (before the lines are counted)

    notices, last, count = read_notices(Path(file)), int(line), 0

    def on_line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return on_line

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        return on_line if any(part in frame.f_code.co_filename for part in WATCHED) else None

    threading.settrace(on_call)  # apprise sends in a thread
    sys.settrace(on_call)
    found = inform(Path(bag), notices)
    sys.settrace(None)
    assert not found.problems, found.problems
    print(count)


if __name__ == "__main__":
    main()
