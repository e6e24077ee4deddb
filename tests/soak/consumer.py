"""A program that uses the credential: it calls the API over mTLS without a pause, and counts what failed.

Before each call it looks where `current` points, and opens the P12 anew where that has changed. Each call is a new TLS
connection, tried once. After each call it tells: calls, failures, generation, what failed first.

    python -m tests.soak.consumer CURRENT HOST:PORT CA_FILE PROGRESS
"""

from __future__ import annotations

import http.client
import ssl
import sys
from pathlib import Path

from runbook_lib.credentials.generation import Generation
from runbook_lib.digicert.client import ME
from runbook_lib.digicert.tls import make_context
from runbook_lib.errors import RunbookError
from runbook_lib.secrets import resolve

SECONDS = 20


def context_for(folder: Path, ca_file: Path) -> ssl.SSLContext:
    """What a connection with this generation needs."""
    identity = Generation(folder).open(resolve("env:DIGICERT_ONE_P12_PASSWORD"))
    return make_context(ca_file, identity)


def call(address: str, context: ssl.SSLContext) -> str:
    """What is wrong with one call; nothing, if it was answered with 200."""
    connection = http.client.HTTPSConnection(address, context=context, timeout=SECONDS)
    try:
        connection.request("GET", ME)
        answer = connection.getresponse()
        answer.read()
        return "" if answer.status == 200 else f"HTTP {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def main() -> None:
    """Call until killed."""
    current, address, ca_file, progress = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    calls = failed = 0
    generation, first = "", "-"
    aside = progress.with_suffix(".new")
    while True:
        try:
            target = str(current.readlink())
            if target != generation:
                context = context_for(current.parent / target, ca_file)
                generation = target
            problem = call(address, context)
        except (OSError, RunbookError) as error:
            problem = repr(error)
        calls += 1
        if problem:
            failed += 1
            first = problem if first == "-" else first
        aside.write_text(f"{calls}\n{failed}\n{generation}\n{first}\n")
        aside.replace(progress)


if __name__ == "__main__":
    main()
