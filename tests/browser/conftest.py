"""Fixtures: a real JupyterLab, a real Chromium, and their own sandbox."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Error, FloatRect, Locator, Page, expect, sync_playwright

from runbook_lib.result import MIME
from runbook_lib.sandbox import start, stop
from tests.conftest import Sandbox, read_env

ROOT = Path(__file__).parents[2]
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
STEP_SECONDS = 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Closed after each module: while it is open, its event loop runs in this thread."""
    with sync_playwright() as playwright:
        try:
            one = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(QUIET))
        except Error as problem:
            pytest.skip(f"no Chromium: {problem.message.splitlines()[0]}")
        yield one
        one.close()


@pytest.fixture(scope="module")
def lab_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox whose only certificates are those that these tests make."""
    state = tmp_path_factory.mktemp("lab-sandbox") / "state"
    yield Sandbox(state, read_env(start(state)))
    stop(state)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab and the folder it serves."""

    url: str
    token: str
    folder: Path
    settings: Path

    def set(self, plugin: str, values: dict[str, Any]) -> None:
        """Write a user's setting; it applies from the next page load."""
        package, _, name = plugin.partition(":")
        path = self.settings / package / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, lab_sandbox: Sandbox) -> Iterator[Lab]:
    """JupyterLab on copies of the notebooks, configured for the sandbox, with its own home folder."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("DIGICERT_", "JUPYTER", "XDG_"))
    }
    environ |= lab_sandbox.env | {"HOME": str(home), "JUPYTER_TOKEN": token}  # never in argv
    one = Lab(f"http://127.0.0.1:{port}", token, folder, home / ".jupyter" / "lab" / "user-settings")
    one.set("@jupyterlab/apputils-extension:notification", {"fetchNews": "false", "checkForUpdates": False})
    runtime = Path(tempfile.mkdtemp(prefix="runbook-", dir="/tmp"))
    environ["JUPYTER_RUNTIME_DIR"] = str(runtime)  # as `runbook lab` has it
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
                *(f"--port={port}", "--ServerApp.port_retries=0", "--ServerApp.terminals_enabled=False"),
                "--KernelManager.transport=ipc",
            ],
            cwd=folder,
            env=environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_for(one, server, home / "lab.log")
        yield one
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        shutil.rmtree(runtime, ignore_errors=True)


def _wait_for(lab: Lab, server: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{lab.url}/api/status", headers={"Authorization": f"token {lab.token}"})  # noqa: S310
    for _ in range(300):
        assert server.poll() is None, log.read_text()
        try:
            opener.open(request, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text())


@dataclass
class Desk:
    """A notebook open in JupyterLab, with methods to click in it."""

    page: Page
    lab: Lab
    name: str

    def run_all(self) -> None:
        """Run all cells, as notebook 00 says."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        # the summary shows that the last cell has run; that of an earlier run says something else
        summary = self.page.get_by_label("Summary", exact=True)
        expect(self.button("Start")).to_be_enabled(timeout=STEP_SECONDS * 1000)
        expect(summary).to_contain_text("Not every step is complete.", timeout=STEP_SECONDS * 1000)

    def rewrite(self, **parameters: str) -> None:
        """Write other values into the parameters cell, as an analyst does: click the line and type it again."""
        for name, value in parameters.items():
            line = self.page.locator(".jp-CodeCell .cm-line").filter(has_text=re.compile(rf"^{name}: str = ")).first
            line.click()
            self.page.keyboard.press("Home")
            self.page.keyboard.press("Shift+End")
            self.page.keyboard.insert_text(f'{name}: str = "{value}"')
            expect(self.page.locator(".jp-CodeCell .cm-line").filter(has_text=value).first).to_be_visible()

    def kill_kernel(self) -> None:
        """End the notebook's kernel with SIGKILL, and close JupyterLab's dialog about it."""
        request = urllib.request.Request(  # noqa: S310 - a loopback http address of our own
            f"{self.lab.url}/api/sessions", headers={"Authorization": f"token {self.lab.token}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=5) as answer:
            (kernel,) = [one["kernel"]["id"] for one in json.load(answer) if one["path"] == f"{self.name}.ipynb"]
        (process,) = [one for one in psutil.process_iter(["cmdline"]) if kernel in " ".join(one.info["cmdline"] or [])]
        process.kill()
        self.page.get_by_role("dialog").get_by_role("button", name="Ok").click(timeout=STEP_SECONDS * 1000)
        self.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=STEP_SECONDS * 1000)

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def step(self, title: str, kind: str = "Check") -> Locator:
        """A step's button, whatever its text, which depends on the values and the results so far."""
        return self.page.get_by_title(re.compile(rf"^{re.escape(f'{kind}: {title}')}( – |$)"))

    def fill(self, **fields: str) -> None:
        for label, value in fields.items():
            self.field(label).fill(value)

    def do(self, title: str, kind: str = "Check") -> Locator:
        """Press a step's button and wait for its result."""
        button = self.step(title, kind)
        expect(button).to_be_enabled(timeout=STEP_SECONDS * 1000)
        button.click()
        result = self.page.get_by_label(f"Result: {title}", exact=True)
        result.wait_for(timeout=STEP_SECONDS * 1000)
        return result

    def save(self) -> dict[str, Any]:
        """Save with Ctrl-S, and read the file."""
        path = self.lab.folder / f"{self.name}.ipynb"
        before = path.stat().st_mtime_ns
        self.page.locator(".jp-Notebook").first.press("Control+s")
        for _ in range(100):
            if path.stat().st_mtime_ns != before:
                break
            self.page.wait_for_timeout(100)
        self.page.wait_for_timeout(200)
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return saved

    def picture(self, name: str) -> Path:
        """A picture of the whole notebook, kept as a test artefact."""
        folder = Path(os.environ.get("RUNBOOK_TEST_ARTEFACTS") or ROOT / "build" / "screenshots")
        folder.mkdir(parents=True, exist_ok=True)
        panel = self.page.locator(".jp-NotebookPanel:visible").first
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(300)
        top = panel.bounding_box()
        last = panel.locator(".jp-Cell").last.bounding_box()
        assert top
        assert last
        path = folder / f"{name}.png"
        height = last["y"] + last["height"] - top["y"] + 20
        area = FloatRect(x=top["x"], y=top["y"], width=top["width"], height=height)
        self.page.screenshot(path=path, clip=area)
        return path


@pytest.fixture
def desk(browser: Browser, lab: Lab, tmp_path: Path) -> Iterator[Any]:
    """Opens a notebook: `desk("01_issue")`."""
    pages: list[Page] = []

    def open_notebook(name: str) -> Desk:
        # high enough for all cells: JupyterLab does not render cells that are out of view
        page = browser.new_page(viewport={"width": 1280, "height": 10000})
        pages.append(page)
        page.goto(f"{lab.url}/lab/tree/{name}.ipynb?token={lab.token}&reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
        page.keyboard.press("Control+b")  # hide the file browser
        return Desk(page, lab, name)

    yield open_notebook
    for number, page in enumerate(pages):
        page.screenshot(path=tmp_path / f"last-{number}.png")  # for failed tests
        page.close()


def records(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The records in a saved notebook, in order."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]
