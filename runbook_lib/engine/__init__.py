"""The fork engine: a kernel is forked for each notebook from a process that has imported everything.

    caller ── ForkServer ─┬─► run process    papermill and nbclient; kept from one task to the next
                          └─► server         imports, prepares; has no thread, no secret, no socket of anybody's run
                                └─ keeper    forks kernels, and ends what each leaves
                                     └─ kernel    ipykernel's own kernel and IPython's shell, without ZeroMQ

It stands by itself: `docs/engine.md` begins with how any papermill user uses it. Run process and kernel speak the
Jupyter protocol over one socket pair (`channel`), so that what is written into the notebook is written by papermill and
nbclient as ever.
"""
