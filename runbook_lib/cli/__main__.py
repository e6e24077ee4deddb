"""`python -m runbook_lib.cli` is `runbook`."""

from runbook_lib.cli.root import main

main()
