"""The sandbox's own process: `python -m runbook_lib.sandbox STATE OPTIONS`. `runbook sandbox start` starts it."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from runbook_lib.errors import RunbookError
from runbook_lib.sandbox.control import serve_sandbox
from runbook_lib.sandbox.options import Options


def main(state: str, options: str) -> int:
    """Run the sandbox; return the exit code: 0 after a stop, else that of the error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serve_sandbox(Path(state), Options(**json.loads(options)))
    except RunbookError as error:
        logging.error("%s", error.what)
        return int(error.exit)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
