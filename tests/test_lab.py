"""`runbook lab`: a real JupyterLab whose kernels speak over Unix sockets, as those of headless runs do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest


@pytest.mark.slow
def test_its_kernels_speak_over_unix_sockets_and_have_no_passphrase(tmp_path: Path) -> None:
    home = tmp_path / ("a-home-with-a-long-name" * 5)  # sockets below it would have too long a path
    home.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG_"))}
    environ |= {"HOME": str(home), "DIGICERT_ONE_ARCHIVE_PASSPHRASE": "secret"}
    runbook = Path(sys.executable).with_name("runbook")
    command = [str(runbook), "lab", "--no-browser", "--state", str(tmp_path / "state")]
    with (tmp_path / "log").open("wb") as log:
        lab = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        runtime = _runtime_of(lab, tmp_path / "log")
        server = json.loads(next(runtime.glob("jpserver-*.json")).read_text())
        request = urllib.request.Request(  # noqa: S310 - the loopback server of our own
            server["url"] + "api/kernels",
            data=b"{}",
            headers={"Authorization": f"token {server['token']}"},
            method="POST",
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            kernel = json.load(response)["id"]
        told = json.loads((runtime / f"kernel-{kernel}.json").read_text())
        assert told["transport"] == "ipc"
        assert told["ip"].startswith("/tmp/runbook-")
        process = _process_with(kernel)
        assert [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN] == []
        assert "DIGICERT_ONE_API_KEY" in process.environ()
        assert "DIGICERT_ONE_ARCHIVE_PASSPHRASE" not in process.environ()
    finally:
        os.killpg(lab.pid, signal.SIGTERM)
        lab.wait(30)
    assert not runtime.exists()


def _runtime_of(lab: subprocess.Popen[bytes], log: Path) -> Path:
    """The runtime folder of its server, once that has said where it is."""
    for _ in range(600):
        assert lab.poll() is None, log.read_text()
        for child in psutil.Process(lab.pid).children(recursive=True):
            with suppress(psutil.Error):  # it may have ended meanwhile
                runtime = Path(child.environ().get("JUPYTER_RUNTIME_DIR", "/nowhere"))
                if list(runtime.glob("jpserver-*.json")):
                    return runtime
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def _process_with(kernel: str) -> psutil.Process:
    for _ in range(100):
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if any(f"kernel-{kernel}.json" in word for word in one.cmdline()):
                    return one
        time.sleep(0.1)
    raise AssertionError(f"no process of the kernel {kernel}")
