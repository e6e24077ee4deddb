"""The fork engine: a process that has imported everything is forked for each run, and the cells run in the fork.

    caller ── ForkServer ──► server    imports, and forks; has no thread, no secret, no socket of anybody's run
                               └─ run        `produce`: papermill and nbclient, judging, searching, rendering
                                    └─ kernel    ipykernel's own kernel and IPython's shell, without ZeroMQ

Run and kernel speak the Jupyter protocol over one socket pair (`channel`), so that what is written into the notebook is
written by papermill and nbclient as ever. `docs/engine.md` has the differences to a kernel that was started.
"""
