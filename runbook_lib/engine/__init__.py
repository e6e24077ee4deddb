"""The fork engine: a kernel is forked for each notebook from a process that has imported everything.

    caller ── ForkServer ─┬─► run process    papermill and nbclient; kept from one task to the next
                          └─► server         imports and prepares; has no thread, no secret and no run's socket
                                └─ keeper    forks kernels, and ends what each leaves
                                     └─ kernel    ipykernel's own kernel and IPython's shell, without ZeroMQ

It works without the rest of the package; `docs/engine.md` says how any papermill user uses it. Run process and kernel
speak the Jupyter protocol over one socket pair (`channel`), so papermill and nbclient write the notebook as usual.
"""
