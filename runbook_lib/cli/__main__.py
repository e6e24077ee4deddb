"""`python -m runbook_lib.cli` is `runbook`."""

from runbook_lib.cli.root import main

try:
    main()
finally:
    # Under `-m`, CPython ends by SIGINT although the KeyboardInterrupt was caught, if that came while a string was
    # executed, as a dataclass is made. Executing another one has it forget that (run_eval_code_obj in pythonrun.c).
    exec("")  # noqa: S102
