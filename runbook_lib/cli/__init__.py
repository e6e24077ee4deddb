"""The command line: a module for each command, imported when the command is called."""

from runbook_lib.cli.root import main

__all__ = ["main"]
