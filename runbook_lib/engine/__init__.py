"""The fork engine: a kernel is forked for each notebook from a process that has imported everything.

    caller ── ForkServer ─┬─► run process    `produce`: papermill and nbclient, judging, searching, rendering; kept
                          └─► server         imports, prepares; has no thread, no secret, no socket of anybody's run
                                └─ keeper    forks kernels, and ends what each leaves
                                     └─ kernel    ipykernel's own kernel and IPython's shell, without ZeroMQ

Run process and kernel speak the Jupyter protocol over one socket pair (`channel`), so that what is written into the
notebook is written by papermill and nbclient as ever. `docs/engine.md` says more, and how this differs from a kernel
that was started.
"""
