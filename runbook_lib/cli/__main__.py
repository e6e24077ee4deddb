"""`python -m runbook_lib.cli` is `runbook`."""

from runbook_lib.cli.root import main

try:
    main()
finally:
    # Under `-m`, CPython ends by SIGINT although KeyboardInterrupt was caught, if the signal came while a string was
    # executed, as when a dataclass is made. Executing another string resets that (run_eval_code_obj in pythonrun.c).
    exec("")  # noqa: S102
