"""Every door, fuzzed: whatever is given ends in a value or in a RunbookError, and soon.

`make test` spends a few seconds on each. `RUNBOOK_SOAK=1 RUNBOOK_FUZZ_SECONDS=600 pytest tests/fuzz` spends so many
seconds on each test, with another seed each time, which is printed. What was found is kept in small tests of its own.
"""
