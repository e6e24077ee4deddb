"""A heartbeat: a ping when a run starts and when it ends, for a service that raises an alarm if none comes.

As healthchecks takes it: URL/start, then URL/<exit code>, where 0 is a success.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import requests

from runbook_lib import looks
from runbook_lib.catalogue import Exit
from runbook_lib.errors import RunbookError
from runbook_lib.notices.sender import quiet, secret_parts
from runbook_lib.secrets import resolve

_SECONDS = (5.0, 5.0)
"""To connect, and to wait for a response."""

_FINE = frozenset({Exit.DONE, Exit.NOTHING_DUE, Exit.PROGRESSED, Exit.WAITING})


def ping(reference: str, code: Exit | None, environ: Mapping[str, str] | None = None) -> str:
    """Report that a run starts (None) or how it ended. Raises nothing: a ping that fails changes no run.

    Args:
        reference: to the URL. It is a secret: whoever has it can silence the alarm.
        code: the exit code. 10, 11 and 12 are sent as 0: nothing failed.

    Returns:
        why it was not accepted, without the URL; empty if it was.
    """
    try:
        url = resolve(reference, environ=environ).reveal().strip().rstrip("/")
    except RunbookError as error:
        return f"The heartbeat was not sent. {error.what}"
    for part in secret_parts(url):
        looks.remember(part)
    end = "start" if code is None else str(0 if code in _FINE else int(code))
    try:
        with quiet():
            answer = requests.post(f"{url}/{end}", timeout=_SECONDS, allow_redirects=False)
    except requests.RequestException as error:  # its text holds the URL
        return f"The heartbeat of {reference} was not sent: {type(error).__name__}."
    return "" if answer.ok else f"The heartbeat of {reference} was refused: HTTP {answer.status_code}."


if __name__ == "__main__":
    sys.stdout.write(ping(sys.argv[1], None))
