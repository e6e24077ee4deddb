"""The command line: one module for each command, imported when the command is called."""

import sys

if sys.platform == "win32":
    sys.exit("runbook does not run on Windows. Install it in WSL2 (wsl --install), where it runs as on Linux.")

from runbook_lib.cli.root import main

__all__ = ["main"]
