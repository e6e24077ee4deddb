"""What a notebook does to kill the process that runs papermill for it, with either engine."""

from __future__ import annotations

from runbook_lib import tables

KILLS_PAPERMILL = f"""
import os, pathlib, time
time.sleep(1)
log = pathlib.Path(os.environ["{tables.FOLDER_VARIABLE}"]).with_name("papermill.log")
for one in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if os.getpid() != int(one.name) and pathlib.Path(os.readlink(one / "fd/1")) == log: os.kill(int(one.name), 9)
    except OSError: pass
time.sleep(60)
"""
