"""Debian's node-exporter, Prometheus and Alertmanager really run: alerts fire for what a run wrote, and resolve.

The rules are those of deploy/prometheus; only the time for which a job may be silent is cut to seconds.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.notices import runs
from tests.notices.conftest import Desk
from tests.notices.receivers import free_port, web_hook
from tests.notices.runs import DAY, row
from tests.notices.test_metrics import DEPLOY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus, node-exporter and alertmanager"),
]

PATIENCE = 90.0


@contextmanager
def running(*command: str, cwd: Path, ready: str) -> Iterator[None]:
    """A server, until the block ends; `ready` is the address that answers once it is up."""
    with (cwd / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if requests.get(ready, timeout=2).ok:
                    break
            except requests.RequestException:
                pass
            assert process.poll() is None, (cwd / f"{command[0]}.log").read_text()
            assert time.monotonic() < until, ready
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(20)


class Watch:
    """The alerts that Alertmanager passed on to a webhook."""

    def __init__(self, bodies: list[bytes]) -> None:
        self._bodies = bodies

    def seen(self) -> dict[str, str]:
        """The last status of each alert."""
        found: dict[str, str] = {}
        for body in list(self._bodies):
            for alert in json.loads(body)["alerts"]:
                found[alert["labels"]["alertname"]] = alert["status"]
        return found

    def until(self, **expected: str) -> None:
        end = time.monotonic() + PATIENCE
        while not expected.items() <= self.seen().items():
            assert time.monotonic() < end, (expected, self.seen())
            time.sleep(0.3)


@pytest.fixture
def watch(desk: Desk, tmp_path: Path) -> Iterator[Watch]:
    """The three servers, with the recipes' rules and short intervals."""
    exporter, prometheus, manager = free_port(), free_port(), free_port()
    folder = tmp_path / "prom"
    folder.mkdir()
    desk.set(metrics=str(folder))
    rules = (DEPLOY / "rules.yaml").read_text()
    assert "30 * 3600" in rules
    (tmp_path / "rules.yaml").write_text(rules.replace("30 * 3600", "12"))
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{manager}"]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{exporter}"]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with web_hook() as hook, ExitStack() as servers:
        route: dict[str, Any] = yaml.safe_load((DEPLOY / "alertmanager.yaml").read_text())
        hooked = [{"url": f"http://127.0.0.1:{hook.port}/", "send_resolved": True}]
        route["receivers"] = [{"name": each["name"], "webhook_configs": hooked} for each in route["receivers"]]
        route["route"] |= {"group_wait": "0s", "group_interval": "1s"}
        (tmp_path / "alertmanager.yaml").write_text(yaml.safe_dump(route))
        textfile = f"--collector.textfile.directory={folder}"
        for command, port, path in (
            (("prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{exporter}", textfile), exporter, "metrics"),
            (
                (
                    "prometheus-alertmanager",
                    "--config.file=alertmanager.yaml",
                    f"--storage.path={tmp_path / 'alertmanager'}",
                    f"--web.listen-address=127.0.0.1:{manager}",
                    "--cluster.listen-address=",
                ),
                manager,
                "-/ready",
            ),
            (
                (
                    "prometheus",
                    "--config.file=prometheus.yaml",
                    f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{prometheus}",
                ),
                prometheus,
                "-/ready",
            ),
        ):
            servers.enter_context(running(*command, cwd=tmp_path, ready=f"http://127.0.0.1:{port}/{path}"))
        yield Watch(hook.bodies)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.mark.timeout(600)
def test_alerts_fire_for_due_for_a_source_that_is_down_and_for_a_job_that_stopped_and_resolve(desk: Desk, watch: Watch):
    def inventory(days: int, **about: Any) -> None:
        desk.run(row("CI", ends=now() + days * DAY, starts=now() - 300 * DAY), at=now(), **about)

    inventory(20)
    watch.until(CertificateDue="firing")
    assert "DigicertOneDown" not in watch.seen()
    inventory(300)
    watch.until(CertificateDue="resolved")
    inventory(300, error=runs.outage())
    watch.until(DigicertOneDown="firing")
    inventory(300)
    watch.until(DigicertOneDown="resolved")
    watch.until(RunbookStopped="firing")  # nothing ran for a while
    inventory(300)
    watch.until(RunbookStopped="resolved")
    assert not re.search("CertificateExpired|RunbookMetricsMissing", " ".join(watch.seen()))
